// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

//go:build linux

package gce

import (
	"cmp"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/compute/apiv1/computepb"
	gocmp "github.com/google/go-cmp/cmp"
	"google.golang.org/api/iterator"

	"github.com/holdfastdb/terraform-provider-holdfast/test/gcefake/emulator"
)

// sweepAge is how old a test's cluster is that nobody works with any more: a run takes minutes.
const sweepAge = 2 * time.Hour

// TestSweep removes from a project what killed runs of these tests left, and nothing else. In an emulated project it
// leaves something first.
func TestSweep(t *testing.T) {
	c := newCloud(t, records(emulator.Config{}))
	if os.Getenv(projectVariable) != "" {
		t.Log("removed:", c.sweep(time.Now().Add(-sweepAge)))
		return
	}
	ours, foreign := namePrefix+"x", "orders"
	for _, name := range []string{ours, foreign} {
		c.made(name)
	}
	if gone := c.sweep(time.Now().Add(-sweepAge)); len(gone) > 0 {
		t.Errorf("somebody still works with it: %v", gone)
	}
	want := []string{"disk acc-x-a-data-1", "firewall rule holdfast-acc-x-nodes", "image acc-x-base-1", "instance acc-x-a"}
	if diff := gocmp.Diff(want, c.sweep(time.Now().Add(time.Minute))); diff != "" {
		t.Errorf("removed: %s", diff)
	}
	for name, want := range map[string]int{ours: 0, foreign: 3} {
		if c.name = name; len(c.left()) != want {
			t.Errorf("of %s there are %v", name, c.left())
		}
	}
}

// made makes a part of a cluster, protected.
func (c *cloud) made(name string) {
	c.t.Helper()
	ctx, zone, labels := c.t.Context(), c.zones["a"], map[string]string{"holdfast-name": name}
	link := "projects/" + c.project + "/zones/" + zone
	c.done(c.firewalls.Insert(ctx, &computepb.InsertFirewallRequest{Project: c.project, FirewallResource: &computepb.Firewall{Name: new("holdfast-" + name + "-nodes"),
		Network: new("projects/" + c.project + "/global/networks/default"), Allowed: []*computepb.Allowed{{IPProtocol: new("tcp")}}}}))
	c.done(c.disks.Insert(ctx, &computepb.InsertDiskRequest{Project: c.project, Zone: zone,
		DiskResource: &computepb.Disk{Name: new(name + "-a-data-1"), SizeGb: new(int64(10)), Labels: labels}}))
	c.done(c.instances.Insert(ctx, &computepb.InsertInstanceRequest{Project: c.project, Zone: zone, InstanceResource: &computepb.Instance{
		Name: new(name + "-a"), MachineType: new(link + "/machineTypes/n2-standard-4"), Labels: labels, DeletionProtection: new(true),
		Disks: []*computepb.AttachedDisk{
			{Boot: new(true), AutoDelete: new(true), InitializeParams: &computepb.AttachedDiskInitializeParams{SourceImage: new("projects/debian-cloud/global/images/family/debian-12")}},
			{Source: new(link + "/disks/" + name + "-a-data-1")},
		},
		NetworkInterfaces: []*computepb.NetworkInterface{{Network: new("projects/" + c.project + "/global/networks/default")}},
	}}))
	c.done(c.images.Insert(ctx, &computepb.InsertImageRequest{Project: c.project, ImageResource: &computepb.Image{Name: new(name + "-base-1"),
		SourceDisk: new(link + "/disks/" + name + "-a-data-1"), Labels: map[string]string{"holdfast-image": name + "-base"}}, ForceCreate: new(true)}))
}

// sweep removes what carries the name of a test's cluster and was made before a time, and says what.
func (c *cloud) sweep(before time.Time) (gone []string) {
	c.t.Helper()
	ctx := c.t.Context()
	old := func(name, made string) bool {
		at, err := time.Parse(time.RFC3339, made)
		if err != nil {
			c.t.Fatal(err)
		}
		return strings.HasPrefix(name, namePrefix) && at.Before(before)
	}
	next := func(err error) bool {
		if err != nil && !errors.Is(err, iterator.Done) {
			c.t.Fatal(err)
		}
		return err == nil
	}
	zone := func(link string) string { return link[strings.LastIndex(link, "/")+1:] }
	for it := c.instances.AggregatedList(ctx, &computepb.AggregatedListInstancesRequest{Project: c.project}); ; {
		pair, err := it.Next()
		if !next(err) {
			break
		}
		for _, i := range pair.Value.GetInstances() {
			if !old(owner(i.GetLabels()), i.GetCreationTimestamp()) {
				continue
			}
			gone = append(gone, "instance "+i.GetName())
			if i.GetDeletionProtection() {
				c.done(c.instances.SetDeletionProtection(ctx, &computepb.SetDeletionProtectionInstanceRequest{Project: c.project, Zone: zone(i.GetZone()), Resource: i.GetName(), DeletionProtection: new(false)}))
			}
			c.done(c.instances.Delete(ctx, &computepb.DeleteInstanceRequest{Project: c.project, Zone: zone(i.GetZone()), Instance: i.GetName()}))
		}
	}
	for it := c.disks.AggregatedList(ctx, &computepb.AggregatedListDisksRequest{Project: c.project}); ; {
		pair, err := it.Next()
		if !next(err) {
			break
		}
		for _, d := range pair.Value.GetDisks() {
			if old(owner(d.GetLabels()), d.GetCreationTimestamp()) {
				gone = append(gone, "disk "+d.GetName())
				c.done(c.disks.Delete(ctx, &computepb.DeleteDiskRequest{Project: c.project, Zone: zone(d.GetZone()), Disk: d.GetName()}))
			}
		}
	}
	for it := c.firewalls.List(ctx, &computepb.ListFirewallsRequest{Project: c.project}); ; {
		f, err := it.Next()
		if !next(err) {
			break
		}
		if old(strings.TrimPrefix(f.GetName(), "holdfast-"), f.GetCreationTimestamp()) {
			gone = append(gone, "firewall rule "+f.GetName())
			c.done(c.firewalls.Delete(ctx, &computepb.DeleteFirewallRequest{Project: c.project, Firewall: f.GetName()}))
		}
	}
	for it := c.images.List(ctx, &computepb.ListImagesRequest{Project: c.project}); ; {
		i, err := it.Next()
		if !next(err) {
			break
		}
		if old(owner(i.GetLabels()), i.GetCreationTimestamp()) {
			gone = append(gone, "image "+i.GetName())
			c.done(c.images.Delete(ctx, &computepb.DeleteImageRequest{Project: c.project, Image: i.GetName()}))
		}
	}
	slices.Sort(gone)
	return gone
}

// owner is the name of the cluster, or of the image, that something is there for.
func owner(labels map[string]string) string {
	return cmp.Or(labels["holdfast-name"], labels["holdfast-image"])
}
