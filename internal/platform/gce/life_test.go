// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package gce

import (
	"context"
	"strings"
	"testing"
	"time"

	compute "cloud.google.com/go/compute/apiv1"
	"cloud.google.com/go/compute/apiv1/computepb"
	"github.com/google/go-cmp/cmp"

	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
	"github.com/holdfastdb/terraform-provider-holdfast/test/gcefake/emulator"
)

// whole is a cluster of three nodes as it should be.
var whole = []string{
	"firewall holdfast-orders-nodes: 8300,8501",
	"firewall holdfast-orders-ssh: 22 from 203.0.113.0/24",
	"disk us-east4-a/orders-a: boot of node a, pd-balanced, 10 GB, with orders-a",
	"disk us-east4-a/orders-a-data-1: data-1 of node a, hyperdisk-balanced, 100 GB, 3000 IOPS, 140 MiB/s, with orders-a",
	"disk us-east4-a/orders-a-side: side of node a, pd-ssd, 25 GB, with orders-a",
	"disk us-central1-a/orders-b: boot of node b, pd-balanced, 10 GB, with orders-b",
	"disk us-central1-a/orders-b-data-1: data-1 of node b, hyperdisk-balanced, 100 GB, 3000 IOPS, 140 MiB/s, with orders-b",
	"disk us-central1-a/orders-b-side: side of node b, pd-ssd, 25 GB, with orders-b",
	"disk us-west2-a/orders-c: boot of node c, pd-balanced, 10 GB, with orders-c",
	"disk us-west2-a/orders-c-data-1: data-1 of node c, hyperdisk-balanced, 100 GB, 3000 IOPS, 140 MiB/s, with orders-c",
	"disk us-west2-a/orders-c-side: side of node c, pd-ssd, 25 GB, with orders-c",
	"instance us-east4-a/orders-a: node a, n2-standard-4, RUNNING, disks boot! data-1 side",
	"instance us-central1-a/orders-b: node b, n2-standard-4, RUNNING, disks boot! data-1 side",
	"instance us-west2-a/orders-c: node c, n2-standard-4, RUNNING, disks boot! data-1 side",
}

// From nothing to machines, and back to nothing, with a handful of calls per node.
func TestLife(t *testing.T) {
	c := newCloud(t, emulator.Config{Delay: 20 * time.Millisecond})
	var asked platform.Cluster
	p := c.openWith(&machines{asked: func(c platform.Cluster) { asked = c }})
	if err := p.Preflight(t.Context(), testCluster()); err != nil {
		t.Fatal(err)
	}
	if n := len(c.project().disks); n != 0 {
		t.Fatalf("the preflight made %d disks", n)
	}
	before := len(c.Calls())
	got := c.ensure(p, testCluster())
	calls := c.Calls()[before:]
	if diff := cmp.Diff(whole, c.project().summary()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"a", "b", "c"}, sortedKeys(got)); diff != "" {
		t.Error(diff)
	}
	if m := asked.Nodes[0]; m.Stores[0].Match.ByID != "google-data-1" || m.SideDisk.Match.ByID != "google-side" {
		t.Errorf("the machines were told of disks %+v", m)
	}
	// Two disks, an instance and a label, each begun and waited for, and the host keys; a keys' reading
	// may come too early and be repeated.
	perNode := map[string]int{}
	shared := 0
	for _, call := range calls {
		switch name := call.Name; {
		case call.Scope == "global" || strings.Contains(call.Method, "aggregatedList"):
			shared++
		case strings.Contains(call.Method, "Operations"):
			perNode[call.Scope]++
		default:
			perNode[call.Scope]++
			_ = name
		}
	}
	for zone, n := range perNode {
		if n > 10 {
			t.Errorf("%d calls in %s", n, zone)
		}
	}
	t.Logf("calls: %d in all, %v, %d shared", len(calls), perNode, shared)
	if shared > 16 {
		t.Errorf("%d calls beside those for nodes", shared)
	}
	c.settled(p, testCluster())

	name, id, ok, err := c.open().Adopt(t.Context())
	if name != "orders" || id != testID || !ok || err != nil {
		t.Errorf("adopted %s %s %t %v", name, id, ok, err)
	}
	seen, err := c.open().Observe(t.Context())
	if err != nil || len(seen) != 3 || seen["a"].Address != got["a"].Address {
		t.Errorf("observed %v %v", seen, err)
	}

	if err := p.Destroy(t.Context(), testID, nil); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string(nil), c.project().summary()); diff != "" {
		t.Error(diff)
	}
	if _, _, ok, err := p.Adopt(t.Context()); ok || err != nil {
		t.Errorf("there is still a cluster: %v", err)
	}
}

// What is done behind Terraform's back shows, and is repaired; no disk is lost by it.
func TestDrift(t *testing.T) {
	c := newCloud(t, emulator.Config{})
	// Somebody has the first address of b's subnetwork, and later has it no more.
	neighbour := c.neighbour("us-central1-a")
	made := c.ensure(c.open(), testCluster())
	neighbour()
	ids := c.ids()
	g := func(call string, f func(g *client, ctx context.Context, id *string) (*compute.Operation, error)) {
		t.Helper()
		c.behind(call, f)
	}
	at := func(name string) (string, string) {
		return map[string]string{"a": "us-east4-a", "b": "us-central1-a", "c": "us-west2-a"}[name], "orders-" + name
	}
	for _, tc := range []struct {
		what string
		do   func()
		want string
	}{
		{"stopped", func() {
			g("stop", func(g *client, ctx context.Context, id *string) (*compute.Operation, error) {
				zone, name := at("a")
				return g.instances.Stop(ctx, &computepb.StopInstanceRequest{Project: testProject, Zone: zone, Instance: name, RequestId: id})
			})
		}, "node a: start machine orders-a"},
		{"suspended", func() {
			g("suspend", func(g *client, ctx context.Context, id *string) (*compute.Operation, error) {
				zone, name := at("a")
				return g.instances.Suspend(ctx, &computepb.SuspendInstanceRequest{Project: testProject, Zone: zone, Instance: name, RequestId: id})
			})
		}, "node a: resume machine orders-a"},
		{"deleted", func() {
			g("delete", func(g *client, ctx context.Context, id *string) (*compute.Operation, error) {
				zone, name := at("b")
				return g.instances.Delete(ctx, &computepb.DeleteInstanceRequest{Project: testProject, Zone: zone, Instance: name, RequestId: id})
			})
		}, "node b: create machine orders-b"},
		{"detached", func() {
			g("detach", func(g *client, ctx context.Context, id *string) (*compute.Operation, error) {
				zone, name := at("c")
				return g.instances.DetachDisk(ctx, &computepb.DetachDiskInstanceRequest{Project: testProject, Zone: zone, Instance: name, RequestId: id, DeviceName: "data-1"})
			})
		}, "node c: attach disk orders-c (orders-c-data-1)"},
		{"no longer kept", func() {
			g("auto", func(g *client, ctx context.Context, id *string) (*compute.Operation, error) {
				zone, name := at("c")
				return g.instances.SetDiskAutoDelete(ctx, &computepb.SetDiskAutoDeleteInstanceRequest{Project: testProject, Zone: zone, Instance: name, RequestId: id, DeviceName: "side", AutoDelete: true})
			})
		}, "node c: keep disk orders-c (orders-c-side)"},
		{"a rule deleted", func() {
			g("rule", func(g *client, ctx context.Context, id *string) (*compute.Operation, error) {
				return g.firewalls.Delete(ctx, &computepb.DeleteFirewallRequest{Project: testProject, Firewall: "holdfast-orders-nodes", RequestId: id})
			})
		}, "create firewall rule holdfast-orders-nodes"},
	} {
		tc.do()
		pending, err := c.open().Pending(t.Context(), testCluster())
		if lines := strings.Join(pending.Lines(), "\n"); err != nil || lines != tc.want {
			t.Errorf("%s: pending %q, %v", tc.what, lines, err)
		}
		p := c.open()
		now := c.ensure(p, testCluster())
		c.settled(p, testCluster())
		if now["b"].Address != made["b"].Address {
			t.Errorf("%s: node b moved from %s to %s", tc.what, made["b"].Address, now["b"].Address)
		}
	}
	if diff := cmp.Diff(whole, c.project().summary()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(ids, c.ids()); diff != "" {
		t.Errorf("disks were replaced: %s", diff)
	}
}

// neighbour makes a machine that is nobody's, and returns what deletes it.
func (c *cloud) neighbour(zone string) func() {
	c.t.Helper()
	row := &computepb.Instance{Name: new("neighbour"), MachineType: new("zones/" + zone + "/machineTypes/e2-small"),
		Disks:             []*computepb.AttachedDisk{{Boot: new(true), AutoDelete: new(true), InitializeParams: &computepb.AttachedDiskInitializeParams{SourceImage: new(debian)}}},
		NetworkInterfaces: []*computepb.NetworkInterface{{Network: new("global/networks/default")}}}
	c.behind("insert", func(g *client, ctx context.Context, id *string) (*compute.Operation, error) {
		return g.instances.Insert(ctx, &computepb.InsertInstanceRequest{Project: testProject, Zone: zone, RequestId: id, InstanceResource: row})
	})
	return func() {
		c.behind("delete", func(g *client, ctx context.Context, id *string) (*compute.Operation, error) {
			return g.instances.Delete(ctx, &computepb.DeleteInstanceRequest{Project: testProject, Zone: zone, Instance: "neighbour", RequestId: id})
		})
	}
}

// ids are the IDs of all data and side disks, by name.
func (c *cloud) ids() map[string]uint64 {
	c.t.Helper()
	out := map[string]uint64{}
	g := c.google()
	pairs, err := all(c.t.Context(), g, "disks.aggregatedList", "", func(ctx context.Context) func() (compute.DisksScopedListPair, error) {
		return g.disks.AggregatedList(ctx, &computepb.AggregatedListDisksRequest{Project: testProject}).Next
	})
	if err != nil {
		c.t.Fatal(err)
	}
	for _, p := range pairs {
		for _, d := range p.Value.GetDisks() {
			if d.GetLabels()[labelDisk] != bootRole {
				out[d.GetName()] = d.GetId()
			}
		}
	}
	return out
}
