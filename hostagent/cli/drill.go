// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/drill"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/drill/stall"
)

// thawerArgs is the command line of the process that freezes and thaws for a
// drill. It is no command: nobody types it.
var thawerArgs = []string{"drill", "-thawer-of-a-drill"}

// runThawer is what it does.
func runThawer(env *Env) int {
	if err := stall.Serve(); err != nil {
		fmt.Fprintf(env.Stderr, "Error: %v\n", err)
		return exitFailed
	}
	return exitOK
}

const drillHelp = `Drills: faults that are made on purpose, to see what they do to clients. They are
made on clusters of the local platform only.`

// localDirectories are where a drill looks for a cluster that nobody named:
// beside the configuration, and where make run has its own.
var localDirectories = []string{".holdfast", "examples/local/.holdfast"}

var drillStallCommand = command{
	synopsis: "Hang a disk of a local cluster for a while, under load",
	usage:    "[options]",
	help: `Freezes the file system of one disk of one node, as a disk that does not answer, while
clients write at a steady rate, and shows every second what they saw: writes, errors, the
median and worst latency of those acknowledged in it, how long the one waits that waits
longest, and which directory each node's log writes to: its own disk's (primary) or the
side disk's (secondary). At the end it reads every acknowledged key from every node.

The disk is thawed whatever happens, also by kill -9 of this command: a process of its own
waits for that. Only a loop device over an image of the cluster, mounted in its directory
and used by its node alone, is ever frozen. Needs root.

  $ holdfast drill stall                                 the leader's data disk, 5 s
  $ holdfast drill stall -node follower -duration 30s
  $ holdfast drill stall -disk both -rate 1000 -clients 64
  $ holdfast drill stall -directory /srv/orders -json > drill.json

The keys begin with holdfast-drill/ and are deleted at the end. The exit code is 1 where an
acknowledged key is missing on a node; how long writes waited is for you to judge.`,
	make: func(env *Env, flags *flag.FlagSet) func(context.Context, []string) error {
		var o drill.Options
		flags.StringVar(&o.Directory, "directory", "", "`directory` of the local cluster. HOLDFAST_DIRECTORY, or the first of\n.holdfast and examples/local/.holdfast that is there")
		flags.StringVar(&o.Node, "node", "leader", "`node` whose disk hangs: a name, leader or follower")
		flags.StringVar(&o.Disk, "disk", "data", "`disk` that hangs: data (or data2 … of several stores), side, or both")
		flags.DurationVar(&o.Duration, "duration", 5*time.Second, fmt.Sprintf("`time` that it hangs, %v at most", stall.Most))
		flags.IntVar(&o.Clients, "clients", 16, "`number` of clients, each of which does one write at a time")
		flags.Float64Var(&o.Rate, "rate", 200, "`writes` per second of all clients")
		flags.DurationVar(&o.Warmup, "warmup", 3*time.Second, "`time` of load before")
		flags.DurationVar(&o.After, "after", 5*time.Second, "`time` of load after")
		flags.BoolVar(&o.Keep, "keep", false, "leave the keys there")
		asJSON := flags.Bool("json", false, "print the whole result as JSON; what happens goes to standard error")
		return func(ctx context.Context, args []string) error {
			if err := noArgs(args); err != nil {
				return err
			}
			if o.Directory == "" {
				o.Directory = localDirectory(env)
			}
			if err := o.Validate(); err != nil {
				return usage("%w", err)
			}
			return drillStall(ctx, env, o, *asJSON)
		}
	},
}

// localDirectory is the cluster that is meant where none is named.
func localDirectory(env *Env) string {
	if d := env.Getenv("HOLDFAST_DIRECTORY"); d != "" {
		return d
	}
	for _, d := range localDirectories {
		if _, err := os.Stat(filepath.Join(d, "cluster.json")); err == nil {
			return d
		}
	}
	return localDirectories[0]
}

func drillStall(ctx context.Context, env *Env, o drill.Options, asJSON bool) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find the path of this program: %w", err)
	}
	o.Thawer = append([]string{self}, thawerArgs...)
	text := &drill.Text{W: env.Stdout}
	if asJSON {
		text.W = env.Stderr
	}
	r, err := drill.Run(ctx, o, text)
	switch {
	case err == nil || errors.Is(err, drill.ErrLost):
		perr := text.Summary(r)
		if asJSON {
			perr = printJSON(env.Stdout, r)
		}
		return errors.Join(err, perr)
	case ctx.Err() != nil && errors.Is(err, ctx.Err()):
		return &agentapi.Error{What: "the drill was interrupted", Why: "a signal came", Next: "The disk is thawed and the keys are deleted; begin it again when you like."}
	case errors.Is(err, stall.ErrFrozen):
		return &agentapi.Error{What: "the drill cannot begin", Why: err.Error(), Next: "Wait for the drill that froze it; where none runs, thaw it with `fsfreeze -u` and its mount point."}
	}
	return err
}
