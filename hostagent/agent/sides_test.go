// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package agent

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/api"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/config"
)

// TestSides tells what an agent remembers of sides. Commands:
//
//	spec VALUE           a spec of that wal_failover, of one store (of two, with
//	                     "two"), is put in place
//	engine [armed=DIR]   an engine that was started with what is in place answers;
//	                     DIR is what its log is armed on
//
// Each answers with the record and with what engine.json says.
func TestSides(t *testing.T) {
	var (
		recorded []string
		spec     *agentapi.Spec
		hash     string
	)
	place := func(d *datadriven.TestData) string {
		file := config.FromSpec(withPrevious(spec, recorded), nil, "")
		c, err := file.Config()
		if err != nil {
			d.Fatalf(t, "%v", err)
		}
		hash = c.Hash()
		return fmt.Sprintf("record: %s\nengine.json: %s\n", strings.Join(recorded, " "), file.WALFailover)
	}
	datadriven.RunTest(t, "testdata/sides", func(t *testing.T, d *datadriven.TestData) string {
		switch d.Cmd {
		case "spec":
			f, side, err := config.ParseFailover(strings.TrimSpace(d.Input))
			if err != nil {
				d.Fatalf(t, "%v", err)
			}
			spec = twoStores()
			if !d.HasArg("two") {
				spec.Stores = spec.Stores[:1]
			}
			spec.Cluster.ID = "6f2d1c9e-7a53-4c1e-9a55-0f5b3d1c2e4f"
			spec.Servers = []agentapi.Server{{Name: "a", Address: "127.0.0.1:8300", Voter: true}}
			spec.WALFailover, spec.SideDisk = f, side
			spec = spec.WithDefaults()
			recorded = mayArm(recorded, spec)
			return place(d)
		case "engine":
			engine := &api.NodeStores{Node: "a", NodeID: config.NodeID(spec.Cluster.ID, "a"), ClusterID: spec.Cluster.ID, ConfigHash: hash}
			for _, s := range spec.Stores {
				st := api.Store{Path: s.Path}
				if d.HasArg("armed") {
					var dir string
					d.ScanArgs(t, "armed", &dir)
					st.Failover.Sides = []api.Side{{Path: dir, Armed: true}}
				}
				engine.Stores = append(engine.Stores, st)
			}
			if !drained(spec, hash, engine) {
				return "not drained\n" + place(d)
			}
			recorded = ownSides(spec)
			return place(d)
		}
		d.Fatalf(t, "%s is not known", d.Cmd)
		return ""
	})
}

// Only an engine of the configuration in place, on all of its stores, has drained
// what that configuration does not use.
func TestDrained(t *testing.T) {
	spec := twoStores().WithDefaults()
	good := func() *api.NodeStores {
		return &api.NodeStores{Node: "a", NodeID: config.NodeID("c1", "a"), ClusterID: "c1", ConfigHash: "new", Stores: []api.Store{{Path: "/d1"}, {Path: "/d2"}}}
	}
	if !drained(spec, "new", good()) {
		t.Error("an engine that has drained all is not believed")
	}
	for name, change := range map[string]func(*api.NodeStores){
		"an earlier configuration": func(n *api.NodeStores) { n.ConfigHash = "old" },
		"another node":             func(n *api.NodeStores) { n.NodeID = config.NodeID("c1", "b") },
		"a store is not open yet":  func(n *api.NodeStores) { n.Stores = n.Stores[:1] },
		"a log is still armed":     func(n *api.NodeStores) { n.Stores[1].Failover.Sides = []api.Side{{Path: "/side", Armed: true}} },
	} {
		n := good()
		change(n)
		if drained(spec, "new", n) {
			t.Errorf("%s: it counts as drained", name)
		}
	}
}
