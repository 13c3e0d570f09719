// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Command holdfast is the engine, the host agent and the command line in one
// static binary.
package main

import (
	"context"
	"os"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/cli"
)

// version is set at link time.
var version = "0.1.0-dev"

func main() {
	os.Exit(cli.Run(context.Background(), os.Args[1:], cli.Env{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv, Version: version,
	}))
}
