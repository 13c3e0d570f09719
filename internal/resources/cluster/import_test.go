// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cluster

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/observe"
)

func FuzzParseLocation(f *testing.F) {
	for _, id := range []string{"local:/srv/orders", "local:orders", "local:", "/srv/orders", "", "local:/srv/../orders", "local:local:/x", "ssh:host"} {
		f.Add(id)
	}
	f.Fuzz(func(t *testing.T, id string) {
		directory, err := parseLocation(id)
		if ok := strings.HasPrefix(id, "local:") && id != "local:"; ok != (err == nil) {
			t.Fatalf("%q: %v", id, err)
		}
		if err != nil {
			return
		}
		if !filepath.IsAbs(directory) || filepath.Clean(directory) != directory {
			t.Errorf("%q is the directory %q", id, directory)
		}
		if again, err := parseLocation(location(directory)); err != nil || again != directory {
			t.Errorf("%q is %q, and again %q, %v", id, directory, again, err)
		}
	})
}

// TestDescribe: what an import finds is the configuration that made the cluster, also
// where nodes do not answer.
func TestDescribe(t *testing.T) {
	d := threeNodes()
	d.nodes["d"] = desiredNode{voter: false, log: d.nodes["a"].log}
	d.stores = append(d.stores, desiredStore{sizeGB: 3, fileSystem: filesystemXFS, attrs: []string{"ssd"}})
	d.mode, d.engineLog, d.sideGB = modeAmongStores, agentapi.Log{Level: "warn", Buffering: new(agentapi.DefaultBuffering)}, 30
	d.rules.RejoinAfterLeave = true
	setNode(&d, "c", func(n *desiredNode) { n.log.Backend = "boltdb" })
	want := d
	want.directory, want.binary, want.settings = "", "", nil

	for name, silent := range map[string][]string{"all answer": nil, "one is silent": {"a"}, "one answers": {"a", "b", "d"}} {
		t.Run(name, func(t *testing.T) {
			nodes := observe.Nodes{}
			for _, n := range d.names() {
				nodes[n] = observe.Node{Name: n, Status: answer(t, d, n)}
			}
			want := want
			for _, n := range silent {
				nodes[n] = observe.Node{Name: n, Err: errors.New("nobody there")}
			}
			if len(silent) == 3 { // what the others log to, nobody can tell
				want.nodes = map[string]desiredNode{}
				for n, node := range d.nodes {
					want.nodes[n] = desiredNode{voter: node.voter, log: d.nodes["c"].log}
				}
			}
			f, err := describe(d.name, "an id", machines(d), nodes)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, f.desired, cmp.AllowUnexported(desired{}, desiredNode{}, desiredStore{})); diff != "" {
				t.Error(diff)
			}
			for n, o := range f.nodes {
				if o.Voter != d.nodes[n].voter || o.RaftLogStore.over(f.log) != want.nodes[n].log {
					t.Errorf("node %s: %+v", n, o)
				}
				if own := o.RaftLogStore != nil; own != (n == "c" && len(silent) < 3) {
					t.Errorf("node %s has something of its own: %t", n, own)
				}
			}
		})
	}

	_, err := describe(d.name, "an id", machines(d), observe.Nodes{"a": {Name: "a", Err: errors.New("nobody there")}, "b": {Name: "b"}})
	if err == nil || !strings.Contains(err.Error(), "node a: nobody there") || !strings.Contains(err.Error(), "node b: its agent has no spec") {
		t.Error(err)
	}
}
