// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package console

import (
	"errors"
	"math"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/api"
)

// noon is when the fixtures are looked at.
var noon = time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC)

// fixture is a node in some state: a Source.
type fixture struct {
	name    string
	stores  api.NodeStores
	raft    map[string]api.RaftConfiguration
	contact time.Duration // how long ago followers were heard, on the leader

	contactAt time.Time     // noon where it is zero
	index     atomic.Uint64 // added to every partition's by tests
}

func (f *fixture) Stores() api.NodeStores {
	s := f.stores
	s.Stores = append([]api.Store(nil), s.Stores...)
	for i := range s.Stores {
		s.Stores[i].Partitions = append([]api.Partition(nil), s.Stores[i].Partitions...)
		for j := range s.Stores[i].Partitions {
			s.Stores[i].Partitions[j].Index += f.index.Load()
		}
	}
	return s
}

func (f *fixture) RaftConfiguration(partition string) (api.RaftConfiguration, error) {
	c, ok := f.raft[partition]
	if !ok {
		return c, errors.New("no such partition")
	}
	return c, nil
}

func (f *fixture) PeerContact(partition, server string) time.Time {
	for _, p := range f.partitions() {
		if p.Name == partition && p.Leader == f.stores.Node && server != f.stores.Node && f.contact > 0 {
			at := noon
			if !f.contactAt.IsZero() {
				at = f.contactAt
			}
			return at.Add(-f.contact)
		}
	}
	return time.Time{}
}

func (f *fixture) partitions() []*api.Partition { return (&state{Stores: f.stores}).partitions() }

// state is what the fixture looks like at noon.
func (f *fixture) state() *state {
	s := &state{Now: noon, Stores: f.stores, Raft: f.raft, Contact: make(map[[2]string]time.Time), Applied: 201.4, Writes: 67, P99: 6.42}
	for _, p := range f.partitions() {
		for _, srv := range f.raft[p.Name].Servers {
			s.Contact[[2]string{p.Name, srv.ID}] = f.PeerContact(p.Name, srv.ID)
		}
	}
	return s
}

func nodeStores(node string, stores ...api.Store) api.NodeStores {
	return api.NodeStores{Node: node, NodeID: "0d8c1f5e-1111-4000-8000-00000000000a", Cluster: "orders", ClusterID: "5f1d3c52-0000-4000-8000-000000000001",
		Version: "0.1.0-dev", StartedAt: noon.Add(-26*time.Hour - 12*time.Minute), Stores: stores}
}

func store(path, device, majMin string, f api.Failover, p api.Partition) api.Store {
	return api.Store{ID: "store-" + path, Path: path, Mountpoint: path, Device: device, MajMin: majMin, SizeBytes: 10 << 30, FreeBytes: 6<<30 + 700<<20,
		Attrs: []string{}, Partitions: []api.Partition{p}, ConfiguredBackend: "wal", EffectiveBackend: "wal", Failover: f}
}

func partition(name, node, leader string) api.Partition {
	p := api.Partition{Name: name, State: "Follower", Leader: leader, LeaderAddr: "127.0.77.2:8300", Term: 4, CommitIndex: 1284220,
		AppliedIndex: 1284220, LastIndex: 1284221, Index: 1930417, Keys: 48210, LastContactMS: 38}
	switch leader {
	case node:
		p.State, p.LastContactMS = "Leader", 0
	case "":
		p.State, p.LeaderAddr, p.LastContactMS = "Candidate", "", 4300
	}
	return p
}

func servers(leader string, last ...uint64) api.RaftConfiguration {
	c := api.RaftConfiguration{Index: 1}
	for i, name := range []string{"a", "b", "c"} {
		s := api.RaftServer{ID: name, Node: name, Address: "127.0.77." + string(rune('1'+i)) + ":8300", Leader: name == leader, ProtocolVersion: "3", Voter: true}
		if i < len(last) {
			s.LastIndex = last[i]
		}
		c.Servers = append(c.Servers, s)
	}
	return c
}

func sideDisk(active string) api.Failover {
	return api.Failover{Mode: "side-disk", Active: active, Sides: []api.Side{{Path: "/srv/orders/a/side", Device: "/dev/loop1", Healthy: true, Armed: true,
		FreeBytes: 24<<30 + 300<<20, JournalBytes: 0, BudgetBytes: 1 << 30}}, SwitchCount: 0, HedgeCount: 3,
		PrimaryDurationNS: int64(26*time.Hour + 12*time.Minute), HedgeNS: int64(14 * time.Millisecond)}
}

// fixtures are the states that pages are tested in.
func fixtures() []*fixture {
	healthy := sideDisk(activePrimary)

	over := sideDisk(activeSecondary)
	over.SwitchCount, over.SecondaryDurationNS, over.HedgeCount = 7, int64(5*time.Minute+41*time.Second), 19
	over.LastSwitch = &api.Switch{At: noon.Add(-12 * time.Second), Reason: "the primary has not taken an operation for 101ms"}
	over.HungNS, over.Pending, over.PendingBytes = int64(12*time.Second+300*time.Millisecond), 2412, 3<<20+200<<10
	over.Sides[0].JournalBytes = 3<<20 + 400<<10

	sick := sideDisk(activePrimary)
	sick.Sides[0].Healthy, sick.Sides[0].Error = false, "fsync: input/output error"
	sick.SwitchCount, sick.LastSwitch = 2, &api.Switch{At: noon.Add(-3 * time.Hour), Reason: "the primary was healthy for 2s"}

	full := sideDisk(activeSecondary)
	full.SwitchCount, full.SecondaryDurationNS = 1, int64(4*time.Minute+5*time.Second)
	full.LastSwitch = &api.Switch{At: noon.Add(-245 * time.Second), Reason: "the primary has not taken an operation for 101ms"}
	full.Sides[0].JournalBytes, full.Sides[0].Alarm = 900<<20, true
	full.PrimaryError, full.Replayed = "append: input/output error", 12

	bare := api.Failover{Mode: "side-disk", Active: activePrimary, Off: "unhealthy_op_threshold is above max_sync_duration",
		Sides: []api.Side{{Path: "/srv/orders/a/side"}}}
	off := api.Failover{Mode: modeDisabled, Active: activePrimary, Sides: []api.Side{}}
	hung := off
	hung.HungNS = int64(7 * time.Second)

	among1, among2 := sideDisk(activePrimary), sideDisk(activeSecondary)
	among1.Mode, among2.Mode = "among-stores", "among-stores"
	among1.Sides[0].Path, among2.Sides[0].Path = "/srv/orders/a/data2", "/srv/orders/a/data1"
	among2.SwitchCount, among2.SecondaryDurationNS = 1, int64(900*time.Millisecond)
	among2.LastSwitch = &api.Switch{At: noon.Add(-900 * time.Millisecond), Reason: "the primary has not taken an operation for 100ms"}

	failed := partition("default", "a", "b")
	failed.Error = `the log failed: write /srv/orders/a/data/raft/default/wal/00000001.wal: input/output error`
	data, dev := "/srv/orders/a/data", "/dev/loop0"
	one := map[string]api.RaftConfiguration{"default": servers("b")}
	leads := map[string]api.RaftConfiguration{"default": servers("a", 1284221, 1284221, 1281200)}
	mixed := store(data, dev, "7:0", off, partition("default", "a", "a"))
	mixed.ConfiguredBackend, mixed.EffectiveBackend, mixed.Attrs = "wal", "boltdb", []string{"ssd", "rack=4"}
	verified := store(data, dev, "7:0", healthy, partition("default", "a", "b"))
	verified.Verification = &api.Verification{RangesVerified: 812, LastReport: &api.VerificationReport{At: noon.Add(-40 * time.Second), Result: "ok",
		RangeStart: 1224132, RangeEnd: 1283802, ElapsedNS: int64(488 * time.Millisecond)}}
	rotten := verified
	rotten.Verification = &api.Verification{RangesVerified: 813, ReadChecksumFailures: 1, LastReport: &api.VerificationReport{At: noon.Add(-40 * time.Second),
		Result: "storage_corruption", RangeStart: 1224132, RangeEnd: 1283802, ElapsedNS: int64(488 * time.Millisecond), Error: "entry 1230000 differs"}}
	empty := api.Partition{Name: "p2", State: "Follower", LastContactMS: -1}
	hostile := store(`/srv/<script>alert(1)</script>/"x'`, `"><img src=x onerror=alert(1)>`, "7:0", off, partition("default", "a", "b"))
	hostile.Failover.Mode = "<b>side-disk</b>"

	return []*fixture{
		{name: "healthy-follower", stores: nodeStores("a", verified), raft: one},
		{name: "log-corrupt", stores: nodeStores("a", rotten), raft: one},
		{name: "healthy-leader", stores: nodeStores("a", store(data, dev, "7:0", healthy, partition("default", "a", "a"))), raft: leads, contact: 300 * time.Millisecond},
		{name: "failed-over", stores: nodeStores("a", store(data, dev, "7:0", over, partition("default", "a", "a"))), raft: leads, contact: 7 * time.Second},
		{name: "side-unhealthy", stores: nodeStores("a", store(data, dev, "7:0", sick, partition("default", "a", "b"))), raft: one},
		{name: "side-nearly-full", stores: nodeStores("a", store(data, dev, "7:0", full, partition("default", "a", "b"))), raft: one},
		{name: "not-armed", stores: nodeStores("a", store(data, "", "", bare, partition("default", "a", "b"))), raft: one},
		{name: "disabled", stores: nodeStores("a", mixed), raft: leads, contact: 200 * time.Millisecond},
		{name: "disk-hangs", stores: nodeStores("a", store(data, dev, "7:0", hung, partition("default", "a", "a"))), raft: leads},
		{name: "no-leader", stores: nodeStores("a", store(data, dev, "7:0", healthy, partition("default", "a", ""))), raft: one},
		{name: "failed", stores: nodeStores("a", store(data, dev, "7:0", healthy, failed)), raft: one},
		{name: "two-stores", stores: nodeStores("a",
			store("/srv/orders/a/data1", "/dev/loop0", "7:0", among1, partition("default", "a", "a")),
			store("/srv/orders/a/data2", "/dev/loop2", "7:2", among2, partition("p2", "a", "c"))),
			raft: map[string]api.RaftConfiguration{"default": servers("a", 1284221, 1284221, 1281200), "p2": servers("c")}, contact: 100 * time.Millisecond},
		{name: "joining", stores: nodeStores("a", store(data, dev, "7:0", off, partition("default", "a", "b")), store("/srv/orders/a/data2", "", "", off, empty)),
			raft: map[string]api.RaftConfiguration{"default": servers("b")}},
		{name: "no-stores", stores: nodeStores("client"), raft: nil},
		{name: "hostile", stores: nodeStores("a", hostile), raft: one},
	}
}

// stalled tells whether a log fails over in the second that is so many before
// the newest.
func stalled(left int) bool {
	return left <= 12 || left > 170 && left <= 190 || left > 395 && left <= 404 || left > 9000 && left <= 9300
}

// backfill gives a console the history of busy hours, in which the logs that
// are failed over were so four times, and now.
func backfill(c *Console, f *fixture) {
	const seconds = coarseRows * perCoarse
	rnd := rand.New(rand.NewPCG(1, 2))
	c.started = c.started.Add(-seconds * time.Second)
	now := c.clock(time.Now())
	end := storeGauges(&f.stores)
	v := interval{length: time.Second, appliedFor: time.Second, stores: make([]float64, len(end))}
	h := newHistory(len(f.stores.Stores))
	// The gauges run up to what the status says now.
	step := func(left int) {
		for s := 0; s+storeColumns <= len(end); s += storeColumns {
			was := v.stores[s+storeFailedOver]
			v.stores[s+storeFailedOver] = 0
			if stalled(left) && end[s+storeFailedOver] == 1 {
				v.stores[s+storeSecondary]++
				v.stores[s+storeFailedOver] = 1
			} else {
				v.stores[s+storePrimary]++
			}
			if was != v.stores[s+storeFailedOver] {
				v.stores[s+storeSwitches]++
			}
		}
	}
	for i := range seconds {
		step(seconds - i)
	}
	for s := range v.stores {
		v.stores[s] = end[s] - v.stores[s]
		if s%storeColumns == storeFailedOver {
			v.stores[s] = 0
		}
	}
	for i := range seconds {
		left := seconds - i
		step(left)
		wave := 30 * math.Sin(float64(i)/47)
		v.writes, v.applied = spread{}, math.Round(600+3*wave+12*rnd.NormFloat64())
		for range 200 + int(wave) {
			d := 2.2 * math.Exp(rnd.NormFloat64()*0.35)
			if stalled(left) && rnd.IntN(100) == 0 {
				d += 45 + 10*rnd.Float64()
			}
			at := time.Duration(d * float64(time.Millisecond))
			v.writes.counts[bucketOf(at)]++
			v.writes.total++
			v.writes.peak = max(v.writes.peak, at)
		}
		h.add(now-int64(left-1)*1000, &v)
	}
	c.mu.Lock()
	c.mu.hist = h
	c.mu.Unlock()
}

// shift moves the fixture from noon to another time.
func (f *fixture) shift(to time.Time) {
	d := to.Sub(noon)
	f.stores.StartedAt = f.stores.StartedAt.Add(d)
	f.contactAt = to
	for i := range f.stores.Stores {
		if last := f.stores.Stores[i].Failover.LastSwitch; last != nil {
			f.stores.Stores[i].Failover.LastSwitch = &api.Switch{At: last.At.Add(d), Reason: last.Reason}
		}
		if v := f.stores.Stores[i].Verification; v != nil && v.LastReport != nil {
			v.LastReport.At = v.LastReport.At.Add(d)
		}
	}
}
