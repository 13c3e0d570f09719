// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package kv

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
)

// TestStories runs the scripts of testdata/story. "apply" makes one log entry
// of its lines, so that commands that share an entry can be seen to differ:
//
//	put K V [flags=N] | cas K V index=N | delete K | delete-cas K index=N |
//	delete-tree PREFIX | settings NAME=VALUE… (VALUE null resets) | barrier
//
// each with an optional id=ORIGIN/SEQ/FLOOR. Rewritten by -rewrite; only
// commit a change that you understand.
func TestStories(t *testing.T) {
	datadriven.Walk(t, "testdata/story", func(t *testing.T, path string) {
		m := New()
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "apply":
				var cmds []Command
				for line := range strings.Lines(d.Input) {
					cmds = append(cmds, parseCommand(t, line))
				}
				results, err := m.Apply(AppendBatch(nil, cmds...))
				if err != nil {
					return err.Error()
				}
				var b strings.Builder
				for i, r := range results {
					fmt.Fprintf(&b, "%v: index=%d ok=%v", cmds[i].Op, r.Index, r.OK)
					if r.Code != CodeOK {
						fmt.Fprintf(&b, " code=%d %s", r.Code, r.Message)
					}
					b.WriteByte('\n')
				}
				return b.String()
			case "apply-bytes":
				_, err := m.Apply([]byte(strings.TrimSpace(d.Input)))
				return fmt.Sprintf("%v\n", err)
			case "get", "list", "keys":
				q := Query{Kind: map[string]QueryKind{"get": QueryGet, "list": QueryList, "keys": QueryKeys}[d.Cmd]}
				d.MaybeScanArgs(t, "key", &q.Key)
				d.MaybeScanArgs(t, "sep", &q.Separator)
				return formatAnswer(m.Read(q))
			case "state":
				return fmt.Sprintf("index=%d keys=%d origins=%d err=%v\n", m.Index(), m.Keys(), len(m.dedup.origins), m.Err())
			case "settings":
				s := m.Settings()
				var b strings.Builder
				fmt.Fprintf(&b, "index=%d\n", s.Index)
				effective := s.Effective(DefaultSettings(d.HasArg("failover")))
				for _, name := range slices.Sorted(maps.Keys(effective)) {
					_, set := s.Set[name]
					fmt.Fprintf(&b, "%s = %s set=%v\n", name, effective[name], set)
				}
				return b.String()
			case "restart":
				m = throughSnapshot(t, m)
				return ""
			}
			t.Fatalf("unknown command %q", d.Cmd)
			return ""
		})
	})
}

func formatAnswer(a Answer) string {
	var b strings.Builder
	fmt.Fprintf(&b, "found=%v index=%d\n", a.Found, a.Index)
	for _, e := range a.Entries {
		fmt.Fprintf(&b, "%s=%s flags=%d create=%d modify=%d\n", e.Key, e.Value, e.Flags, e.CreateIndex, e.ModifyIndex)
	}
	for _, k := range a.Keys {
		b.WriteString(k + "\n")
	}
	return b.String()
}

func parseCommand(t *testing.T, line string) Command {
	t.Helper()
	fields := strings.Fields(line)
	c := Command{}
	for op := OpPut; op <= maxOp; op++ {
		if op.String() == fields[0] {
			c.Op = op
		}
	}
	number := func(s string) uint64 {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		return n
	}
	var plain []string
	for _, f := range fields[1:] {
		name, v, named := strings.Cut(f, "=")
		switch {
		case named && name == "flags":
			c.Flags = number(v)
		case named && name == "index":
			c.Index = number(v)
		case named && name == "id":
			p := strings.Split(v, "/")
			c.ID = ID{Origin: number(p[0]), Seq: number(p[1]), Floor: number(p[2])}
		case named && c.Op == OpSettings:
			if c.Settings == nil {
				c.Settings = map[string]*string{}
			}
			c.Settings[name] = nil
			if v != "null" {
				c.Settings[name] = &v
			}
		default:
			plain = append(plain, f)
		}
	}
	if len(plain) > 0 {
		c.Key = plain[0]
	}
	if len(plain) > 1 {
		c.Value = []byte(plain[1])
	}
	return c
}
