// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cluster

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/diags"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/env"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/observe"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
)

// threeNodes is a configuration that all defaults fill.
func threeNodes() desired {
	node := desiredNode{voter: true, log: (&agentapi.Spec{}).WithDefaults().RaftLogStore, disks: make([]platform.Device, 1)}
	return desired{
		name: "orders", location: env.Location{Directory: "/srv/orders"}, ports: agentapi.Ports{Server: 8300, HTTP: 8500},
		nodes:  map[string]desiredNode{"a": node, "b": node, "c": node},
		stores: []desiredStore{{sizeGB: 10, fileSystem: filesystemExt4}},
		sideGB: minSideGB, mode: modeDisabled, engineLog: agentapi.Log{Level: "info"}, settings: map[string]string{},
	}
}

// asWanted is what the nodes of d are after an apply.
func asWanted(d desired) map[string]effectiveNode {
	all := map[string]effectiveNode{}
	for _, name := range d.names() {
		now := effectiveNode{Agent: agentRunning, AgentVersion: types.StringValue("1")}
		m := machines(d)[name]
		for _, s := range m.Stores {
			now.Stores = append(now.Stores, onDisk(s.Path, s.Device, 1))
		}
		now.SideDisk = new(onDisk(m.SideDisk.Path, m.SideDisk.Device, 1))
		all[name] = d.planned(name, now, specs(d)[name])
	}
	return all
}

// specs are what d means on the machines that a platform makes for it.
func specs(d desired) map[string]*agentapi.Spec { return d.specs("an id", machines(d)) }

// setNode changes one node of d.
func setNode(d *desired, name string, change func(*desiredNode)) {
	n := d.nodes[name]
	change(&n)
	d.nodes[name] = n
}

// setBackend changes the backend of all nodes.
func setBackend(d *desired, backend string) {
	for name := range d.nodes {
		setNode(d, name, func(n *desiredNode) { n.log.Backend = backend })
	}
}

func TestRefusals(t *testing.T) {
	type change struct {
		change func(*desired)
		now    func(map[string]effectiveNode)
		want   []string // at: why
	}
	for name, tc := range map[string]change{
		"nothing": {change: func(*desired) {}},
		"what changes in place": {change: func(d *desired) {
			d.engineLog.Level, d.mode, d.binary = "debug", modeSideDisk, "/opt/holdfast"
			d.rules.LeaveOnTerminate = true
			d.settings = map[string]string{settingMaxSync: "30s"}
			d.stores[0].attrs = []string{"ssd"}
			setNode(d, "a", func(n *desiredNode) { n.log.DisableLogCache = true })
		}},
		"name":        {change: func(d *desired) { d.name = "other" }, want: []string{`name: name: "orders" → "other": every store carries the cluster's name`}},
		"directory":   {change: func(d *desired) { d.location.Directory = "/srv/other" }, want: []string{`local.directory: local.directory: "/srv/orders" → "/srv/other": the disks are there, and processes run on them`}},
		"ports":       {change: func(d *desired) { d.ports = agentapi.Ports{Server: 1, HTTP: 2} }, want: []string{`ports.server: ports.server: "8300" → "1": the servers know each other by it`, `ports.http: ports.http: "8500" → "2": clients and endpoints depend on it`}},
		"side disk":   {change: func(d *desired) { d.sideGB = 26 }, want: []string{`side_disk.size_gb: side_disk.size_gb: "25" → "26": disks are not resized yet`}},
		"a store":     {change: func(d *desired) { d.stores[0] = desiredStore{sizeGB: 9, fileSystem: filesystemXFS} }, want: []string{`stores.0.disk.size_gb: stores.0.disk.size_gb: "10" → "9": disks are not resized yet`, `stores.0.filesystem: stores.0.filesystem: "ext4" → "xfs": it would be made anew, and the store's data would be lost`}},
		"more stores": {change: func(d *desired) { d.stores = append(d.stores, d.stores[0]) }, want: []string{`stores: stores: "1" → "2": stores cannot be added or removed yet`}},
		"a renamed node": {change: func(d *desired) { d.nodes["d"] = d.nodes["a"]; delete(d.nodes, "a") },
			want: []string{`nodes: nodes added: d; nodes removed: a: changes of membership are not built yet, and a node is its name: a renamed node is another node with empty disks`}},
		"a node more": {change: func(d *desired) { d.nodes["d"] = d.nodes["a"] }, want: []string{`nodes: nodes added: d: changes of membership are not built yet`}},
		"a voter":     {change: func(d *desired) { setNode(d, "b", func(n *desiredNode) { n.voter = false }) }, want: []string{`nodes.b.voter: nodes.b.voter: "true" → "false": changes of membership are not built yet`}},
		"the backend": {change: func(d *desired) { setBackend(d, "boltdb") }, want: []string{
			`raft_logstore.backend: node a: raft_logstore.backend: "wal" → "boltdb": its log is kept in wal and would stay there; its conversion comes with the rollouts, which are not built yet`,
			`raft_logstore.backend: node b: raft_logstore.backend: "wal" → "boltdb": its log is kept in wal and would stay there; its conversion comes with the rollouts, which are not built yet`,
			`raft_logstore.backend: node c: raft_logstore.backend: "wal" → "boltdb": its log is kept in wal and would stay there; its conversion comes with the rollouts, which are not built yet`,
		}},
		"the backend of logs that were never seen": {
			change: func(d *desired) { setNode(d, "c", func(n *desiredNode) { n.log.Backend = "boltdb" }) },
			now:    func(now map[string]effectiveNode) { delete(now, "c") },
			want:   []string{`raft_logstore.backend: node c: raft_logstore.backend: "wal" → "boltdb": its log is kept in wal and would stay there; its conversion comes with the rollouts, which are not built yet`},
		},
		"the backend that the log is kept in": {
			change: func(d *desired) { setNode(d, "c", func(n *desiredNode) { n.log.Backend = "boltdb" }) },
			now: func(now map[string]effectiveNode) {
				n := now["c"]
				n.RaftLogStore.Backend = "boltdb"
				now["c"] = n
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			old, want := threeNodes(), threeNodes()
			tc.change(&want)
			now := asWanted(old)
			if tc.now != nil {
				tc.now(now)
			}
			var got []string
			for _, p := range refusals(old, want, now) {
				got = append(got, p.At+": "+p.Why)
				if p.Next == "" {
					t.Errorf("%s: nothing to do next", p.At)
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestNotices(t *testing.T) {
	log := func(now map[string]effectiveNode, name string, change func(*effectiveLog)) {
		n := now[name]
		change(&n.RaftLogStore)
		now[name] = n
	}
	for name, tc := range map[string]struct {
		change func(*desired)
		now    func(map[string]effectiveNode)
		want   []string // parts of the warnings
	}{
		"nothing":        {},
		"in place":       {change: func(d *desired) { d.engineLog.Level, d.settings = "debug", map[string]string{settingMaxSync: "30s"} }},
		"a restart each": {change: func(d *desired) { d.mode = modeSideDisk }, want: []string{"node a: wal_failover.mode: disabled → side-disk\n  node b: wal_failover.mode: disabled → side-disk\n  node c: wal_failover.mode: disabled → side-disk"}},
		"a restart each, on the store's own disk": {
			change: func(d *desired) { d.mode = modeSideDisk },
			now: func(now map[string]effectiveNode) {
				now["b"].SideDisk.Device = now["b"].Stores[0].Device
			},
			want: []string{
				"\n  node b: the store /n/b/data1 and the directory /n/b/side that its log fails over to are both on device /dev/n/b/data1: when it hangs, both hang",
				"node c: wal_failover.mode: disabled → side-disk",
			},
		},
		"somebody moved a side": {
			change: func(*desired) {},
			now: func(now map[string]effectiveNode) {
				n := now["b"]
				n.WALFailover.Sides = []string{"/elsewhere"}
				now["b"] = n
			},
			want: []string{"\n  node b: wal_failover.sides: /elsewhere → "},
		},
		"a canary": {change: func(d *desired) {
			setNode(d, "b", func(n *desiredNode) { n.log.Verification.Interval, n.log.WAL.SegmentSizeMB = "5m", 32 })
		}, want: []string{"\n  node b: raft_logstore.verification.interval: 60s → 5m; raft_logstore.wal.segment_size_mb: 64 → 32"}},
		"store attributes": {change: func(d *desired) { d.stores[0].attrs = []string{"ssd", "fast"} }, want: []string{"node a: stores.0.attrs:  → ssd,fast"}},
		"somebody's change that is taken back": {now: func(now map[string]effectiveNode) {
			log(now, "c", func(l *effectiveLog) { l.DisableLogCache = true })
		}, want: []string{"node c: raft_logstore.disable_log_cache: true → false"}},
		"no engine was ever there": {
			change: func(d *desired) { d.mode = modeSideDisk },
			now: func(now map[string]effectiveNode) {
				for name := range now {
					now[name] = effectiveNode{Agent: agentRunning, Engine: agentapi.EngineNone}
				}
			},
		},
		"a log in the other backend": {now: func(now map[string]effectiveNode) {
			log(now, "a", func(l *effectiveLog) { l.Backend = "boltdb" })
		}, want: []string{`node a: the log on its disk is kept in boltdb, raft_logstore.backend says wal: it stays where it is, whichever is configured`}},
	} {
		t.Run(name, func(t *testing.T) {
			old, want := threeNodes(), threeNodes()
			if tc.change != nil {
				tc.change(&want)
			}
			now := asWanted(old)
			if tc.now != nil {
				tc.now(now)
			}
			got := notices(old, want, now, specs(want))
			if len(got) != len(tc.want) {
				t.Fatalf("%d warnings: %v", len(got), got)
			}
			for i, part := range tc.want {
				if !strings.Contains(got[i].Why, part) {
					t.Errorf("%q is not in\n%s", part, got[i].Why)
				}
			}
		})
	}
}

// TestDryRun: what agents would do and what they refuse are warnings, by node.
func TestDryRun(t *testing.T) {
	op := func(part, text string) agentapi.Pending {
		return agentapi.Pending{Operations: []agentapi.Operation{{Part: part, Text: text}}}
	}
	got := dryRun(observe.Pending{"b": op("provision", "run step tune: it was never done"), "a": op("disks", "make ext4 on /dev/sdb"),
		"c": {Problems: []agentapi.Problem{{What: "no disk fits", Why: "all are too small", Next: "Add one."}}}},
		map[string]error{"d": &agentapi.Error{What: "the disks are refused", Why: "none fits", Next: "Add one."}}, []string{"node a: grow disk x"})
	want := []diags.Problem{
		{What: "An agent refuses this", Why: "node d: the disks are refused: none fits", Next: "Add one."},
		{What: "An apply would not get through", Why: "node c: no disk fits: all are too small. Add one.", Next: "Mend this first. Nothing was changed."},
		{What: "Machines will be changed", Why: "This apply does on the machines, in this order:\n  node a: grow disk x\n  node a: disks: make ext4 on /dev/sdb\n  node b: provision: run step tune: it was never done"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got := dryRun(observe.Pending{"a": {}}, nil, nil); got != nil {
		t.Errorf("of nothing: %v", got)
	}
}

// TestNewPlaceOfAnother: the id of a cluster that an interrupted apply left is taken
// up again; one of another name is never.
func TestNewPlaceOfAnother(t *testing.T) {
	d := threeNodes()
	for name, tc := range map[string]struct {
		place *fakePlatform
		id    string // "" for a new one
		what  string
	}{
		"a free place": {place: &fakePlatform{}},
		"its own":      {place: &fakePlatform{name: "orders", id: "an id", ok: true}, id: "an id"},
		"another's":    {place: &fakePlatform{name: "carts", id: "an id", ok: true}, what: "The place belongs to another cluster"},
		"half gone":    {place: &fakePlatform{name: "orders", id: "an id"}},
	} {
		t.Run(name, func(t *testing.T) {
			id, adopted, p := newID(t.Context(), tc.place, d)
			if adopted != (tc.id != "") {
				t.Errorf("adopted: %t", adopted)
			}
			if p == nil {
				p = &diags.Problem{}
			}
			if p.What != tc.what {
				t.Fatalf("%v", p)
			}
			if tc.what == "" && (id == "" || tc.id != "" && id != tc.id || tc.id == "" && id == "an id") {
				t.Errorf("the id is %q", id)
			}
		})
	}
}

// TestPlanOfTheHalfGone: a new cluster where another is being destroyed does not get its id.
func TestPlanOfTheHalfGone(t *testing.T) {
	d := threeNodes()
	for name, tc := range map[string]struct {
		place *fakePlatform
		own   bool
	}{
		"its own":   {place: &fakePlatform{name: "orders", id: "an id", ok: true}, own: true},
		"half gone": {place: &fakePlatform{name: "orders", id: "an id"}},
		"free":      {place: &fakePlatform{}},
	} {
		if ds := preflight(t.Context(), tc.place, d, "/holdfast"); ds.HasError() {
			t.Errorf("%s: %v", name, ds)
		}
		if id := tc.place.asked.ID; id == "" || (id == "an id") != tc.own {
			t.Errorf("%s: it is asked for %q", name, id)
		}
	}
}
