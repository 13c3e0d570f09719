// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

//go:build linux

package gce

import (
	"fmt"
	"strings"
	"testing"

	"cloud.google.com/go/compute/apiv1/computepb"
	"github.com/google/go-cmp/cmp"

	"github.com/holdfastdb/terraform-provider-holdfast/test/gcefake/emulator"
)

// kept is a key beside the example's cluster: what it holds has to outlive all that is done to machines.
const kept = `
resource "holdfast_kv" "kept" {
  location   = holdfast_cluster.this.location
  cluster_id = holdfast_cluster.this.id
  key        = "kept"
  value      = "here"
}
`

// TestLife is the whole life of a cluster: made, found unchanged, changed behind Terraform's back in each way that there is and
// mended, updated in place, stopped for another machine type, replaced for another image, grown, imported, destroyed.
// The disks are the same ones all along, and so is what is on them.
func TestLife(t *testing.T) {
	c := newCloud(t, ofContainers)
	c.tf.File(t, "kept.tf", kept)
	c.tf.Apply(t)
	c.tf.NothingDiffers(t)
	if out := c.tf.Must(t, 0, "show"); strings.Count(out, `engine           = "running"`) != 3 || !strings.Contains(out, `location            = "gce:`+c.project+"/"+c.name+`"`) {
		t.Errorf("it shows:\n%s", out)
	}
	disks := c.ids()
	if len(disks) != 6 {
		t.Fatalf("disks: %v", disks)
	}
	l := drive(t, c.nodes())
	t.Run("drift", func(t *testing.T) { c.testDrift(t) })
	t.Run("in place", func(t *testing.T) { c.testInPlace(t) })
	t.Run("machine type", func(t *testing.T) { c.testMachineType(t) })
	t.Run("image", func(t *testing.T) { c.testImage(t) })
	t.Run("refused", func(t *testing.T) { c.testRefused(t) })
	l.NothingLost(t)
	t.Run("import", func(t *testing.T) { c.testImport(t) })
	if diff := cmp.Diff(disks, c.ids()); diff != "" {
		t.Errorf("disks are others: %s", diff)
	}
	c.tf.NothingDiffers(t)

	c.configure("deletion_protection", "true")
	c.tf.Apply(t)
	if code, out := c.tf.Run(t, "destroy", "-auto-approve", "-input=false"); code != 1 || !strings.Contains(out, "deletion_protection = true") {
		t.Errorf("a protected cluster is destroyed: %d\n%s", code, out)
	}
	c.configure("deletion_protection", "false")
	c.tf.Apply(t)
	c.tf.Must(t, 0, "destroy", "-auto-approve", "-input=false")
	if left := c.left(); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// testDrift: what somebody did to the cluster's machines is in the plan, by node, and an apply mends it.
func (c *cloud) testDrift(t *testing.T) {
	ctx := t.Context()
	for _, tc := range []struct {
		do   func()
		want []string // in the plan
	}{
		{func() {
			c.done(c.instances.Stop(ctx, &computepb.StopInstanceRequest{Project: c.project, Zone: c.zones["a"], Instance: c.name + "-a"}))
			c.done(c.firewalls.Delete(ctx, &computepb.DeleteFirewallRequest{Project: c.project, Firewall: "holdfast-" + c.name + "-nodes"}))
		}, []string{"gce: start machine " + c.name + "-a", "gce: create firewall rule holdfast-" + c.name + "-nodes"}},
		{func() {
			c.done(c.instances.Delete(ctx, &computepb.DeleteInstanceRequest{Project: c.project, Zone: c.zones["b"], Instance: c.name + "-b"}))
		}, []string{"gce: create machine " + c.name + "-b"}},
		{func() {
			c.done(c.instances.DetachDisk(ctx, &computepb.DetachDiskInstanceRequest{Project: c.project, Zone: c.zones["c"], Instance: c.name + "-c", DeviceName: "side"}))
		}, []string{"gce: attach disk " + c.name + "-c"}},
	} {
		tc.do()
		out := c.plan()
		for _, want := range tc.want {
			if !strings.Contains(out, want) {
				t.Errorf("the plan does not say %q:\n%s", want, out)
			}
		}
		c.tf.Apply(t)
		c.tf.Settles(t)
	}
}

func (c *cloud) testInPlace(t *testing.T) {
	before := c.instance("a").GetLastStartTimestamp()
	c.configure("labels", `{ team = "orders" }`)
	if out := c.plan(); !strings.Contains(out, "label machine "+c.name+"-a (team)") || strings.Contains(out, "stop machine") {
		t.Errorf("the plan:\n%s", out)
	}
	c.tf.Apply(t)
	c.tf.NothingDiffers(t)
	if i := c.instance("a"); i.GetLabels()["team"] != "orders" || i.GetLastStartTimestamp() != before {
		t.Errorf("labels %v, started %s and before %s", i.GetLabels(), i.GetLastStartTimestamp(), before)
	}
}

// larger gives node b another machine type than the others.
const larger = `
resource "holdfast_cluster" "this" {
  nodes = { for node, zone in var.zones : node => { zone = zone, machine_type = node == "b" ? "n2-standard-8" : null } }
}
`

// testMachineType: a machine is stopped for it, and no other.
func (c *cloud) testMachineType(t *testing.T) {
	before := map[string]string{}
	for node := range c.zones {
		before[node] = c.instance(node).GetLastStartTimestamp()
	}
	c.tf.File(t, "larger_override.tf", larger)
	if out := c.plan(); strings.Count(out, "n2-standard-4 → n2-standard-8") != 1 {
		t.Errorf("the plan:\n%s", out)
	}
	c.tf.Apply(t)
	c.tf.Settles(t)
	for node := range c.zones {
		i, is := c.instance(node), "n2-standard-4"
		if node == "b" {
			is = "n2-standard-8"
		}
		if !strings.HasSuffix(i.GetMachineType(), "/"+is) || i.GetStatus() != "RUNNING" || (i.GetLastStartTimestamp() != before[node]) != (node == "b") {
			t.Errorf("%s: %s, %s, started at %s", i.GetName(), i.GetMachineType(), i.GetStatus(), i.GetLastStartTimestamp())
		}
	}
}

// testImage: machines are replaced for it, one at a time, and each is a node again before the next goes.
func (c *cloud) testImage(t *testing.T) {
	before := map[string]uint64{}
	for node := range c.zones {
		before[node] = c.instance(node).GetId()
	}
	c.configure("image", "projects/debian-cloud/global/images/debian-12-bookworm-v20260210")
	if out := c.plan(); strings.Count(out, "delete machine "+c.name) != 3 {
		t.Errorf("the plan:\n%s", out)
	}
	c.tf.Apply(t)
	c.tf.Settles(t)
	for node, id := range before {
		if c.instance(node).GetId() == id {
			t.Errorf("the machine of node %s is the same", node)
		}
	}
}

// killed applies, and kills terraform and provider the moment that the machine is asked for and nobody knows yet. The next
// apply goes on with what is there.
func (c *cloud) killed(t *testing.T) {
	asked := make(chan struct{}, 1)
	c.server.Inject(emulator.Fault{Method: "compute.instances.insert", Call: 1, Lost: true, Then: func() { asked <- struct{}{} }})
	apply := c.tf.Start(t, "apply", "-auto-approve", "-input=false")
	select {
	case <-asked:
	case <-apply.Ended:
	}
	apply.Kill()
	if code, out := apply.Wait(t); code == 0 {
		t.Fatalf("it ended by itself:\n%s", out)
	}
	c.tf.Apply(t)
	made := map[string]int{}
	for _, call := range c.server.Calls() {
		if strings.HasSuffix(call.Method, ".insert") && call.Operation != "" && !call.Replayed {
			made[call.Name]++
		}
	}
	for name, times := range made {
		if times != 1 {
			t.Errorf("%s was made %d times", name, times)
		}
	}
	if len(made) < 4 {
		t.Errorf("made: %v", made)
	}
}

// TestGrow: a disk grows while it is in use, and the file system on it. It is xfs: of ext4 that is a privilege
// (CAP_SYS_RESOURCE) which not every machine has to give to containers; TestCluster of test/vm has it grow.
func TestGrow(t *testing.T) {
	c := newCloud(t, ofContainers)
	c.zones = map[string]string{"a": c.zones["a"]}
	c.configure("zones", fmt.Sprintf(`{ a = %q }`, c.zones["a"]))
	c.configure("filesystem", "xfs")
	if c.server != nil {
		c.killed(t)
	} else {
		c.tf.Apply(t)
	}
	started := c.instance("a").GetLastStartTimestamp()
	c.configure("data", `{ type = "pd-ssd", size_gb = 120 }`)
	if out := c.plan(); !strings.Contains(out, "100 → 120 GB") {
		t.Errorf("the plan:\n%s", out)
	}
	c.tf.Apply(t)
	c.tf.Settles(t)
	const gib = 1 << 30
	for _, size := range c.sizes(t) {
		if size < 115*gib {
			t.Errorf("a file system of %d bytes on 120 GiB", size)
		}
	}
	if again := c.instance("a").GetLastStartTimestamp(); again != started {
		t.Errorf("the machine was started at %s again", again)
	}
	c.tf.Must(t, 0, "destroy", "-auto-approve", "-input=false")
	if left := c.left(); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// testRefused: what cannot be done is refused by the plan, and nothing is changed.
func (c *cloud) testRefused(t *testing.T) {
	zones := `{ a = "us-east4-b", b = "` + c.zones["b"] + `", c = "` + c.zones["c"] + `" }`
	for _, tc := range []struct {
		name, value, back string
		words             []string
	}{
		{"data", `{ type = "pd-ssd", size_gb = 50 }`, `{ type = "pd-ssd", size_gb = 100 }`, []string{"a disk only grows", "100 GB", "50 GB"}},
		{"data", `{ type = "pd-balanced", size_gb = 100 }`, `{ type = "pd-ssd", size_gb = 100 }`, []string{"the type of a disk cannot be changed", "pd-ssd", "pd-balanced"}},
		{"zones", zones, `{ a = "` + c.zones["a"] + strings.TrimPrefix(zones, `{ a = "us-east4-b`), []string{"stay where they are", c.zones["a"], "us-east4-b"}},
		{"external_addresses", "true", "false", []string{"with an external address or without one"}},
	} {
		c.configure(tc.name, tc.value)
		c.tf.Refused(t, tc.words...)
		c.configure(tc.name, tc.back)
	}
	c.tf.NothingDiffers(t)
}

// testImport: the project and the agents say all that a state has.
func (c *cloud) testImport(t *testing.T) {
	c.tf.Must(t, 0, "state", "rm", "holdfast_cluster.this")
	c.tf.Must(t, 0, "import", "-input=false", "holdfast_cluster.this", c.project+"/"+c.name)
	c.tf.NothingDiffers(t)
}
