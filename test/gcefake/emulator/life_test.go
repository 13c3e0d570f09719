// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package emulator

import (
	"testing"

	"cloud.google.com/go/compute/apiv1/computepb"
	"github.com/google/go-cmp/cmp"
)

// TestLife is a machine's life by Google's client: network, disk, machine,
// another machine type, a larger disk, the disk out and in, the end.
func TestLife(t *testing.T) {
	c := newCloud(t, Config{WithoutDefaultNetwork: true})
	ctx := t.Context()
	c.must(c.networks.Insert(ctx, &computepb.InsertNetworkRequest{Project: project, NetworkResource: &computepb.Network{Name: new("orders"), AutoCreateSubnetworks: new(false)}}))
	c.must(c.subnets.Insert(ctx, &computepb.InsertSubnetworkRequest{Project: project, Region: "us-east4", SubnetworkResource: &computepb.Subnetwork{
		Name: new("orders-east"), Network: new("global/networks/orders"), IpCidrRange: new("10.0.0.0/24"),
	}}))
	c.must(c.firewalls.Insert(ctx, &computepb.InsertFirewallRequest{Project: project, FirewallResource: &computepb.Firewall{
		Name: new("orders-nodes"), Network: new("global/networks/orders"), SourceTags: []string{"orders"}, TargetTags: []string{"orders"},
		Allowed: []*computepb.Allowed{{IPProtocol: new("tcp"), Ports: []string{"8300", "8501"}}},
	}}))
	c.must(c.firewalls.Patch(ctx, &computepb.PatchFirewallRequest{Project: project, Firewall: "orders-nodes", FirewallResource: &computepb.Firewall{
		Name: new("orders-nodes"), Allowed: []*computepb.Allowed{{IPProtocol: new("tcp"), Ports: []string{"8300"}}},
	}}))
	f, err := c.firewalls.Get(ctx, &computepb.GetFirewallRequest{Project: project, Firewall: "orders-nodes"})
	if err != nil {
		t.Fatal(err)
	}
	if f.GetAllowed()[0].GetPorts()[0] != "8300" || len(f.GetAllowed()[0].GetPorts()) != 1 || f.GetTargetTags()[0] != "orders" || f.GetPriority() != 1000 {
		t.Errorf("after the patch the rule is %v", f)
	}
	network, err := c.networks.Get(ctx, &computepb.GetNetworkRequest{Project: project, Network: "orders"})
	if err != nil {
		t.Fatal(err)
	}
	if len(network.GetSubnetworks()) != 1 {
		t.Errorf("subnetworks of the network: %v", network.GetSubnetworks())
	}

	if _, err := c.insertDisk(blankDisk("orders-data")); err != nil {
		t.Fatal(err)
	}
	i := smallMachine("orders-a", "orders-data")
	i.NetworkInterfaces = []*computepb.NetworkInterface{{Subnetwork: new("regions/us-east4/subnetworks/orders-east"), AccessConfigs: []*computepb.AccessConfig{{}}}}
	i.Labels = map[string]string{"holdfast-cluster": "orders"}
	i.ServiceAccounts = []*computepb.ServiceAccount{{Email: new("default"), Scopes: []string{"https://www.googleapis.com/auth/devstorage.read_write"}}}
	i.ShieldedInstanceConfig = &computepb.ShieldedInstanceConfig{EnableSecureBoot: new(true)}
	if _, err := c.insert(i); err != nil {
		t.Fatal(err)
	}
	got := c.instance("orders-a")
	nic := got.GetNetworkInterfaces()[0]
	if got.GetStatus() != "RUNNING" || nic.GetNetworkIP() != "10.0.0.2" || nic.GetAccessConfigs()[0].GetNatIP() == "" {
		t.Errorf("the machine is %s at %s, outside %s", got.GetStatus(), nic.GetNetworkIP(), nic.GetAccessConfigs()[0].GetNatIP())
	}
	if s := got.GetShieldedInstanceConfig(); !s.GetEnableSecureBoot() || !s.GetEnableVtpm() || !s.GetEnableIntegrityMonitoring() {
		t.Errorf("shielded: %v", s)
	}
	if users := c.disk("orders-data").GetUsers(); len(users) != 1 || users[0] != got.GetSelfLink() {
		t.Errorf("users of the disk: %v", users)
	}
	if boot := c.disk("orders-a"); boot.GetSizeGb() != 10 || boot.GetArchitecture() != "X86_64" {
		t.Errorf("boot disk: %v", boot)
	}

	change := &computepb.SetMachineTypeInstanceRequest{Project: project, Zone: zone, Instance: "orders-a",
		InstancesSetMachineTypeRequestResource: &computepb.InstancesSetMachineTypeRequest{MachineType: new("zones/" + zone + "/machineTypes/n2-standard-4")}}
	_, err = c.done(c.instances.SetMachineType(ctx, change))
	refused(t, err, 400, "invalidResourceUsage", "STOPPED state")
	c.must(c.instances.Stop(ctx, &computepb.StopInstanceRequest{Project: project, Zone: zone, Instance: "orders-a"}))
	if got := c.instance("orders-a"); got.GetStatus() != "TERMINATED" || got.GetNetworkInterfaces()[0].GetAccessConfigs()[0].NatIP != nil {
		t.Errorf("after stop: %s, %v", got.GetStatus(), got.GetNetworkInterfaces())
	}
	c.must(c.instances.SetMachineType(ctx, change))
	c.must(c.instances.Start(ctx, &computepb.StartInstanceRequest{Project: project, Zone: zone, Instance: "orders-a"}))
	if got := c.instance("orders-a"); lastPart(got.GetMachineType()) != "n2-standard-4" || got.GetStatus() != "RUNNING" {
		t.Errorf("after start: %s, %s", got.GetMachineType(), got.GetStatus())
	}

	resize := func(gb int64) error {
		_, err := c.done(c.disks.Resize(ctx, &computepb.ResizeDiskRequest{Project: project, Zone: zone, Disk: "orders-data", DisksResizeRequestResource: &computepb.DisksResizeRequest{SizeGb: &gb}}))
		return err
	}
	if err := resize(40); err != nil {
		t.Fatal(err)
	}
	refused(t, resize(30), 400, "invalid", "must be larger than existing size '40'")
	if shown := c.instance("orders-a").GetDisks()[1].GetDiskSizeGb(); shown != 40 {
		t.Errorf("the instance shows %d GB", shown)
	}

	remove := &computepb.DeleteDiskRequest{Project: project, Zone: zone, Disk: "orders-data"}
	_, err = c.done(c.disks.Delete(ctx, remove))
	refused(t, err, 400, "resourceInUseByAnotherResource", "already being used by 'projects/holdfast-test/zones/us-east4-a/instances/orders-a'")
	c.must(c.instances.DetachDisk(ctx, &computepb.DetachDiskInstanceRequest{Project: project, Zone: zone, Instance: "orders-a", DeviceName: "data-1"}))
	if users := c.disk("orders-data").GetUsers(); len(users) != 0 {
		t.Errorf("after detaching, users of the disk: %v", users)
	}
	c.must(c.instances.AttachDisk(ctx, &computepb.AttachDiskInstanceRequest{Project: project, Zone: zone, Instance: "orders-a",
		AttachedDiskResource: &computepb.AttachedDisk{Source: new("zones/" + zone + "/disks/orders-data"), DeviceName: new("data-1")}}))
	var devices []string
	for _, a := range c.instance("orders-a").GetDisks() {
		devices = append(devices, a.GetDeviceName())
	}
	if diff := cmp.Diff([]string{"boot", "data-1"}, devices); diff != "" {
		t.Errorf("devices (-want +got):\n%s", diff)
	}

	c.must(c.instances.SetDeletionProtection(ctx, &computepb.SetDeletionProtectionInstanceRequest{Project: project, Zone: zone, Resource: "orders-a", DeletionProtection: new(true)}))
	end := &computepb.DeleteInstanceRequest{Project: project, Zone: zone, Instance: "orders-a"}
	_, err = c.done(c.instances.Delete(ctx, end))
	refused(t, err, 400, "invalidResourceUsage", "protected against deletion")
	c.must(c.instances.SetDeletionProtection(ctx, &computepb.SetDeletionProtectionInstanceRequest{Project: project, Zone: zone, Resource: "orders-a", DeletionProtection: new(false)}))
	c.must(c.instances.Delete(ctx, end))
	_, err = c.disks.Get(ctx, &computepb.GetDiskRequest{Project: project, Zone: zone, Disk: "orders-a"})
	refused(t, err, 404, "notFound", "disks/orders-a' was not found")
	if d := c.disk("orders-data"); len(d.GetUsers()) != 0 || d.GetStatus() != "READY" {
		t.Errorf("the data disk is %s, used by %v", d.GetStatus(), d.GetUsers())
	}
	c.must(c.disks.Delete(ctx, remove))

	_, err = c.done(c.networks.Delete(ctx, &computepb.DeleteNetworkRequest{Project: project, Network: "orders"}))
	refused(t, err, 400, "resourceInUseByAnotherResource", "orders-nodes")
	c.must(c.firewalls.Delete(ctx, &computepb.DeleteFirewallRequest{Project: project, Firewall: "orders-nodes"}))
	c.must(c.subnets.Delete(ctx, &computepb.DeleteSubnetworkRequest{Project: project, Region: "us-east4", Subnetwork: "orders-east"}))
	c.must(c.networks.Delete(ctx, &computepb.DeleteNetworkRequest{Project: project, Network: "orders"}))

	// The log has one line for each call, with the machine's name where it is
	// about the machine.
	counts := c.Count(func(call Call) string {
		if call.Name == "orders-a" {
			return call.Method
		}
		return ""
	})
	if counts["compute.instances.insert"] != 1 || counts["compute.instances.delete"] != 2 || counts["compute.instances.attachDisk"] != 1 {
		t.Errorf("calls about the machine: %v", counts)
	}
}

// TestImages bakes an image of a stopped machine's disk and boots one of it.
func TestImages(t *testing.T) {
	c := newCloud(t, Config{})
	ctx := t.Context()
	if _, err := c.insert(smallMachine("baker")); err != nil {
		t.Fatal(err)
	}
	bake := &computepb.InsertImageRequest{Project: project, ImageResource: &computepb.Image{Name: new("orders-1"), Family: new("orders"), SourceDisk: new("zones/" + zone + "/disks/baker")}}
	_, err := c.done(c.images.Insert(ctx, bake))
	refused(t, err, 400, "resourceInUseByAnotherResource", "instances/baker")
	c.must(c.instances.Stop(ctx, &computepb.StopInstanceRequest{Project: project, Zone: zone, Instance: "baker"}))
	c.must(c.images.Insert(ctx, bake))
	image, err := c.images.GetFromFamily(ctx, &computepb.GetFromFamilyImageRequest{Project: project, Family: "orders"})
	if err != nil {
		t.Fatal(err)
	}
	if image.GetName() != "orders-1" || image.GetStatus() != "READY" || image.GetDiskSizeGb() != 10 {
		t.Errorf("the image is %v", image)
	}
	i := smallMachine("eater")
	i.Disks[0].InitializeParams.SourceImage = new("global/images/family/orders")
	i.ShieldedInstanceConfig = &computepb.ShieldedInstanceConfig{EnableVtpm: new(true)}
	if _, err := c.insert(i); err != nil {
		t.Error(err)
	}
	c.must(c.images.Delete(ctx, &computepb.DeleteImageRequest{Project: project, Image: "orders-1"}))
	if _, err := c.images.GetFromFamily(ctx, &computepb.GetFromFamilyImageRequest{Project: "debian-cloud", Family: "debian-12"}); err != nil {
		t.Error(err)
	}
	_, err = c.images.Get(ctx, &computepb.GetImageRequest{Project: "debian-cloud", Image: "debian-1"})
	refused(t, err, 404, "notFound", "projects/debian-cloud/global/images/debian-1")
}
