// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package rollout

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
)

// TestPlan reads clusters and shows the order of their restarts, or what keeps one from
// beginning or from counting as done. A node is a line:
//
//	NAME [leader] [nonvoter] [down] [applied=N] [commit=N] [hung=STORE] [restart=ATTRIBUTE]…
//
// leader, applied and commit are of the partition default, p2:leader and so on of p2,
// which a node has only where it is named.
//
// Commands: plan; gate node=NAME; after node=NAME.
func TestPlan(t *testing.T) {
	datadriven.RunTest(t, "testdata/plan", func(t *testing.T, d *datadriven.TestData) string {
		nodes := parseNodes(t, d)
		var name string
		d.MaybeScanArgs(t, "node", &name)
		switch d.Cmd {
		case "plan":
			var b strings.Builder
			for _, s := range Plan(nodes) {
				fmt.Fprintln(&b, s)
			}
			return orElse(b.String(), "nothing to do\n")
		case "gate":
			return orElse(gate(nodes, name), "may begin") + "\n"
		case "after":
			return orElse(after(nodes, name), "is back") + "\n"
		}
		d.Fatalf(t, "%s is not known", d.Cmd)
		return ""
	})
}

func orElse(s, nothing string) string {
	if s == "" {
		return nothing
	}
	return s
}

func parseNodes(t *testing.T, d *datadriven.TestData) []Node {
	t.Helper()
	var nodes []Node
	for line := range strings.Lines(d.Input) {
		words := strings.Fields(line)
		n := Node{Name: words[0], Voter: true, Running: true, Partitions: []Partition{{Name: "default"}}}
		for _, w := range words[1:] {
			name, value, _ := strings.Cut(w, "=")
			p := &n.Partitions[0]
			if rest, ok := strings.CutPrefix(name, "p2:"); ok {
				if name = rest; len(n.Partitions) == 1 {
					n.Partitions = append(n.Partitions, Partition{Name: "p2"})
				}
				p = &n.Partitions[1]
			}
			number := func() uint64 {
				v, err := strconv.ParseUint(value, 10, 64)
				if err != nil {
					d.Fatalf(t, "%v", err)
				}
				return v
			}
			switch name {
			case "leader":
				p.Leader = true
			case "nonvoter":
				n.Voter = false
			case "down":
				n.Running = false
			case "applied":
				p.Applied = number()
			case "commit":
				p.Commit = number()
			case "hung":
				n.Hung = append(n.Hung, value)
			case "restart":
				n.Restart = append(n.Restart, value)
			default:
				d.Fatalf(t, "%q is not known", w)
			}
		}
		nodes = append(nodes, n)
	}
	return nodes
}
