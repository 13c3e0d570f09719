// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cluster

import (
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/api"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/observe"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
)

// machines are what a platform makes for d.
func machines(d desired) map[string]platform.Machine {
	all := map[string]platform.Machine{}
	for i, name := range d.names() {
		m := platform.Machine{Name: name, Address: "127.0.9." + string(rune('1'+i)),
			SideDisk: platform.Directory{Path: "/n/" + name + "/side", Device: "/dev/side" + name, SizeBytes: d.sideGB * gib, FileSystem: filesystemExt4}}
		for j, s := range d.stores {
			path := "/n/" + name + "/data" + string(rune('1'+j))
			m.Stores = append(m.Stores, platform.Directory{Path: path, Device: "/dev" + path, SizeBytes: s.sizeGB * gib, FileSystem: s.fileSystem})
		}
		all[name] = m
	}
	return all
}

// answer is what the agent of a node says that is what d means.
func answer(t *testing.T, d desired, name string) agentapi.Status {
	t.Helper()
	spec, ok := d.spec("an id", name, machines(d))
	if !ok {
		t.Fatalf("there is no spec of %s", name)
	}
	st := agentapi.Status{Node: name, Agent: agentapi.Agent{Version: "1.0.0"}, Spec: spec, Engine: agentapi.Engine{State: agentapi.EngineRunning}}
	for _, s := range spec.Stores {
		st.Stores = append(st.Stores, agentapi.StoreStatus{Path: s.Path, Device: s.Device, SizeBytes: 1, Backend: spec.RaftLogStore.Backend})
	}
	st.Side = &agentapi.StoreStatus{Path: spec.SideDisk.Path, Device: spec.SideDisk.Device, SizeBytes: 1}
	return st
}

// TestObserved: what an agent says is what the plan of an unchanged node says, and
// each thing that differs is in one place of effective, with both values.
func TestObserved(t *testing.T) {
	d := threeNodes()
	setNode(&d, "b", func(n *desiredNode) { n.log.Verification.Interval = "5m" }) // its own
	for name, tc := range map[string]struct {
		mode   string // disabled unless it says otherwise
		change func(*agentapi.Status)
		// pending is what the agents say that they would do.
		pending observe.Pending
		differ  func(*effectiveNode) // from what is planned
	}{
		"as it should be": {},
		"an engine that was stopped": {
			change: func(s *agentapi.Status) { s.Engine.State = agentapi.EngineStopped },
			differ: func(e *effectiveNode) { e.Engine = "stopped" },
		},
		"what effective has an attribute for": {
			change: func(s *agentapi.Status) {
				s.Spec.RaftLogStore.Verification.Interval = "60s"
				s.Spec.WALFailover.Mode = modeSideDisk
			},
			differ: func(e *effectiveNode) {
				e.RaftLogStore.Verification.Interval = "60s"
				e.WALFailover = effectiveMode{modeSideDisk, []string{"/n/b/side"}}
			},
		},
		"a side that somebody moved": {
			mode: modeSideDisk,
			change: func(s *agentapi.Status) {
				s.Spec.SideDisk.Path, s.Side.Path = "/elsewhere", "/elsewhere"
			},
			differ: func(e *effectiveNode) {
				e.WALFailover.Sides, e.SideDisk = []string{"/elsewhere"}, new(storeOf(agentapi.StoreStatus{Path: "/elsewhere", Device: "/dev/sideb", SizeBytes: 1}))
				e.SpecDifferences = []string{"side_disk.path: /elsewhere → /n/b/side"}
			},
		},
		"a log that failed over, which comes and goes by itself": {
			mode: modeSideDisk,
			change: func(s *agentapi.Status) {
				s.Engine.Stores = &api.NodeStores{Stores: []api.Store{{Path: s.Stores[0].Path, EffectiveBackend: "wal",
					Failover: api.Failover{Mode: modeSideDisk, Active: agentapi.Secondary, SwitchCount: 1, Sides: []api.Side{{Path: "/n/b/side", Armed: true}}}}}}
				s.Problems = []agentapi.Problem{{What: "a disk hangs"}}
			},
		},
		"a disk that was made larger": {
			pending: observe.Pending{"b": {Operations: []agentapi.Operation{{Part: "disks", Text: "grow the ext4 of /dev/sdb from 10G to 12G"}}}},
			differ: func(e *effectiveNode) {
				e.Pending = []string{"disks: grow the ext4 of /dev/sdb from 10G to 12G"}
			},
		},
		"what it has none for": {
			change: func(s *agentapi.Status) {
				s.Spec.Log.Level, s.Spec.Ports.HTTP, s.Spec.SideDisk = "trace", 8501, nil
			},
			differ: func(e *effectiveNode) {
				e.SpecDifferences = []string{"log.level: trace → info", "ports.http: 8501 → 8500",
					"side_disk.device: (nothing) → /dev/sideb", "side_disk.path: (nothing) → /n/b/side"}
			},
		},
		"a spec that was never sent": {
			change: func(s *agentapi.Status) { s.Spec, s.Stores, s.Engine.State = nil, nil, agentapi.EngineNone },
			differ: func(e *effectiveNode) {
				e.Engine, e.SpecDifferences, e.Stores = "none", []string{"the agent has no spec"}, []effectiveStore{}
				e.RaftLogStore, e.WALFailover = effectiveLog{}, effectiveMode{Sides: []string{}}
			},
		},
		"an engine that has not taken it over": {
			change: func(s *agentapi.Status) {
				s.Engine.RestartRequired = []agentapi.Change{{Attribute: "raft_logstore.verification.interval", From: "60s", To: "5m"}}
			},
			differ: func(e *effectiveNode) {
				e.RestartRequired = []string{"raft_logstore.verification.interval: 60s → 5m"}
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := d
			if tc.mode != "" {
				d.mode = tc.mode
			}
			st := answer(t, d, "b")
			want := specs(d)["b"]
			planned := d.planned("b", observed(observe.Node{Name: "b", Status: answer(t, d, "b")}, nil, want, effectiveNode{}), want)
			if tc.change != nil {
				tc.change(&st)
			}
			got := observed(observe.Node{Name: "b", Status: st}, tc.pending, want, effectiveNode{})
			expected := planned
			if tc.differ != nil {
				tc.differ(&expected)
			}
			if diff := cmp.Diff(expected, got); diff != "" {
				t.Error(diff)
			}
			// An apply that did not reach it says so, and only then.
			short := view{effective: map[string]effectiveNode{"a": asWanted(d)["a"], "b": got, "c": asWanted(d)["c"]}, specs: specs(d)}.short(d)
			if (len(short) > 0) != (tc.differ != nil) {
				t.Errorf("not reached: %v", short)
			}
		})
	}
}

// TestSilentNode: a node that does not answer keeps what was last seen of it, and is
// planned to answer again.
func TestSilentNode(t *testing.T) {
	d := threeNodes()
	silent := observe.Node{Name: "a", Err: errors.New("nobody there")}
	last := asWanted(d)["a"]
	last.SpecDifferences = []string{"log.level: trace → info"}

	got := observed(silent, nil, nil, last)
	want := last
	want.Agent = agentUnreachable
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	p := d.planned("a", got, specs(d)["a"])
	if p.Agent != agentRunning || p.Engine != agentapi.EngineRunning || !p.AgentVersion.IsUnknown() || len(p.SpecDifferences) > 0 {
		t.Errorf("planned: %+v", p)
	}

	if got := observed(silent, nil, nil, effectiveNode{}); got.Engine != engineUnknown || got.Stores == nil || got.SpecDifferences == nil || got.RestartRequired == nil || got.Pending == nil {
		t.Errorf("of a node that was never seen: %+v", got)
	}
}

// TestPendingDisks: a plan that does something to disks leaves open what they will be,
// and nothing else; an apply fills it in. One that does something else does not.
func TestPendingDisks(t *testing.T) {
	d := threeNodes()
	now := asWanted(d)["a"]
	now.Pending = []string{"services: write the unit holdfast-engine.service"}
	p := d.planned("a", now, specs(d)["a"])
	if len(p.Pending) != 0 || p.Stores[0] != now.Stores[0] || *p.SideDisk != *now.SideDisk {
		t.Errorf("planned: %+v", p)
	}
	now.Pending = append(now.Pending, "disks: grow the ext4 of /dev/sdb from 10G to 12G")
	p = d.planned("a", now, specs(d)["a"])
	for _, s := range append(slices.Clone(p.Stores), *p.SideDisk) {
		if !s.SizeBytes.IsUnknown() || !s.Device.IsUnknown() || s.Path == "" {
			t.Errorf("planned: %+v", s)
		}
	}
	after := asWanted(d)["a"]
	after.Stores = []effectiveStore{onDisk(after.Stores[0].Path, "/dev/sdc", 12)}
	if got := seen(after, p); got.Stores[0] != after.Stores[0] || *got.SideDisk != *after.SideDisk {
		t.Errorf("after the apply: %+v", got)
	}
	// A node that does not tell keeps the last.
	if got := observed(observe.Node{Name: "a", Status: answer(t, d, "a")}, observe.Pending{}, specs(d)["a"], now); len(got.Pending) != 2 {
		t.Errorf("of a node that does not tell: %v", got.Pending)
	}
}

func onDisk(path, device string, size int64) effectiveStore {
	return storeOf(agentapi.StoreStatus{Path: path, Device: device, SizeBytes: size})
}

func TestBackendOnDisk(t *testing.T) {
	agent := func(backends ...string) []agentapi.StoreStatus {
		var all []agentapi.StoreStatus
		for i, b := range backends {
			all = append(all, agentapi.StoreStatus{Path: string(rune('a' + i)), Backend: b})
		}
		return all
	}
	engine := func(backends ...string) *api.NodeStores {
		var n api.NodeStores
		for i, b := range backends {
			n.Stores = append(n.Stores, api.Store{Path: string(rune('a' + i)), EffectiveBackend: b})
		}
		return &n
	}
	for name, tc := range map[string]struct {
		st   agentapi.Status
		want string
	}{
		"no log yet":                                  {agentapi.Status{Stores: agent("")}, ""},
		"the agent's word":                            {agentapi.Status{Stores: agent("wal")}, "wal"},
		"the agent's word is first":                   {agentapi.Status{Stores: agent("wal"), Engine: agentapi.Engine{Stores: engine("boltdb")}}, "wal"},
		"the engine's where the agent could not look": {agentapi.Status{Stores: agent(""), Engine: agentapi.Engine{Stores: engine("boltdb")}}, "boltdb"},
		"stores that differ":                          {agentapi.Status{Stores: agent("wal", "boltdb", "wal")}, "boltdb, wal"},
	} {
		if got := backendOnDisk(tc.st); got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}

// TestSeen: an apply returns what was planned of what nothing acts on.
func TestSeen(t *testing.T) {
	planned := effectiveNode{AgentVersion: types.StringValue("1"), Stores: []effectiveStore{onDisk("/s", "/dev/loop1", 1)}}
	now := effectiveNode{AgentVersion: types.StringValue("2"), Engine: "running", Stores: []effectiveStore{onDisk("/s", "/dev/loop7", 2)}}
	if diff := cmp.Diff(effectiveNode{AgentVersion: planned.AgentVersion, Engine: "running", Stores: planned.Stores}, seen(now, planned)); diff != "" {
		t.Error(diff)
	}
	planned.AgentVersion = types.StringUnknown()
	if got := seen(now, planned).AgentVersion; got != now.AgentVersion {
		t.Errorf("what was left open is %v", got)
	}
}
