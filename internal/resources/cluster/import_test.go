// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cluster

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/env"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/observe"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
)

// TestDescribe: what an import finds is the configuration that made the cluster, also
// where nodes do not answer.
func TestDescribe(t *testing.T) {
	d := threeNodes()
	d.nodes["d"] = desiredNode{voter: false, log: d.nodes["a"].log}
	for name := range d.nodes {
		setNode(&d, name, func(n *desiredNode) { n.disks = make([]platform.Device, 2) })
	}
	d.stores = append(d.stores, desiredStore{sizeGB: 3, fileSystem: filesystemXFS, attrs: []string{"ssd"}})
	d.mode, d.engineLog, d.sideGB = modeAmongStores, agentapi.Log{Level: "warn", Buffering: new(agentapi.DefaultBuffering)}, 30
	d.rules.RejoinAfterLeave = true
	setNode(&d, "c", func(n *desiredNode) { n.log.Backend = "boltdb" })
	want := d
	want.location, want.binary, want.settings = env.Location{}, "", nil

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
					want.nodes[n] = desiredNode{voter: node.voter, log: d.nodes["c"].log, disks: node.disks}
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

// TestForgotten: an import names the machines of all servers.
func TestForgotten(t *testing.T) {
	d := onMachines()
	f := &found{desired: d, nodes: map[string]nodeObject{"a": {}, "b": {}, "c": {}}}
	if p := f.forgotten(d.location); p != nil {
		t.Errorf("all are named: %v", p)
	}
	if p := f.forgotten(env.Location{Directory: "/srv/orders"}); p != nil {
		t.Errorf("on this machine: %v", p)
	}
	delete(d.location.Machines, "b")
	if p := f.forgotten(d.location); p == nil || !strings.Contains(p.Why, "b is a server of the cluster") {
		t.Errorf("got %v", p)
	}
}
