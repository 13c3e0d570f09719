// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"text/tabwriter"
	"time"
)

const settingsHelp = `Read and change the settings of a cluster. They are replicated and take effect at
once, on every node.

  $ holdfast settings get
  $ holdfast settings set storage.max_sync_duration 40s`

var settingsGetCommand = command{
	synopsis: "Show cluster settings",
	usage:    "[options] [NAME]",
	help: `Shows all settings with the values in force, or the value of one.

  $ holdfast settings get
  $ holdfast settings get storage.max_sync_duration`,
	make: func(env *Env, flags *flag.FlagSet) func(context.Context, []string) error {
		var t target
		t.define(env, flags)
		asJSON := flags.Bool("json", false, "print JSON")
		return func(ctx context.Context, args []string) error { return settingsGet(ctx, &t, args, *asJSON) }
	},
}

func settingsGet(ctx context.Context, t *target, args []string, asJSON bool) error {
	if len(args) > 1 {
		return usage("at most one NAME is taken, %d given", len(args))
	}
	c, ctx, done, err := t.client(ctx)
	if err != nil {
		return err
	}
	defer done()
	s, err := c.Settings(ctx)
	if err != nil {
		return err
	}
	if len(args) == 1 {
		v, ok := s.Settings[args[0]]
		if !ok {
			return fmt.Errorf("there is no setting %q: `holdfast settings get` lists them", args[0])
		}
		if asJSON {
			return printJSON(t.env.Stdout, map[string]string{args[0]: v})
		}
		fmt.Fprintln(t.env.Stdout, v)
		return nil
	}
	if asJSON {
		return printJSON(t.env.Stdout, s)
	}
	w := tabwriter.NewWriter(t.env.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SETTING\tVALUE\tORIGIN")
	for _, name := range slices.Sorted(maps.Keys(s.Settings)) {
		origin := "default"
		if slices.Contains(s.Set, name) {
			origin = "set"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", name, s.Settings[name], origin)
	}
	return w.Flush()
}

var settingsSetCommand = command{
	synopsis: "Change a cluster setting",
	usage:    "[options] NAME VALUE | -default NAME",
	help: `Changes one setting, or with -default takes it back to its default. A setting that
Terraform's settings map names belongs to Terraform: its next plan shows the difference.

  $ holdfast settings set storage.max_sync_duration 40s
  $ holdfast settings set -default storage.max_sync_duration`,
	make: func(env *Env, flags *flag.FlagSet) func(context.Context, []string) error {
		var t target
		t.define(env, flags)
		reset := flags.Bool("default", false, "take the setting back to its default")
		return func(ctx context.Context, args []string) error { return settingsSet(ctx, &t, args, *reset) }
	},
}

// failoverOff says so where the settings turn failover off.
func failoverOff(settings map[string]string) string {
	threshold, terr := time.ParseDuration(settings["storage.wal_failover.unhealthy_op_threshold"])
	maxSync, merr := time.ParseDuration(settings["storage.max_sync_duration"])
	if terr != nil || merr != nil || threshold <= maxSync {
		return "" // what does not parse was set by another version, which knows what it means
	}
	return fmt.Sprintf("Note: the threshold (%v) is above storage.max_sync_duration (%v): no log fails over while that is so.", threshold, maxSync)
}

func settingsSet(ctx context.Context, t *target, args []string, reset bool) error {
	change := map[string]*string{}
	switch {
	case reset && len(args) == 1:
		change[args[0]] = nil
	case !reset && len(args) == 2:
		change[args[0]] = &args[1]
	default:
		return usage("NAME and VALUE are needed, or -default NAME")
	}
	c, ctx, done, err := t.client(ctx)
	if err != nil {
		return err
	}
	defer done()
	if err := c.SetSettings(ctx, change); err != nil {
		return err
	}
	fmt.Fprintf(t.env.Stdout, "Success! Setting changed: %s\n", args[0])
	now, err := c.Settings(ctx)
	if err != nil {
		return fmt.Errorf("the setting was changed; reading it back: %w", err)
	}
	if why := failoverOff(now.Settings); why != "" {
		fmt.Fprintln(t.env.Stderr, why)
	}
	return nil
}

var listPeersCommand = command{
	synopsis: "Show the servers of a partition's raft group",
	usage:    "[options]",
	help: `Shows the servers as the node that answers knows them, leader or not.

  $ holdfast operator raft list-peers
  $ holdfast operator raft list-peers -partition p2 -json`,
	make: func(env *Env, flags *flag.FlagSet) func(context.Context, []string) error {
		var t target
		t.define(env, flags)
		t.definePartition(flags)
		asJSON := flags.Bool("json", false, "print JSON")
		return func(ctx context.Context, args []string) error {
			if err := noArgs(args); err != nil {
				return err
			}
			return listPeers(ctx, &t, *asJSON)
		}
	},
}

func listPeers(ctx context.Context, t *target, asJSON bool) error {
	c, ctx, done, err := t.client(ctx)
	if err != nil {
		return err
	}
	defer done()
	conf, err := c.RaftConfiguration(ctx, t.partition)
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON(t.env.Stdout, conf)
	}
	var leaderIndex uint64
	for _, s := range conf.Servers {
		if s.Leader {
			leaderIndex = s.LastIndex
		}
	}
	w := tabwriter.NewWriter(t.env.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "Node\tID\tAddress\tState\tVoter\tRaftProtocol\tCommit Index\tTrails Leader By")
	for _, s := range conf.Servers {
		state, trails, index := "follower", "-", "-"
		if s.Leader {
			state = "leader"
		}
		if s.LastIndex > 0 {
			index = fmt.Sprint(s.LastIndex)
			if !s.Leader && leaderIndex >= s.LastIndex {
				trails = fmt.Sprintf("%d commits", leaderIndex-s.LastIndex)
			}
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%t\t%s\t%s\t%s\n", s.Node, s.ID, s.Address, state, s.Voter, s.ProtocolVersion, index, trails)
	}
	return w.Flush()
}

var versionCommand = command{
	synopsis: "Print the version",
	usage:    "",
	help:     "Prints the version of this binary and the revision that it was built from.",
	make: func(env *Env, _ *flag.FlagSet) func(context.Context, []string) error {
		return func(_ context.Context, args []string) error {
			if err := noArgs(args); err != nil {
				return err
			}
			fmt.Fprintln(env.Stdout, "holdfast "+versionLine(env.Version))
			return nil
		}
	},
}

// versionLine is the version and, where it is known, the revision.
func versionLine(version string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return version
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return version + " (" + s.Value[:min(12, len(s.Value))] + ")"
		}
	}
	return version
}
