// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package gce

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
	"github.com/holdfastdb/terraform-provider-holdfast/test/gcefake/emulator"
)

// fault is one way in which a call goes wrong.
type fault struct {
	name  string
	fault emulator.Fault
	// kill: the provider dies as the fault takes effect.
	kill bool
	// borne: the run itself gets over it.
	borne bool
}

var faults = []fault{
	{name: "403 quota", fault: emulator.Fault{HTTP: emulator.QuotaExceeded("CPUS", "us-east4", 8)}},
	{name: "409", fault: emulator.Fault{HTTP: emulator.AlreadyExists("projects/holdfast-test/zones/z/disks/d")}},
	{name: "412", fault: emulator.Fault{HTTP: emulator.ConditionNotMet()}},
	{name: "429", fault: emulator.Fault{HTTP: emulator.RateLimited()}, borne: true},
	{name: "503", fault: emulator.Fault{HTTP: emulator.BackendError(503)}, borne: true},
	{name: "failed operation", fault: emulator.Fault{Operation: emulator.OperationQuotaExceeded("CPUS", "us-east4", 8)}},
	{name: "lost answer", fault: emulator.Fault{Lost: true}, borne: true},
	{name: "lost request", fault: emulator.Fault{Reset: true}, borne: true},
	{name: "killed after", fault: emulator.Fault{}, kill: true},
	{name: "killed before", fault: emulator.Fault{Reset: true}, kill: true},
}

// scenario is a run whose every call goes wrong once.
type scenario struct {
	name    string
	prepare func(c *cloud)
	run     func(ctx context.Context, p *Platform) error
	change  func(*Config) // of the run
	want    []string
}

var sweepNodes = testCluster("a", "b")

func larger() platform.Cluster {
	c := testCluster("a")
	c.Stores = []platform.Disk{{SizeBytes: 200 * gib, FileSystem: "ext4"}}
	return c
}

// other is a configuration of which everything that may change has changed.
func other(c *Config) {
	c.MachineType, c.ServiceAccount = "n2-standard-8", "other@holdfast-test.iam.gserviceaccount.com"
	c.Labels, c.Tags = map[string]string{"team": "payments"}, []string{"db"}
	c.Stores = []DiskKind{{Type: "hyperdisk-balanced", IOPS: 4000, ThroughputMiBs: 200}}
	c.SSHRanges, c.User = []string{"198.51.100.0/24"}, "root"
}

var scenarios = []scenario{
	{name: "create", prepare: func(*cloud) {},
		run: func(ctx context.Context, p *Platform) error { _, err := p.Ensure(ctx, sweepNodes, nil); return err },
		want: []string{
			"firewall holdfast-orders-nodes: 8300,8501",
			"firewall holdfast-orders-ssh: 22 from 203.0.113.0/24",
			"disk us-east4-a/orders-a: boot of node a, pd-balanced, 10 GB, with orders-a",
			"disk us-east4-a/orders-a-data-1: data-1 of node a, hyperdisk-balanced, 100 GB, 3000 IOPS, 140 MiB/s, with orders-a",
			"disk us-east4-a/orders-a-side: side of node a, pd-ssd, 25 GB, with orders-a",
			"disk us-central1-a/orders-b: boot of node b, pd-balanced, 10 GB, with orders-b",
			"disk us-central1-a/orders-b-data-1: data-1 of node b, hyperdisk-balanced, 100 GB, 3000 IOPS, 140 MiB/s, with orders-b",
			"disk us-central1-a/orders-b-side: side of node b, pd-ssd, 25 GB, with orders-b",
			"instance us-east4-a/orders-a: node a, n2-standard-4, RUNNING, disks boot! data-1 side",
			"instance us-central1-a/orders-b: node b, n2-standard-4, RUNNING, disks boot! data-1 side",
		}},
	{name: "update", prepare: func(c *cloud) { c.ensure(c.open(), testCluster("a")) }, change: other,
		run: func(ctx context.Context, p *Platform) error { _, err := p.Ensure(ctx, larger(), nil); return err },
		want: []string{
			"firewall holdfast-orders-nodes: 8300,8501",
			"firewall holdfast-orders-ssh: 22 from 198.51.100.0/24",
			"disk us-east4-a/orders-a: boot of node a, pd-balanced, 10 GB, with orders-a",
			"disk us-east4-a/orders-a-data-1: data-1 of node a, hyperdisk-balanced, 200 GB, 4000 IOPS, 200 MiB/s, with orders-a",
			"disk us-east4-a/orders-a-side: side of node a, pd-ssd, 25 GB, with orders-a",
			"instance us-east4-a/orders-a: node a, n2-standard-8, RUNNING, disks boot! data-1 side",
		}},
	{name: "replace", prepare: func(c *cloud) { c.ensure(c.open(), testCluster("a")) },
		change: func(c *Config) { c.Image = "projects/debian-cloud/global/images/family/debian-13" },
		run: func(ctx context.Context, p *Platform) error {
			_, err := p.Ensure(ctx, testCluster("a"), nil)
			return err
		},
		want: []string{
			"firewall holdfast-orders-nodes: 8300,8501",
			"firewall holdfast-orders-ssh: 22 from 203.0.113.0/24",
			"disk us-east4-a/orders-a: boot of node a, pd-balanced, 10 GB, with orders-a",
			"disk us-east4-a/orders-a-data-1: data-1 of node a, hyperdisk-balanced, 100 GB, 3000 IOPS, 140 MiB/s, with orders-a",
			"disk us-east4-a/orders-a-side: side of node a, pd-ssd, 25 GB, with orders-a",
			"instance us-east4-a/orders-a: node a, n2-standard-4, RUNNING, disks boot! data-1 side",
		}},
	{name: "another store", prepare: func(c *cloud) { c.ensure(c.open(), testCluster("a")) },
		run: func(ctx context.Context, p *Platform) error {
			c := testCluster("a")
			c.Stores = append(c.Stores, c.Stores[0])
			_, err := p.Ensure(ctx, c, nil)
			return err
		},
		want: []string{
			"firewall holdfast-orders-nodes: 8300,8501",
			"firewall holdfast-orders-ssh: 22 from 203.0.113.0/24",
			"disk us-east4-a/orders-a: boot of node a, pd-balanced, 10 GB, with orders-a",
			"disk us-east4-a/orders-a-data-1: data-1 of node a, hyperdisk-balanced, 100 GB, 3000 IOPS, 140 MiB/s, with orders-a",
			"disk us-east4-a/orders-a-data-2: data-2 of node a, hyperdisk-balanced, 100 GB, 3000 IOPS, 140 MiB/s, with orders-a",
			"disk us-east4-a/orders-a-side: side of node a, pd-ssd, 25 GB, with orders-a",
			"instance us-east4-a/orders-a: node a, n2-standard-4, RUNNING, disks boot! data-1 side data-2",
		}},
	{name: "bake", prepare: func(*cloud) {},
		run: func(ctx context.Context, p *Platform) error {
			b := p.Bakery()
			b.bake, b.killed, b.word = baked(nil), true, func() string { return "h0123" }
			_, err := b.Bake(ctx, testRecipe, Ingredients{Oven: testOven}, func(string) {})
			return err
		},
		want: []string{"image " + testRecipe.Image() + ": READY, base, held"}},
	{name: "image changed", prepare: func(c *cloud) { c.bake() },
		run: func(ctx context.Context, p *Platform) error {
			r := testRecipe
			r.Family, r.Labels = "other", map[string]string{"team": "search"}
			_, err := p.Bakery().Change(ctx, r, func(string) {})
			return err
		},
		want: []string{"image " + testRecipe.Image() + ": READY, other, held, team=search"}},
	{name: "image deleted", prepare: func(c *cloud) { c.bake() },
		run: func(ctx context.Context, p *Platform) error {
			i, err := p.Bakery().Find(ctx, testRecipe.Image())
			if err != nil || i == nil {
				return err
			}
			return p.Bakery().Delete(ctx, testRecipe.Name, i.Name, i.Hold, func(string) {})
		}},
	{name: "destroy", prepare: func(c *cloud) { c.ensure(c.open(), testCluster("a")) },
		run: func(ctx context.Context, p *Platform) error { return p.Destroy(ctx, testID, nil) }},
}

// Each call of a create, an update, a replacement and a destroy goes wrong once, in each way. The run
// gets over it, or the next one ends what it began: with nothing twice, nothing left over
// and no disk replaced.
func TestFaultSweep(t *testing.T) {
	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			places := s.places(t)
			n := 0
			for i, place := range places {
				for j, f := range faults {
					if testing.Short() && (i+j)%4 != 0 {
						continue
					}
					if f.fault.Operation != nil && reads(place.Method) {
						continue
					}
					s.fault(t, place, f)
					n++
				}
			}
			t.Logf("%d calls, %d runs", len(places), n)
		})
	}
}

// reads tells whether a method begins no operation.
func reads(method string) bool {
	_, verb, _ := strings.Cut(strings.TrimPrefix(method, "compute."), ".")
	return strings.HasPrefix(verb, "get") || verb == "list" || verb == "aggregatedList" || verb == "wait"
}

// places are the calls of a run to which nothing happens, as faults name them.
func (s scenario) places(t *testing.T) []emulator.Fault {
	t.Helper()
	c := newCloud(t, emulator.Config{Delay: time.Millisecond})
	s.prepare(c)
	before := len(c.Calls())
	if err := s.run(t.Context(), c.open(s.changes()...)); err != nil {
		t.Fatal(err)
	}
	calls := c.Calls()[before:]
	s.check(c, nil, "no fault")
	var out []emulator.Fault
	count := map[string]int{}
	for _, call := range calls {
		target := call.Scope + "/" + strings.Split(strings.TrimPrefix(call.Method, "compute."), ".")[0] + "/" + call.Name
		if strings.HasSuffix(call.Method, "Operations.wait") {
			target = call.Scope + "/" // operations have new names each time
		}
		if call.Scope == "" {
			target = ""
		}
		count[call.Method+target]++
		out = append(out, emulator.Fault{Method: call.Method, Target: target, Call: count[call.Method+target]})
	}
	return out
}

func (s scenario) changes() []func(*Config) {
	if s.change == nil {
		return nil
	}
	return []func(*Config){s.change}
}

// fault is one run in which one call goes wrong, and the next one.
func (s scenario) fault(t *testing.T, place emulator.Fault, f fault) {
	t.Helper()
	what := fmt.Sprintf("%s: call %d of %s %s", f.name, place.Call, place.Method, place.Target)
	c := newCloud(t, emulator.Config{Delay: time.Millisecond})
	defer c.end()
	s.prepare(c)
	ids, before := c.ids(), len(c.Calls())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	inject := f.fault
	inject.Method, inject.Target, inject.Call = place.Method, place.Target, place.Call
	if f.kill {
		inject.Then = cancel
		if inject.Reset { // nothing was done: then it is the same as if the call were not made
			inject.Reset, inject.HTTP = false, emulator.BackendError(503)
		}
	}
	injected := c.Inject(inject)
	p := c.open(s.changes()...)
	err := s.run(ctx, p)
	_ = p.Close()
	c.ClearFaults()
	if f.borne && err != nil {
		t.Errorf("%s: %v", what, err)
	}
	if e, ok := errors.AsType[*platform.Error](err); err != nil && !f.kill && (!ok || e.Next == "") {
		t.Errorf("%s: %v: it says not what to do", what, err)
	}
	if err == nil && injected.Fired() == 0 && s.name != "destroy" && place.Call == 1 {
		t.Errorf("%s: did not happen", what)
	}
	if err != nil {
		p := c.open(s.changes()...)
		if err := s.run(t.Context(), p); err != nil {
			t.Errorf("%s: the next run: %v", what, err)
		}
		_ = p.Close()
	}
	s.check(c, ids, what)
	for _, call := range c.Calls()[before:] {
		if s.name != "destroy" && call.Method == "compute.disks.delete" && (strings.HasSuffix(call.Name, "-data-1") || strings.HasSuffix(call.Name, "-side")) {
			t.Errorf("%s: %s was deleted", what, call.Name)
		}
	}
}

// check holds the project to what it should be; ids are the disks that must still be there.
func (s scenario) check(c *cloud, ids map[string]uint64, what string) {
	c.t.Helper()
	if diff := cmp.Diff(s.want, append(c.project().summary(), c.images()...)); diff != "" {
		c.t.Errorf("%s: %s", what, diff)
	}
	if len(ids) > 0 && s.name != "destroy" {
		now := c.ids()
		for name, id := range ids {
			if now[name] != id {
				c.t.Errorf("%s: disk %s was replaced", what, name)
			}
		}
	}
}
