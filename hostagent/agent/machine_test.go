// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package agent

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/store"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/config"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/layout/disk"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/supervise"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/units"
)

// machineSpec is the spec of a node with disks of its own.
func machineSpec() *agentapi.Spec {
	return (&agentapi.Spec{
		Cluster: agentapi.Cluster{Name: "orders", ID: "6f2d1c9e-7a53-4c1e-9a55-0f5b3d1c2e4f"}, Node: "a", BindAddress: "127.0.0.1",
		Servers: []agentapi.Server{{Name: "a", Address: "127.0.0.1:8300", Voter: true}},
		Stores: []agentapi.StoreSpec{{Path: "/srv/holdfast/data1/x/store", Disk: &agentapi.Disk{
			Match: agentapi.DiskMatch{Serial: "S1", SizeBytes: 1 << 40}, FileSystem: "xfs", Mount: "/srv/holdfast/data1", MinSizeBytes: 1 << 30,
			Wipe: &agentapi.DiskContent{Type: "ntfs", UUID: "u"}}}},
		SideDisk: &agentapi.SideDisk{Path: "/srv/holdfast/side/store", Disk: &agentapi.Disk{
			FileSystem: "xfs", Mount: "/srv/holdfast/side", MinSizeBytes: 25 << 30}},
		WALFailover: agentapi.WALFailover{Mode: agentapi.SideDiskMode},
	}).WithDefaults()
}

func TestDiskSpec(t *testing.T) {
	spec := machineSpec()
	got := diskSpec(spec, storesRecord{Stores: []storeRecord{{spec.Stores[0].Path, "s1"}}}, 990, 991)
	want := disk.Spec{Disks: []disk.Disk{
		{
			Field: "stores.0.disk", Match: disk.Match{Serial: "S1", Size: 1 << 40}, FSType: "xfs", Label: "hf-data1", Mount: "/srv/holdfast/data1",
			MinSize: 1 << 30, Wipe: true, WipeOnly: &disk.Signature{Type: "ntfs", UUID: "u"},
			Directories: []disk.Directory{{Path: "x/store", UID: 990, GID: 991, Mode: 0o700}},
			Store:       &store.Identity{Cluster: "orders", ClusterID: spec.Cluster.ID, Node: "a", NodeID: config.NodeID(spec.Cluster.ID, "a"), StoreID: "s1"},
			StoreDir:    "x/store",
		},
		{
			Field: "side_disk.disk", Match: disk.Match{OnlyBlank: true, MinSize: 25 << 30}, FSType: "xfs", Label: sideLabel(spec.Cluster.ID, "a"),
			Mount: "/srv/holdfast/side", MinSize: 25 << 30, Directories: []disk.Directory{{Path: "store", UID: 990, GID: 991, Mode: 0o700}},
		},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if err := got.Validate(); err != nil {
		t.Errorf("package disk refuses it: %v", err)
	}
}

// A side disk has no identity file: its label keeps one of another node, or of another
// cluster's node of that name, from being used.
func TestSideLabel(t *testing.T) {
	seen := map[string]bool{}
	for _, id := range []string{"6f2d1c9e-7a53-4c1e-9a55-0f5b3d1c2e4f", "7f2d1c9e-7a53-4c1e-9a55-0f5b3d1c2e4f"} {
		for _, node := range []string{"a", "b", "a-very-long-name-of-a-node-in-a-far-away-zone"} {
			l := sideLabel(id, node)
			if len(l) != 12 || seen[l] || l != sideLabel(id, node) {
				t.Errorf("%s %s: %q", id, node, l)
			}
			seen[l] = true
		}
	}
	if got := sideLabel("6f2d1c9e-7a53-4c1e-9a55-0f5b3d1c2e4f", "a"); got != "hfs-2ab5624a" {
		t.Errorf("the label is on disks: it must never change: %q", got)
	}
}

func TestRefusalOf(t *testing.T) {
	e := refusalOf(&disk.Refusal{Field: "side_disk.disk.min_size", Device: "/dev/sdb", Want: "25G or more", Found: "10G", Next: "Attach a larger disk."})
	if e.Field != "side_disk.disk.min_size_bytes" || e.Why != "/dev/sdb: side_disk.disk.min_size_bytes: want 25G or more, found 10G" || !strings.Contains(e.What, "the disk of side_disk") || e.Next == "" {
		t.Errorf("%+v", e)
	}
	problems := diskProblems(errors.Join(
		&disk.Refusal{Field: "stores.0.disk.fstype", Want: "xfs", Found: "ext4"}, &disk.Refusal{Field: "side_disk.disk.match", Want: "a device", Found: "none"}))
	if len(problems) != 2 || !strings.Contains(problems[0].Why, "stores.0.disk.filesystem: want xfs, found ext4") {
		t.Errorf("%+v", problems)
	}
	both := refusalOf(&disk.Refusal{Field: "stores.0.disk.fstype", Want: "xfs", Found: "ext4", Next: "N."}, &disk.Refusal{Field: "side_disk.disk.match", Want: "a device", Found: "none", Next: "N."})
	if both.Why != "stores.0.disk.filesystem: want xfs, found ext4; side_disk.disk.match: want a device, found none" || both.Field != "stores.0.disk.filesystem" || both.Next != "N." {
		t.Errorf("%+v", both)
	}
	if problems := diskProblems(disk.ErrBusy); len(problems) != 1 || problems[0].Next == "" {
		t.Errorf("%+v", problems)
	}
}

// What would be done is told without the parts of one thing, and without what is only said.
func TestOperations(t *testing.T) {
	steps := []disk.Step{
		{Do: disk.MakeFS, Field: "stores.0.disk", Device: "/dev/sdb", FSType: "xfs", Size: 2 << 30}, {Do: disk.Label, Field: "stores.0.disk"}, {Do: disk.MountPoint, Field: "stores.0.disk"},
		{Do: disk.MakeDir, Field: "stores.0.disk", Path: "/srv/holdfast/data1/store", Directory: &disk.Directory{UID: 0, Mode: 0o700}},
	}
	want := []agentapi.Operation{
		{Part: "disks", Field: "stores.0", Text: "make xfs on /dev/sdb (2G (2147483648 bytes))"},
		{Part: "disks", Field: "stores.0", Text: "directory /srv/holdfast/data1/store for the user holdfast, mode 0700"},
	}
	if diff := cmp.Diff(want, diskOperations(steps)); diff != "" {
		t.Error(diff)
	}
	actions := []units.Action{{Kind: units.Reload, Why: "unit files are written"}, {Kind: units.NeedRestart, Target: units.EngineUnit, Why: "Restart differs"}}
	if diff := cmp.Diff([]agentapi.Operation{{Part: "services", Text: "daemon-reload: unit files are written"}}, serviceOperations(actions)); diff != "" {
		t.Error(diff)
	}
}

func TestWaits(t *testing.T) {
	for show, want := range map[string]bool{"": false, "\n\n": false, "Job=0\n\nJob=\n": false, "Job=\n\nJob=812\n": true} {
		if waits(show) != want {
			t.Errorf("%q: %v", show, !want)
		}
	}
}

// The host is made of the mounts that there are; a store without a disk is a directory.
func TestHost(t *testing.T) {
	a := idle(Options{Dir: units.DefaultDir, Binary: "/usr/local/bin/holdfast", LogFile: "/var/log/holdfast-agent.log", Systemd: true, Logger: hclog.NewNullLogger()})
	spec := machineSpec()
	const u1, u2 = "0b0e3a0e-8a3c-4d5e-9f10-1234567890ab", "1b0e3a0e-8a3c-4d5e-9f10-1234567890ab"
	h := a.host(spec, []disk.Mount{
		{Field: "stores.0.disk", UUID: u1, Where: "/srv/holdfast/data1", FSType: "xfs"}, {Field: "side_disk.disk", UUID: u2, Where: "/srv/holdfast/side", FSType: "xfs"},
	}, 252)
	want := units.Host{
		Node: "a", Binary: "/usr/local/bin/holdfast", Dir: units.DefaultDir, AgentLog: "/var/log/holdfast-agent.log", EngineWanted: true, Systemd: 252,
		Stores: []units.Disk{{Path: "/srv/holdfast/data1", UUID: u1, FSType: "xfs"}}, Side: &units.Disk{Path: "/srv/holdfast/side", UUID: u2, FSType: "xfs"},
	}
	if diff := cmp.Diff(want, h); diff != "" {
		t.Error(diff)
	}
	spec.Stores[0].Disk = nil
	if h := a.host(spec, nil, 252); h.Stores[0] != (units.Disk{Path: "/srv/holdfast/data1/x/store"}) {
		t.Errorf("%+v", h.Stores)
	}
	// The agent's unit is the same whether it is made with the spec or without.
	whole, err := units.Make(h)
	if err != nil {
		t.Fatal(err)
	}
	alone, err := units.MakeAgent(units.Host{Node: "a", Binary: "/usr/local/bin/holdfast", AgentLog: "/var/log/holdfast-agent.log", Systemd: 252})
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{}
	for _, f := range whole.Files {
		texts[f.Path] = f.Text
	}
	for _, f := range alone.Files {
		if diff := cmp.Diff(f.Text, texts[f.Path]); diff != "" {
			t.Errorf("%s: %s", f.Path, diff)
		}
	}
}

// The log may be on a side that the node has no more: until an engine has drained it, its
// mount is kept, and engines may write there. Seen to fail with Previous left out.
func TestPreviousSides(t *testing.T) {
	spec := machineSpec()
	r := storesRecord{}.withSides(mayArm(nil, spec), spec)
	want := storesRecord{Sides: []string{"/srv/holdfast/side/store"}, SideMounts: map[string]string{"/srv/holdfast/side/store": "/srv/holdfast/side"}}
	if diff := cmp.Diff(want, r); diff != "" {
		t.Error(diff)
	}
	if got := r.previous(spec); got != nil {
		t.Errorf("it is in use: %v", got)
	}
	moved := machineSpec()
	moved.SideDisk = &agentapi.SideDisk{Path: "/srv/other"}
	r = r.withSides(mayArm(r.Sides, moved), moved)
	previous := []units.Previous{{Path: "/srv/holdfast/side/store", Mount: "/srv/holdfast/side"}}
	if diff := cmp.Diff(previous, r.previous(moved)); diff != "" {
		t.Error(diff)
	}
	a := idle(Options{Dir: units.DefaultDir, Systemd: true, Logger: hclog.NewNullLogger()})
	a.mu.stores = r
	if diff := cmp.Diff(previous, a.host(moved, nil, 252).Previous); diff != "" {
		t.Error(diff)
	}
	if r = r.withSides(ownSides(moved), moved); r.previous(moved) != nil || len(r.SideMounts) > 0 {
		t.Errorf("drained: %+v", r)
	}
}

// Only a spec that was sent has file systems grown.
func TestAsked(t *testing.T) {
	a := idle(Options{Logger: hclog.NewNullLogger()})
	if c := a.converge(false); c.asked {
		t.Error("a certificate counts as a spec that was sent")
	}
	if c := a.converge(true); !c.asked || a.converge(false) != c || !c.asked {
		t.Errorf("%+v", c)
	}
}

// Engine and agent are started and stopped by others than the services.
func TestElsewhere(t *testing.T) {
	for _, tc := range []struct {
		act  units.Action
		want bool
	}{
		{units.Action{Kind: units.Start, Target: units.EngineUnit}, true},
		{units.Action{Kind: units.Enable, Target: units.EngineUnit}, true},
		{units.Action{Kind: units.Disable, Target: units.EngineUnit}, true},
		{units.Action{Kind: units.NeedRestart, Target: units.EngineUnit}, false},
		{units.Action{Kind: units.Start, Target: units.AgentUnit}, true},
		{units.Action{Kind: units.Enable, Target: units.AgentUnit}, false},
		{units.Action{Kind: units.Start, Target: "srv-x.mount"}, false},
	} {
		if got := elsewhere(tc.act); got != tc.want {
			t.Errorf("%s %s: %v", tc.act.Kind, tc.act.Target, got)
		}
	}
}

func TestConfigs(t *testing.T) {
	var r configsRecord
	specs := map[string]*agentapi.Spec{}
	for i, hash := range []string{"a", "b", "c", "d", "e", "f", "g", "h", "a", "i"} {
		s := machineSpec()
		s.Ports.HTTP = 9000 + i
		specs[hash] = s
		r = r.with(hash, s)
	}
	if len(r.Configs) != configsKept || r.spec("i") != specs["i"] || r.spec("a") != specs["a"] || r.spec("b") != nil || r.spec("c") != specs["c"] {
		t.Errorf("%+v", r)
	}
	now := machineSpec()
	now.Ports.HTTP = 9008 // that of a
	if got := r.addresses(now); len(got) != configsKept || got[0] != "127.0.0.1:9008" || got[1] != "127.0.0.1:9009" {
		t.Errorf("%v", got)
	}
	b, err := json.Marshal(r)
	if err != nil || !strings.HasPrefix(string(b), `{"format":1,"configs":[{"hash":"i","spec":{`) {
		t.Errorf("%s %v", b, err)
	}
}

// An engine of systemd says itself what it runs with; one that hangs has said it before.
func TestRestartRequired(t *testing.T) {
	a := idle(Options{Systemd: true, Logger: hclog.NewNullLogger()})
	old, now := machineSpec(), machineSpec()
	now.RaftLogStore.Backend = "boltdb"
	a.mu.configs = configsRecord{}.with("h1", old).with("h2", now)
	started := time.Unix(1000, 0)
	run := engineRun{pid: 7, started: started}
	attributes := func(run engineRun) (all []string) {
		for _, c := range a.restartRequired(run, now, "h2") {
			all = append(all, c.Attribute)
		}
		return all
	}
	for _, tc := range []struct {
		hash string
		want []string
	}{{"h1", []string{"raft_logstore.backend"}}, {"h2", nil}, {"h0", []string{"configuration"}}} {
		if diff := cmp.Diff(tc.want, attributes(a.learn(run, tc.hash))); diff != "" {
			t.Errorf("%s: %s", tc.hash, diff)
		}
	}
	if got := attributes(run); got != nil {
		t.Errorf("nothing is known and yet %v", got)
	}
	// Its unit was changed after it started; the next engine runs with the new one.
	run.id = supervise.Identity{PID: 7, StartTicks: 1}
	a.mu.unit = unitRecord{Engine: run.id, Unit: "u1", Wanted: "u2", Why: "ReadWritePaths differs"}
	if got := attributes(a.learn(run, "h2")); !cmp.Equal(got, []string{"unit"}) {
		t.Errorf("%v", got)
	}
	if got := attributes(a.learn(engineRun{id: supervise.Identity{PID: 7, StartTicks: 2}, pid: 7, started: started.Add(10 * time.Second)}, "h2")); got != nil {
		t.Errorf("after the restart: %v", got)
	}
}

// An agent that is not the one of a whole machine refuses disks.
func TestDisksNeedAMachine(t *testing.T) {
	a := idle(Options{Dir: t.TempDir(), Logger: hclog.NewNullLogger()})
	_, err := a.acceptLocked(t.Context(), machineSpec(), nil, true)
	if e, ok := errors.AsType[*agentapi.Error](err); !ok || e.Field != "stores.0.disk" {
		t.Errorf("%v", err)
	}
}

// No store and no mount lies where the agent keeps its own, which a removal takes away.
func TestOwnDirectories(t *testing.T) {
	a := idle(Options{Dir: "/var/lib/holdfast", Systemd: true, Logger: hclog.NewNullLogger()})
	for field, edit := range map[string]func(*agentapi.Spec){
		"":                    func(*agentapi.Spec) {},
		"stores.0.path":       func(s *agentapi.Spec) { s.Stores[0] = agentapi.StoreSpec{Path: "/var/lib/holdfast/store"} },
		"stores.0.disk.mount": func(s *agentapi.Spec) { s.Stores[0].Disk.Mount = "/var/lib" },
		"side_disk.path":      func(s *agentapi.Spec) { s.SideDisk = &agentapi.SideDisk{Path: "/etc"} },
	} {
		spec := machineSpec()
		edit(spec)
		err := a.mayHave(spec)
		if e, ok := errors.AsType[*agentapi.Error](err); (err == nil) != (field == "") || err != nil && (!ok || e.Field != field) {
			t.Errorf("%s: %v", field, err)
		}
	}
}

// What an engine reads is its group's to read, and nobody's but root's to write, at any
// moment: replacing it leaves no other mode behind.
func TestPlaceWrite(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root gives files away")
	}
	at := place{dir: filepath.Join(t.TempDir(), "etc"), uid: 4711, gid: 4712}
	for range 2 {
		if err := at.writeJSON("engine.json", map[string]int{"a": 1}); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(at.dir, "engine.json.new"), nil, 0o666); err != nil { // a run that was killed
			t.Fatal(err)
		}
	}
	for name, mode := range map[string]os.FileMode{"": os.ModeDir | 0o750, "engine.json": 0o640} {
		fi, err := os.Stat(filepath.Join(at.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if uid, gid := ids(fi); fi.Mode() != mode || uid != 0 || gid != 4712 {
			t.Errorf("%s: %v %d:%d", fi.Name(), fi.Mode(), uid, gid)
		}
	}
}

func ids(fi os.FileInfo) (uid, gid uint32) {
	st := fi.Sys().(*syscall.Stat_t)
	return st.Uid, st.Gid
}

// What was done is told in order, without what was only looked at.
func TestConvergenceDone(t *testing.T) {
	var c convergence
	op := func(text string) agentapi.Operation { return agentapi.Operation{Part: agentapi.PartDisks, Text: text} }
	c.looking(agentapi.PartDisks, "look")
	c.doing(op("make"))
	c.doing(op("mount"))
	c.looking(agentapi.PartServices, "compare")
	if st := c.status(); st.Doing.Text != "compare" || !cmp.Equal(st.Done, []agentapi.Operation{op("make"), op("mount")}) {
		t.Errorf("%+v", st)
	}
	c.doing(op("grow"))
	c.doing(agentapi.Operation{})
	if st := c.status(); st.Doing.Text != "" || !cmp.Equal(st.Done, []agentapi.Operation{op("make"), op("mount"), op("grow")}) {
		t.Errorf("at the end: %+v", st)
	}
}

// A dry run refuses what a PUT refuses, before an agent is installed for it.
func TestPreviewChecksSteps(t *testing.T) {
	spec := machineSpec()
	spec.Stores, spec.SideDisk, spec.WALFailover = []agentapi.StoreSpec{{Path: filepath.Join(t.TempDir(), "data")}}, nil, agentapi.WALFailover{Mode: agentapi.DisabledMode}
	preview := func() error {
		_, err := Preview(t.Context(), Options{Dir: t.TempDir(), Logger: hclog.NewNullLogger()}, spec)
		return err
	}
	if err := preview(); err != nil {
		t.Fatal(err)
	}
	spec.Provision = []agentapi.Step{{Name: "motd", File: &agentapi.FileStep{Path: "/etc/motd", Mode: "rw"}}}
	if e, ok := errors.AsType[*agentapi.Error](preview()); !ok || e.Field != "provision.motd.file.mode" {
		t.Errorf("%+v", e)
	}
}

// Certificates are asked for where the engine listens that runs, and not where the spec in
// force has the next one. Seen to fail with the spec of the process alone.
func TestRunning(t *testing.T) {
	a := idle(Options{Systemd: true, Logger: hclog.NewNullLogger()})
	sup := &heard{}
	a.sup = sup
	now, old := machineSpec(), machineSpec()
	if a.running(now) != nil {
		t.Error("there is no engine")
	}
	sup.state.Process = &supervise.Info{}
	if a.running(now) != now {
		t.Error("one that has not said yet has the spec in force")
	}
	a.mu.configs = configsRecord{}.with("h1", old)
	a.learn(a.runs(sup.state.Process), "h1")
	if a.running(now) != old {
		t.Error("it said with what it runs")
	}
}

// Without the side's disk the stores' are mounted, and nothing is made: a blank disk beside them may
// be the side's next one.
func TestWithoutSide(t *testing.T) {
	s := diskSpec(machineSpec(), storesRecord{}, 1, 1)
	rest, ok := withoutSide(s)
	if !ok || len(rest.Disks) != len(s.Disks)-1 || len(s.Disks) != 2 || rest.Disks[0].Field != "stores.0.disk" {
		t.Errorf("%v: %+v", ok, rest)
	}
	if rest, ok = withoutSide(rest); ok {
		t.Errorf("no side is asked for: %+v", rest)
	}
	for name, tc := range map[string]struct {
		steps []disk.Step
		want  bool
	}{
		"nothing to do":     {want: true},
		"mounted again":     {steps: []disk.Step{{Do: disk.MountPoint}, {Do: disk.MountFS}}, want: true},
		"a blank one taken": {steps: []disk.Step{{Do: disk.MakeFS}, {Do: disk.Label}, {Do: disk.MountFS}}},
	} {
		if got := mountsAlone(disk.Plan{Steps: tc.steps}); got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
