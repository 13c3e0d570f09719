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

	"github.com/hashicorp/go-hclog"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agent"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/units"
)

// Where an agent of a whole machine lives.
const (
	defaultDir    = units.DefaultDir
	defaultSocket = units.DefaultSocket
)

var agentCommand = command{
	synopsis: "Run the host agent of a node",
	usage:    "[-dir DIR] [options]",
	help: `Runs the host agent in the foreground until SIGINT or SIGTERM. It makes the node what
its spec says and keeps the engine running; the engine stays when the agent ends,
however it ends, and the next agent takes it over.

As the agent of a whole machine, which the service of holdfast agent install is, it finds,
formats and mounts disks too, and has systemd run the engine.

  $ holdfast agent -systemd
  $ holdfast agent -dir /tmp/a &
  $ curl --unix-socket /tmp/a/agent.sock http://agent/v1/status
  $ curl --unix-socket /tmp/a/agent.sock -X PUT --data @spec.json 'http://agent/v1/spec?dry_run=1'
  $ curl --unix-socket /tmp/a/agent.sock -X POST http://agent/v1/engine/restart`,
	make: func(env *Env, flags *flag.FlagSet) func(context.Context, []string) error {
		dir := flags.String("dir", defaultDir, "the node's `directory`")
		socket := flags.String("socket", "", "`path` of the API's unix socket (default agent.sock in the directory,\nor "+defaultSocket+" with the default directory)")
		systemd := flags.Bool("systemd", false, "care for the whole machine: disks, users, units; needs root")
		logFile := flags.String("log-file", "", "append the log to this `file` instead of standard error")
		level := flags.String("log-level", "info", "`level` of the log: trace, debug, info, warn or error")
		return func(ctx context.Context, args []string) error {
			if err := noArgs(args); err != nil {
				return err
			}
			if *systemd {
				if err := needRoot("a whole machine"); err != nil {
					return err
				}
			}
			return runAgent(ctx, env, agent.Options{Dir: *dir, Socket: *socket, Systemd: *systemd}, *logFile, *level)
		}
	},
}

func runAgent(ctx context.Context, env *Env, opts agent.Options, logFile, level string) (err error) {
	lvl := hclog.LevelFromString(level)
	if lvl == hclog.NoLevel {
		return usage("-log-level %s: use trace, debug, info, warn or error", level)
	}
	if opts.Dir == defaultDir && opts.Socket == "" {
		opts.Socket = defaultSocket
	}
	opts.LogFile = logFile
	for _, p := range []*string{&opts.Dir, &opts.Socket, &opts.LogFile} { // the engine's command line names its files in full
		if *p == "" {
			continue
		}
		if *p, err = filepath.Abs(*p); err != nil {
			return err
		}
	}
	out := env.Stderr
	if logFile != "" {
		f, err := os.OpenFile(logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return fmt.Errorf("open the agent's log: %w", err)
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		out = f
	}
	if opts.Binary, err = os.Executable(); err != nil {
		return fmt.Errorf("find the path of this program: %w", err)
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	opts.Version, opts.Logger = env.Version, hclog.New(&hclog.LoggerOptions{Name: "agent", Level: lvl, Output: out})
	return agent.Run(ctx, opts)
}
