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
//	NAME [leader] [nonvoter] [down] [applied=N] [commit=N] [restart=ATTRIBUTE]…
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
		n := Node{Name: words[0], Voter: true, Running: true}
		for _, w := range words[1:] {
			name, value, _ := strings.Cut(w, "=")
			number := func() uint64 {
				v, err := strconv.ParseUint(value, 10, 64)
				if err != nil {
					d.Fatalf(t, "%v", err)
				}
				return v
			}
			switch name {
			case "leader":
				n.Leader = true
			case "nonvoter":
				n.Voter = false
			case "down":
				n.Running = false
			case "applied":
				n.Applied = number()
			case "commit":
				n.Commit = number()
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
