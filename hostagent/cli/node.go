// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"context"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/api"
)

var nodeStatusCommand = command{
	synopsis: "Show which nodes are live, since when, and why not",
	usage:    "[options] [NODE …]",
	help: `Asks the nodes as holdfast status does: those that are named with -http-addr, and those
that their raft configurations name, which are expected on the same HTTP port. A node is
live if its engine answers within 2s, has not failed, and is of the same cluster as the first
address that answers. The engine answers from memory, so a node whose disks hang is live.

One that is not live is shown with the reason, and with what the leader knows of it: whether
it votes, and how many log entries it is behind.

  $ holdfast node status
  $ holdfast node status -http-addr 127.0.0.2:8500 -json
  $ holdfast node status -check a b     # exit status 0 only if both are live

Exit status: 0 once any node answers, 1 if none does. With -check also 1 if one of the nodes
that are shown is not live.`,
	make: func(env *Env, flags *flag.FlagSet) func(context.Context, []string) error {
		var t target
		t.define(env, flags)
		asJSON := flags.Bool("json", false, "print JSON")
		check := flags.Bool("check", false, "fail if a node that is shown is not live")
		return func(ctx context.Context, args []string) error {
			secure, err := t.certs.config()
			if err != nil {
				return err
			}
			nodes := judge(t.list(), lookAround(ctx, t.list(), secure))
			answered := slices.ContainsFunc(nodes, func(n nodeLive) bool { return n.NodeStores != nil })
			shown, err := choose(nodes, args)
			if err != nil {
				return err
			}
			if *asJSON {
				err = printJSON(env.Stdout, map[string][]nodeLive{"nodes": shown})
			} else {
				err = printNodes(env.Stdout, shown, time.Now())
			}
			switch {
			case err != nil:
				return err
			case !answered:
				return fmt.Errorf("%w: no node's state is known", api.ErrNotReached)
			case *check:
				return allLive(shown)
			}
			return nil
		}
	},
}

// choose keeps the nodes of these names, all of them where there are none.
func choose(nodes []nodeLive, names []string) ([]nodeLive, error) {
	if len(names) == 0 {
		return nodes, nil
	}
	var out []nodeLive
	for _, name := range names {
		i := slices.IndexFunc(nodes, func(n nodeLive) bool { return n.Name == name })
		switch {
		case i >= 0:
			out = append(out, nodes[i])
		case strings.HasPrefix(name, "-"):
			return nil, usage("%s: flags stand before arguments", name)
		default:
			return nil, fmt.Errorf("there is no node %q: `holdfast node status` lists those that are known", name)
		}
	}
	return out, nil
}

func allLive(nodes []nodeLive) error {
	var dead []string
	for _, n := range nodes {
		if !n.Live {
			dead = append(dead, fmt.Sprintf("%s (%s)", n.called(), n.Reason))
		}
	}
	if len(dead) == 0 {
		return nil
	}
	return fmt.Errorf("not live: %s", strings.Join(dead, ", "))
}

func printNodes(out io.Writer, nodes []nodeLive, now time.Time) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NODE\tADDRESS\tHTTP\tLIVE\tSTARTED\tUP\tVERSION\tROLE\tLEADER\tVOTER\tBEHIND\tLOG ON\tSWITCHES\tLAST CONTACT")
	for _, n := range nodes {
		live := "yes"
		if !n.Live {
			live = "no: " + n.Reason
		}
		row := []string{orDash(n.Name), orDash(n.Server), orDash(n.Address), live}
		if n.NodeStores == nil {
			row = append(row, "-", "-", "-", "-", "-", n.Raft.voter(), n.Raft.behind(), "-", "-", "-")
		} else {
			up := max(now.Sub(n.StartedAt), 0) // clocks differ
			row = append(row, n.StartedAt.UTC().Format(time.RFC3339), up.Round(time.Second).String(), orDash(n.Version),
				orDash(n.roles()), orDash(n.leaders()), n.Raft.voter(), n.Raft.behind(),
				orDash(n.logs()), fmt.Sprint(n.switches()), n.lastContact())
		}
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, n := range nodes {
		if n.Live {
			continue
		}
		if _, err := fmt.Fprintf(out, "\n%s is not live: %s\n", n.called(), n.Detail); err != nil {
			return err
		}
	}
	return nil
}

// called is the node's name, or where it was looked for.
func (n *nodeLive) called() string {
	if n.Name != "" {
		return n.Name
	}
	return n.Address
}

// perPartition joins what is said of each partition: the word alone where it
// is the same for all.
func (n *nodeLive) perPartition(word func(api.Partition) string) string {
	var names, words []string
	for _, p := range partitions([]nodeStatus{n.nodeStatus}) {
		names, words = append(names, p.Name), append(words, word(p))
	}
	if len(slices.Compact(slices.Clone(words))) == 1 {
		return words[0]
	}
	for i := range words {
		words[i] = names[i] + "=" + words[i]
	}
	return strings.Join(words, " ")
}

func (n *nodeLive) roles() string {
	return n.perPartition(func(p api.Partition) string { return strings.ToLower(p.State) })
}

func (n *nodeLive) leaders() string {
	return n.perPartition(func(p api.Partition) string { return orDash(p.Leader) })
}

// longHung is how long a call on the primary goes on before it is worth a
// word; below it is a disk at work.
const longHung = time.Second

// logs says which directory each store's log writes to, and for how long one hangs.
func (n *nodeLive) logs() string {
	var words []string
	for _, s := range n.Stores {
		word := s.Failover.Active
		if hung := time.Duration(s.Failover.HungNS); hung >= longHung {
			word += fmt.Sprintf(" (hung %v)", hung.Truncate(time.Second))
		}
		words = append(words, word)
	}
	if len(slices.Compact(slices.Clone(words))) == 1 {
		return words[0]
	}
	for i := range words {
		words[i] = n.Stores[i].Path + "=" + words[i]
	}
	return strings.Join(words, " ")
}

func (n *nodeLive) switches() (sum uint64) {
	for _, s := range n.Stores {
		sum += s.Failover.SwitchCount
	}
	return sum
}

// lastContact is the longest time since a leader was heard.
func (n *nodeLive) lastContact() string {
	longest, leads := int64(0), true
	for _, p := range partitions([]nodeStatus{n.nodeStatus}) {
		switch {
		case p.LastContactMS < 0:
			return "never"
		case p.Leader != n.Name || p.LastContactMS > 0:
			leads, longest = false, max(longest, p.LastContactMS)
		}
	}
	if leads {
		return "-"
	}
	return (time.Duration(longest) * time.Millisecond).String()
}
