// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"context"
	"flag"
	"os"

	"golang.org/x/sys/unix"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/blockdev"
)

var devicesCommand = command{
	synopsis: "List the block devices of this machine",
	usage:    "[options]",
	help: `Lists block devices as lsblk does, with the same columns; -json gives everything that is
known of them.

  $ holdfast devices
  $ holdfast devices -json`,
	make: func(env *Env, flags *flag.FlagSet) func(context.Context, []string) error {
		asJSON := flags.Bool("json", false, "print JSON")
		return func(ctx context.Context, args []string) error {
			if err := noArgs(args); err != nil {
				return err
			}
			found, err := blockdev.Discover(ctx, blockdev.Host())
			if err != nil {
				return err
			}
			if *asJSON {
				return blockdev.JSON(env.Stdout, found, false)
			}
			return blockdev.Table(env.Stdout, found, terminalWidth(env))
		}
	},
}

// terminalWidth is that of standard output, 0 where it is no terminal.
func terminalWidth(env *Env) int {
	f, ok := env.Stdout.(*os.File)
	if !ok {
		return 0
	}
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0
	}
	return int(size.Col)
}
