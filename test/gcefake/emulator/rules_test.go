// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package emulator

import (
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/compute/apiv1/computepb"
)

// rulesCloud has what the tables below refer to: a network in custom mode, a
// free disk, a disk and a machine that has it.
func rulesCloud(t *testing.T) *cloud {
	t.Helper()
	c := newCloud(t, Config{
		ServiceAccounts: []string{"orders@holdfast-test.iam.gserviceaccount.com"},
		Images:          []PublicImage{{"old-cloud", "bios-only", "bios", 10, "X86_64", false}},
	})
	ctx := t.Context()
	c.must(c.networks.Insert(ctx, &computepb.InsertNetworkRequest{Project: project, NetworkResource: &computepb.Network{Name: new("custom"), AutoCreateSubnetworks: new(false)}}))
	for region, cidr := range map[string]string{"us-east4": "10.0.0.0/28", "us-west2": "10.0.1.0/28"} {
		c.must(c.subnets.Insert(ctx, &computepb.InsertSubnetworkRequest{Project: project, Region: region, SubnetworkResource: &computepb.Subnetwork{
			Name: new("sub"), Network: new("global/networks/custom"), IpCidrRange: &cidr,
		}}))
	}
	for _, name := range []string{"free", "taken"} {
		if _, err := c.insertDisk(blankDisk(name)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.insert(smallMachine("first", "taken")); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestInstanceRules changes one thing of an instance that is fine.
func TestInstanceRules(t *testing.T) {
	c := rulesCloud(t)
	params := func(i *computepb.Instance) *computepb.AttachedDiskInitializeParams {
		return i.Disks[0].InitializeParams
	}
	ssd := func() *computepb.AttachedDisk {
		return &computepb.AttachedDisk{Type: new("SCRATCH"), InitializeParams: &computepb.AttachedDiskInitializeParams{DiskType: new("zones/" + zone + "/diskTypes/local-ssd")}}
	}
	machine := func(kind string) *string { return new("zones/" + zone + "/machineTypes/" + kind) }
	for _, tc := range []struct {
		name   string
		change func(*computepb.Instance)
		status int
		reason string
		says   string
	}{
		{"no disk", func(i *computepb.Instance) { i.Disks = nil }, 400, "invalid", "Boot disk must be the first"},
		{"no boot disk", func(i *computepb.Instance) { i.Disks[0].Boot = nil }, 400, "invalid", "Boot disk must be the first"},
		{"two boot disks", func(i *computepb.Instance) { i.Disks[1].Boot = new(true) }, 400, "invalid", "Only one boot disk"},
		{"boot disk last", func(i *computepb.Instance) { i.Disks[0], i.Disks[1] = i.Disks[1], i.Disks[0] }, 400, "invalid", "Boot disk must be the first"},
		{"boot disk without an image", func(i *computepb.Instance) { params(i).SourceImage = nil }, 400, "invalid", "must have an image"},
		{"smaller than the image", func(i *computepb.Instance) {
			params(i).DiskType, params(i).DiskSizeGb, i.MachineType = new("zones/"+zone+"/diskTypes/hyperdisk-balanced"), new(int64(9)), machine("c4-standard-2")
		}, 400, "invalid", "cannot be smaller than the image size (10 GB)"},
		{"image that is not there", func(i *computepb.Instance) {
			params(i).SourceImage = new("projects/debian-cloud/global/images/family/debian-1")
		}, 404, "notFound", "family/debian-1"},
		{"image by its bare name", func(i *computepb.Instance) { params(i).SourceImage = new("debian-12") }, 400, "invalid", "The URL is malformed"},
		{"image of the other architecture", func(i *computepb.Instance) {
			params(i).SourceImage = new("projects/debian-cloud/global/images/family/debian-13-arm64")
		}, 400, "invalid", "architecture is ARM64"},
		{"secure boot without UEFI", func(i *computepb.Instance) {
			params(i).SourceImage = new("projects/old-cloud/global/images/bios-only")
			i.ShieldedInstanceConfig = &computepb.ShieldedInstanceConfig{EnableSecureBoot: new(true)}
		}, 400, "invalid", "UEFI_COMPATIBLE"},
		{"no network interface", func(i *computepb.Instance) { i.NetworkInterfaces = nil }, 400, "invalid", "At least one network interface"},
		{"two interfaces in a network", func(i *computepb.Instance) {
			i.NetworkInterfaces = append(i.NetworkInterfaces, &computepb.NetworkInterface{})
		}, 400, "invalid", "Networks must be distinct"},
		{"network that is not there", func(i *computepb.Instance) { i.NetworkInterfaces[0].Network = new("global/networks/none") }, 404, "notFound", "networks/none"},
		{"network of another project", func(i *computepb.Instance) { i.NetworkInterfaces[0].Network = new("projects/theirs/global/networks/n") }, 403, "forbidden", "projects/theirs/global/networks/n"},
		{"custom network without a subnetwork", func(i *computepb.Instance) { i.NetworkInterfaces[0].Network = new("global/networks/custom") }, 400, "invalid", "Subnetwork should be specified"},
		{"subnetwork of another region", func(i *computepb.Instance) {
			i.NetworkInterfaces[0] = &computepb.NetworkInterface{Subnetwork: new("regions/us-west2/subnetworks/sub")}
		}, 400, "invalid", "must be in region 'us-east4'"},
		{"subnetwork of another network", func(i *computepb.Instance) {
			i.NetworkInterfaces[0].Subnetwork = new("regions/us-east4/subnetworks/sub")
		}, 400, "invalid", "is not of this network"},
		{"address outside of the subnetwork", func(i *computepb.Instance) {
			i.NetworkInterfaces[0] = &computepb.NetworkInterface{Subnetwork: new("regions/us-east4/subnetworks/sub"), NetworkIP: new("10.0.0.15")}
		}, 400, "invalid", "outside the subnetwork's usable range"},
		{"address that is taken", func(i *computepb.Instance) { i.NetworkInterfaces[0].NetworkIP = new("10.128.0.2") }, 400, "invalid", "already being used by another resource"},
		{"disk that is taken", func(i *computepb.Instance) { i.Disks[1].Source = new("zones/" + zone + "/disks/taken") }, 400, "resourceInUseByAnotherResource", "instances/first"},
		{"disk twice", func(i *computepb.Instance) {
			i.Disks = append(i.Disks, &computepb.AttachedDisk{Source: i.Disks[1].Source, DeviceName: new("again")})
		}, 400, "invalid", "attached twice"},
		{"disk that is not there", func(i *computepb.Instance) { i.Disks[1].Source = new("zones/" + zone + "/disks/none") }, 404, "notFound", "disks/none"},
		{"disk of another zone", func(i *computepb.Instance) { i.Disks[1].Source = new("zones/us-east4-b/disks/free") }, 400, "invalid", "must be in the instance's zone"},
		{"disk made and given", func(i *computepb.Instance) { i.Disks[1].InitializeParams = &computepb.AttachedDiskInitializeParams{} }, 400, "invalid", "one of source and initializeParams"},
		{"device name twice", func(i *computepb.Instance) { i.Disks[1].DeviceName = new("boot") }, 400, "invalid", "Duplicate device name"},
		{"device name that is none", func(i *computepb.Instance) { i.Disks[1].DeviceName = new("Data_1") }, 400, "invalid", "deviceName"},
		{"disk type that the machine does not take", func(i *computepb.Instance) { i.MachineType = machine("c4-standard-4") }, 400, "invalid", "features are not compatible"},
		{"machine type of another zone", func(i *computepb.Instance) { i.MachineType = new("zones/us-east4-b/machineTypes/e2-medium") }, 400, "invalid", "does not exist in zone 'us-east4-a'"},
		{"machine type that is none", func(i *computepb.Instance) { i.MachineType = machine("e2-huge") }, 400, "invalid", "'e2-huge' does not exist"},
		{"machine type by its bare name", func(i *computepb.Instance) { i.MachineType = new("e2-medium") }, 400, "invalid", "The URL is malformed"},
		{"name that is taken", func(i *computepb.Instance) { i.Name = new("first") }, 409, "alreadyExists", "instances/first' already exists"},
		{"label in upper case", func(i *computepb.Instance) { i.Labels = map[string]string{"Cluster": "orders"} }, 400, "invalid", "resource.labels"},
		{"label value with a slash", func(i *computepb.Instance) { i.Labels = map[string]string{"cluster": "a/b"} }, 400, "invalid", "resource.labels"},
		{"metadata key twice", func(i *computepb.Instance) {
			i.Metadata = &computepb.Metadata{Items: []*computepb.Items{{Key: new("k"), Value: new("1")}, {Key: new("k"), Value: new("2")}}}
		}, 400, "invalid", "duplicate key"},
		{"metadata too large", func(i *computepb.Instance) {
			i.Metadata = &computepb.Metadata{Items: []*computepb.Items{{Key: new("k"), Value: new(strings.Repeat("x", 256<<10+1))}}}
		}, 400, "invalid", "262144"},
		{"unknown service account", func(i *computepb.Instance) {
			i.ServiceAccounts = []*computepb.ServiceAccount{{Email: new("nobody@holdfast-test.iam.gserviceaccount.com"), Scopes: []string{"https://www.googleapis.com/auth/cloud-platform"}}}
		}, 400, "invalid", "'nobody@holdfast-test.iam.gserviceaccount.com' of type 'serviceAccount' was not found"},
		{"service account without scopes", func(i *computepb.Instance) {
			i.ServiceAccounts = []*computepb.ServiceAccount{{Email: new("orders@holdfast-test.iam.gserviceaccount.com")}}
		}, 400, "invalid", "At least one scope"},
		{"spot machine that restarts", func(i *computepb.Instance) {
			i.Scheduling = &computepb.Scheduling{ProvisioningModel: new("SPOT"), AutomaticRestart: new(true)}
		}, 400, "invalid", "automaticRestart"},
		{"local SSD on a machine without", func(i *computepb.Instance) { i.Disks = append(i.Disks, ssd()) }, 400, "invalid", "Number of local SSDs"},
		{"three local SSDs", func(i *computepb.Instance) {
			i.MachineType, i.Disks = machine("n2-standard-2"), append(i.Disks, ssd(), ssd(), ssd())
		}, 400, "invalid", "while [3] is requested"},
		{"local SSD that stays", func(i *computepb.Instance) {
			i.MachineType, i.Disks = machine("n2-standard-2"), append(i.Disks, ssd())
			i.Disks[2].AutoDelete = new(false)
		}, 400, "invalid", "deleted with its instance"},
		{"local SSD of another size", func(i *computepb.Instance) {
			i.MachineType, i.Disks = machine("n2-standard-2"), append(i.Disks, ssd())
			i.Disks[2].InitializeParams.DiskSizeGb = new(int64(100))
		}, 400, "invalid", "has 375 GB"},
		{"accelerators", func(i *computepb.Instance) {
			i.GuestAccelerators = []*computepb.AcceleratorConfig{{AcceleratorCount: new(int32(1))}}
		}, 400, "invalid", "not emulated"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			i := smallMachine("second", "free")
			tc.change(i)
			_, err := c.insert(i)
			refused(t, err, tc.status, tc.reason, tc.says)
		})
	}
	// What was refused left nothing behind: the machine as it was is fine.
	if _, err := c.insert(smallMachine("second", "free")); err != nil {
		t.Errorf("without any change: %v", err)
	}
}

// TestLocalSSD is a machine that comes with local SSDs, and one that asked.
func TestLocalSSD(t *testing.T) {
	c := newCloud(t, Config{})
	i := smallMachine("bundled")
	i.MachineType = new("zones/" + zone + "/machineTypes/c3-standard-8-lssd")
	if _, err := c.insert(i); err != nil {
		t.Fatal(err)
	}
	disks := c.instance("bundled").GetDisks()
	if len(disks) != 3 || disks[2].GetType() != "SCRATCH" || disks[2].GetDeviceName() != "local-ssd-1" || !disks[2].GetAutoDelete() {
		t.Errorf("disks: %v", disks)
	}
	ctx := t.Context()
	stop := &computepb.StopInstanceRequest{Project: project, Zone: zone, Instance: "bundled"}
	_, err := c.done(c.instances.Stop(ctx, stop))
	refused(t, err, 400, "invalid", "discardLocalSsd")
	_, err = c.done(c.instances.DetachDisk(ctx, &computepb.DetachDiskInstanceRequest{Project: project, Zone: zone, Instance: "bundled", DeviceName: "local-ssd-0"}))
	refused(t, err, 400, "invalid", "cannot be detached")
	stop.DiscardLocalSsd = new(true)
	c.must(c.instances.Stop(ctx, stop))
}

// TestDiskRules changes one thing of a disk that is fine.
func TestDiskRules(t *testing.T) {
	c := rulesCloud(t)
	kind := func(d *computepb.Disk, name string, gb int64) {
		d.Type, d.SizeGb = new("zones/"+zone+"/diskTypes/"+name), &gb
	}
	for _, tc := range []struct {
		name   string
		change func(*computepb.Disk)
		status int
		says   string // "" is accepted
	}{
		{"IOPS of pd-ssd", func(d *computepb.Disk) { d.ProvisionedIops = new(int64(3000)) }, 400, "Cannot specify provisioned iops for disk type pd-ssd"},
		{"throughput of pd-balanced", func(d *computepb.Disk) { kind(d, "pd-balanced", 10); d.ProvisionedThroughput = new(int64(200)) }, 400, "Cannot specify provisioned throughput"},
		{"throughput of pd-extreme", func(d *computepb.Disk) { kind(d, "pd-extreme", 500); d.ProvisionedThroughput = new(int64(200)) }, 400, "Cannot specify provisioned throughput"},
		{"IOPS of pd-extreme", func(d *computepb.Disk) { kind(d, "pd-extreme", 500); d.ProvisionedIops = new(int64(2500)) }, 0, ""},
		{"pd-extreme too small", func(d *computepb.Disk) { kind(d, "pd-extreme", 499) }, 400, "between 500 GB"},
		{"IOPS for the size", func(d *computepb.Disk) { kind(d, "hyperdisk-balanced", 10); d.ProvisionedIops = new(int64(5001)) }, 400, "between 3000 and 5000"},
		{"IOPS at the limit", func(d *computepb.Disk) { kind(d, "hyperdisk-balanced", 10); d.ProvisionedIops = new(int64(5000)) }, 0, ""},
		{"throughput for the IOPS", func(d *computepb.Disk) {
			kind(d, "hyperdisk-balanced", 100)
			d.ProvisionedIops, d.ProvisionedThroughput = new(int64(3000)), new(int64(751))
		}, 400, "between 140 and 750"},
		{"seed's side disk", func(d *computepb.Disk) { kind(d, "hyperdisk-balanced", 25) }, 0, ""},
		{"hyperdisk too small", func(d *computepb.Disk) { kind(d, "hyperdisk-balanced", 3) }, 400, "between 4 GB"},
		{"throughput of hyperdisk-extreme", func(d *computepb.Disk) { kind(d, "hyperdisk-extreme", 64); d.ProvisionedThroughput = new(int64(140)) }, 400, "Cannot specify provisioned throughput"},
		{"IOPS without a size", func(d *computepb.Disk) {
			kind(d, "hyperdisk-balanced", 1)
			d.SizeGb, d.ProvisionedIops = nil, new(int64(3000))
		}, 400, "A size must be specified"},
		{"smaller than the image", func(d *computepb.Disk) { kind(d, "hyperdisk-balanced", 9); d.SourceImage = new(debian) }, 400, "image size (10 GB)"},
		{"type that is none", func(d *computepb.Disk) { kind(d, "pd-fast", 10) }, 404, "diskTypes/pd-fast' was not found"},
		{"type of another zone", func(d *computepb.Disk) { d.Type = new("zones/us-east4-b/diskTypes/pd-ssd") }, 404, "zones/us-east4-b/diskTypes/pd-ssd"},
		{"type by its bare name", func(d *computepb.Disk) { d.Type = new("pd-ssd") }, 400, "The URL is malformed"},
		{"name that is taken", func(d *computepb.Disk) { d.Name = new("free") }, 409, "disks/free' already exists"},
		{"of a snapshot", func(d *computepb.Disk) { d.SourceSnapshot = new("global/snapshots/s") }, 400, "not emulated"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := blankDisk("another")
			tc.change(d)
			_, err := c.insertDisk(d)
			if tc.says == "" {
				if err != nil {
					t.Fatal(err)
				}
				c.must(c.disks.Delete(t.Context(), &computepb.DeleteDiskRequest{Project: project, Zone: zone, Disk: "another"}))
				return
			}
			reason := map[int]string{400: "invalid", 404: "notFound", 409: "alreadyExists"}[tc.status]
			refused(t, err, tc.status, reason, tc.says)
		})
	}
}

// TestProvisioned changes the provisioned performance of a disk in use.
func TestProvisioned(t *testing.T) {
	c := newCloud(t, Config{})
	d := blankDisk("fast")
	d.Type, d.SizeGb = new("zones/"+zone+"/diskTypes/hyperdisk-balanced"), new(int64(100))
	if _, err := c.insertDisk(d); err != nil {
		t.Fatal(err)
	}
	if d := c.disk("fast"); d.GetProvisionedIops() != 3600 || d.GetProvisionedThroughput() != 290 {
		t.Errorf("unasked, a disk of 100 GB has %d IOPS, %d MiB/s", d.GetProvisionedIops(), d.GetProvisionedThroughput())
	}
	update := func(mask *string, paths *string, want *computepb.Disk) error {
		want.Name = new("fast")
		_, err := c.done(c.disks.Update(t.Context(), &computepb.UpdateDiskRequest{Project: project, Zone: zone, Disk: "fast", UpdateMask: mask, Paths: paths, DiskResource: want}))
		return err
	}
	if err := update(new("provisionedIops,provisionedThroughput"), nil, &computepb.Disk{ProvisionedIops: new(int64(6000)), ProvisionedThroughput: new(int64(300))}); err != nil {
		t.Fatal(err)
	}
	if err := update(nil, new("provisionedIops"), &computepb.Disk{ProvisionedIops: new(int64(5000)), ProvisionedThroughput: new(int64(1000))}); err != nil {
		t.Fatal(err)
	}
	if d := c.disk("fast"); d.GetProvisionedIops() != 5000 || d.GetProvisionedThroughput() != 300 {
		t.Errorf("only what is named changes: %d IOPS, %d MiB/s", d.GetProvisionedIops(), d.GetProvisionedThroughput())
	}
	refused(t, update(new("provisionedIops"), nil, &computepb.Disk{ProvisionedIops: new(int64(50001))}), 400, "invalid", "between 3000 and 50000")
	refused(t, update(nil, nil, &computepb.Disk{}), 400, "required", "paths")
	refused(t, update(new("type"), nil, &computepb.Disk{}), 400, "invalid", "It cannot be updated")
}

// TestFingerprints changes labels, metadata and tags, each with a fingerprint
// that is current, one that was, and none.
func TestFingerprints(t *testing.T) {
	c := rulesCloud(t)
	ctx := t.Context()
	labels := func(fingerprint *string) error {
		_, err := c.done(c.instances.SetLabels(ctx, &computepb.SetLabelsInstanceRequest{Project: project, Zone: zone, Instance: "first",
			InstancesSetLabelsRequestResource: &computepb.InstancesSetLabelsRequest{Labels: map[string]string{"cluster": "orders"}, LabelFingerprint: fingerprint}}))
		return err
	}
	diskLabels := func(fingerprint *string) error {
		_, err := c.done(c.disks.SetLabels(ctx, &computepb.SetLabelsDiskRequest{Project: project, Zone: zone, Resource: "free",
			ZoneSetLabelsRequestResource: &computepb.ZoneSetLabelsRequest{Labels: map[string]string{"cluster": "orders"}, LabelFingerprint: fingerprint}}))
		return err
	}
	metadata := func(fingerprint *string) error {
		_, err := c.done(c.instances.SetMetadata(ctx, &computepb.SetMetadataInstanceRequest{Project: project, Zone: zone, Instance: "first",
			MetadataResource: &computepb.Metadata{Items: []*computepb.Items{{Key: new("k"), Value: new("v")}}, Fingerprint: fingerprint}}))
		return err
	}
	tags := func(fingerprint *string) error {
		_, err := c.done(c.instances.SetTags(ctx, &computepb.SetTagsInstanceRequest{Project: project, Zone: zone, Instance: "first",
			TagsResource: &computepb.Tags{Items: []string{"orders"}, Fingerprint: fingerprint}}))
		return err
	}
	first, free := c.instance("first"), c.disk("free")
	for name, tc := range map[string]struct {
		set     func(*string) error
		current string
	}{
		"labels":      {labels, first.GetLabelFingerprint()},
		"disk labels": {diskLabels, free.GetLabelFingerprint()},
		"metadata":    {metadata, first.GetMetadata().GetFingerprint()},
		"tags":        {tags, first.GetTags().GetFingerprint()},
	} {
		t.Run(name, func(t *testing.T) {
			refused(t, tc.set(nil), 412, "conditionNotMet", "fingerprint")
			if err := tc.set(&tc.current); err != nil {
				t.Fatal(err)
			}
			refused(t, tc.set(&tc.current), 412, "conditionNotMet", "fingerprint")
		})
	}
	if got := c.instance("first"); got.GetLabels()["cluster"] != "orders" || got.GetMetadata().GetItems()[0].GetValue() != "v" || got.GetTags().GetItems()[0] != "orders" {
		t.Errorf("labels %v, metadata %v, tags %v", got.GetLabels(), got.GetMetadata(), got.GetTags())
	}
}

// TestSharedDisk is a disk that several instances read, and none writes.
func TestSharedDisk(t *testing.T) {
	c := newCloud(t, Config{})
	if _, err := c.insertDisk(blankDisk("shared")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b"} {
		i := smallMachine(name, "shared")
		i.Disks[1].Mode = new("READ_ONLY")
		if _, err := c.insert(i); err != nil {
			t.Fatal(err)
		}
	}
	if users := c.disk("shared").GetUsers(); len(users) != 2 {
		t.Errorf("users: %v", users)
	}
	_, err := c.insert(smallMachine("c", "shared"))
	refused(t, err, 400, "resourceInUseByAnotherResource", "instances/a")
	i := smallMachine("d")
	i.Disks[0].InitializeParams, i.Disks[0].Source, i.Disks[0].Mode = nil, new("zones/"+zone+"/disks/a"), new("READ_ONLY")
	_, err = c.insert(i)
	refused(t, err, 400, "resourceInUseByAnotherResource", "instances/a") // which writes it
}

// TestAdoptedDisk is the trap of diskName: a disk of that name that exists is
// attached, whoever's it is.
func TestAdoptedDisk(t *testing.T) {
	c := newCloud(t, Config{})
	if _, err := c.insertDisk(blankDisk("theirs")); err != nil {
		t.Fatal(err)
	}
	id := c.disk("theirs").GetId()
	i := smallMachine("a")
	i.Disks = append(i.Disks, &computepb.AttachedDisk{InitializeParams: &computepb.AttachedDiskInitializeParams{
		DiskName: new("theirs"), DiskSizeGb: new(int64(500)), DiskType: new("zones/" + zone + "/diskTypes/pd-ssd")}})
	if _, err := c.insert(i); err != nil {
		t.Fatal(err)
	}
	if d := c.disk("theirs"); d.GetId() != id || d.GetSizeGb() != 20 || len(d.GetUsers()) != 1 {
		t.Errorf("the disk is %v", d)
	}
}

// TestSetters changes what else can be changed of an instance.
func TestSetters(t *testing.T) {
	c := rulesCloud(t)
	ctx := t.Context()
	schedule := func(sch *computepb.Scheduling) error {
		_, err := c.done(c.instances.SetScheduling(ctx, &computepb.SetSchedulingInstanceRequest{Project: project, Zone: zone, Instance: "first", SchedulingResource: sch}))
		return err
	}
	if err := schedule(&computepb.Scheduling{OnHostMaintenance: new("TERMINATE")}); err != nil {
		t.Fatal(err)
	}
	refused(t, schedule(&computepb.Scheduling{ProvisioningModel: new("SPOT")}), 400, "invalid", "cannot be changed")
	keep := func(device string) error {
		_, err := c.done(c.instances.SetDiskAutoDelete(ctx, &computepb.SetDiskAutoDeleteInstanceRequest{Project: project, Zone: zone, Instance: "first", DeviceName: device, AutoDelete: false}))
		return err
	}
	if err := keep("boot"); err != nil {
		t.Fatal(err)
	}
	refused(t, keep("none"), 400, "invalid", "No attached disk found with device name 'none'")
	account := func() error {
		_, err := c.done(c.instances.SetServiceAccount(ctx, &computepb.SetServiceAccountInstanceRequest{Project: project, Zone: zone, Instance: "first",
			InstancesSetServiceAccountRequestResource: &computepb.InstancesSetServiceAccountRequest{Email: new("default"), Scopes: []string{"https://www.googleapis.com/auth/cloud-platform"}}}))
		return err
	}
	refused(t, account(), 400, "invalidResourceUsage", "STOPPED state")
	c.must(c.instances.Stop(ctx, &computepb.StopInstanceRequest{Project: project, Zone: zone, Instance: "first"}))
	if err := account(); err != nil {
		t.Fatal(err)
	}
	got := c.instance("first")
	if sch := got.GetScheduling(); sch.GetOnHostMaintenance() != "TERMINATE" || !sch.GetAutomaticRestart() || got.GetDisks()[0].GetAutoDelete() || len(got.GetServiceAccounts()) != 1 {
		t.Errorf("the instance is %v", got)
	}
	c.must(c.instances.Delete(ctx, &computepb.DeleteInstanceRequest{Project: project, Zone: zone, Instance: "first"}))
	if got := c.disk("first").GetStatus(); got != "READY" {
		t.Errorf("the boot disk that was to be kept is %s", got)
	}
}

// TestFirewallRules changes one thing of a rule that is fine.
func TestFirewallRules(t *testing.T) {
	c := newCloud(t, Config{})
	for _, tc := range []struct {
		name   string
		change func(*computepb.Firewall)
		says   string
	}{
		{"nothing allowed", func(f *computepb.Firewall) { f.Allowed = nil }, "allows or denies"},
		{"both", func(f *computepb.Firewall) { f.Denied = []*computepb.Denied{{IPProtocol: new("udp")}} }, "cannot both"},
		{"range with host bits", func(f *computepb.Firewall) { f.SourceRanges = []string{"10.0.0.1/24"} }, "valid CIDR"},
		{"port that is none", func(f *computepb.Firewall) { f.Allowed[0].Ports = []string{"8300-8200"} }, "range of ports"},
		{"ports of ICMP", func(f *computepb.Firewall) { f.Allowed[0].IPProtocol = new("icmp") }, "Only TCP, UDP and SCTP"},
		{"protocol that is none", func(f *computepb.Firewall) { f.Allowed[0].IPProtocol = new("raft") }, "protocol's name or number"},
		{"tags and accounts", func(f *computepb.Firewall) { f.SourceServiceAccounts = []string{"a@b"} }, "Service accounts and tags"},
		{"sources of egress", func(f *computepb.Firewall) { f.Direction = new("EGRESS") }, "direction INGRESS"},
		{"priority", func(f *computepb.Firewall) { f.Priority = new(int32(65536)) }, "between 0 and 65535"},
		{"tag", func(f *computepb.Firewall) { f.TargetTags = []string{"Orders"} }, "targetTags"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := &computepb.Firewall{Name: new("nodes"), SourceRanges: []string{"10.0.0.0/24"}, TargetTags: []string{"orders"},
				Allowed: []*computepb.Allowed{{IPProtocol: new("tcp"), Ports: []string{"8300"}}}}
			tc.change(f)
			_, err := c.done(c.firewalls.Insert(t.Context(), &computepb.InsertFirewallRequest{Project: project, FirewallResource: f}))
			refused(t, err, 400, "invalid", tc.says)
		})
	}
}

// TestPlaces asks for projects and zones that are not there, and networks
// that cannot be.
func TestPlaces(t *testing.T) {
	c := newCloud(t, Config{})
	ctx := t.Context()
	_, err := c.disks.Get(ctx, &computepb.GetDiskRequest{Project: project, Zone: "us-mars1-a", Disk: "d"})
	refused(t, err, 400, "invalid", "Unknown zone")
	_, err = c.disks.Get(ctx, &computepb.GetDiskRequest{Project: "theirs", Zone: zone, Disk: "d"})
	refused(t, err, 404, "notFound", "projects/theirs")
	_, err = c.regions.Get(ctx, &computepb.GetRegionRequest{Project: project, Region: "us-mars1"})
	refused(t, err, 404, "notFound", "regions/us-mars1")
	_, err = c.done(c.networks.Insert(ctx, &computepb.InsertNetworkRequest{Project: project, NetworkResource: &computepb.Network{Name: new("legacy")}}))
	refused(t, err, 400, "invalid", "Legacy networks")
	_, err = c.done(c.subnets.Insert(ctx, &computepb.InsertSubnetworkRequest{Project: project, Region: "us-east4", SubnetworkResource: &computepb.Subnetwork{
		Name: new("s"), Network: new("global/networks/default"), IpCidrRange: new("10.128.0.0/24")}}))
	refused(t, err, 400, "invalid", "conflicts with existing subnetwork 'default'")
	if _, err := c.insert(smallMachine("a")); err != nil {
		t.Fatal(err)
	}
	_, err = c.done(c.networks.Delete(ctx, &computepb.DeleteNetworkRequest{Project: project, Network: "default"}))
	refused(t, err, 400, "resourceInUseByAnotherResource", "instances/a")
	_, err = c.done(c.subnets.Delete(ctx, &computepb.DeleteSubnetworkRequest{Project: project, Region: "us-east4", Subnetwork: "default"}))
	refused(t, err, 400, "resourceInUseByAnotherResource", "instances/a")
	p, err := c.projects.Get(ctx, &computepb.GetProjectRequest{Project: project})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(p.GetDefaultServiceAccount(), "-compute@developer.gserviceaccount.com") {
		t.Errorf("the project is %v", p)
	}
	m, err := c.types.Get(ctx, &computepb.GetMachineTypeRequest{Project: project, Zone: zone, MachineType: "c3-standard-4"})
	if err != nil {
		t.Fatal(err)
	}
	if m.GetGuestCpus() != 4 || m.GetMemoryMb() != 16384 {
		t.Errorf("c3-standard-4 is %v", m)
	}
}

// TestQuota uses up a region's limits, and gives back what stops and goes.
func TestQuota(t *testing.T) {
	c := newCloud(t, Config{Quota: map[string]float64{"CPUS": 4, "SSD_TOTAL_GB": 60, "FIREWALLS": 0}})
	ctx := t.Context()
	for _, name := range []string{"a", "b"} {
		if _, err := c.insert(smallMachine(name)); err != nil { // two CPUs, 10 GB each
			t.Fatal(err)
		}
	}
	_, err := c.insert(smallMachine("c"))
	refused(t, err, 403, "quotaExceeded", "Quota 'CPUS' exceeded.  Limit: 4.0 in region us-east4.")
	c.must(c.instances.Stop(ctx, &computepb.StopInstanceRequest{Project: project, Zone: zone, Instance: "a"}))
	if _, err := c.insert(smallMachine("c")); err != nil {
		t.Errorf("after one was stopped: %v", err)
	}
	_, err = c.done(c.instances.Start(ctx, &computepb.StartInstanceRequest{Project: project, Zone: zone, Instance: "a"}))
	refused(t, err, 403, "quotaExceeded", "CPUS")
	if _, err = c.insertDisk(blankDisk("d")); err != nil {
		t.Fatal(err)
	}
	_, err = c.done(c.disks.Resize(ctx, &computepb.ResizeDiskRequest{Project: project, Zone: zone, Disk: "d", DisksResizeRequestResource: &computepb.DisksResizeRequest{SizeGb: new(int64(31))}}))
	refused(t, err, 403, "quotaExceeded", "SSD_TOTAL_GB")
	region, err := c.regions.Get(ctx, &computepb.GetRegionRequest{Project: project, Region: "us-east4"})
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]float64{}
	for _, q := range region.GetQuotas() {
		used[q.GetMetric()] = q.GetUsage()
	}
	if used["CPUS"] != 4 || used["INSTANCES"] != 3 || used["SSD_TOTAL_GB"] != 50 {
		t.Errorf("usage of the region: %v", used)
	}
	_, err = c.done(c.firewalls.Insert(ctx, &computepb.InsertFirewallRequest{Project: project, FirewallResource: &computepb.Firewall{
		Name: new("f"), Allowed: []*computepb.Allowed{{IPProtocol: new("tcp")}}}}))
	refused(t, err, 403, "quotaExceeded", "Quota 'FIREWALLS' exceeded.  Limit: 0.0 globally.")
}

// TestQuotaOfGrowth grows two disks at once, where there is room for one.
func TestQuotaOfGrowth(t *testing.T) {
	clock := NewManual(start())
	c := newCloud(t, Config{Clock: clock, Delay: time.Second, Quota: map[string]float64{"SSD_TOTAL_GB": 50}})
	ctx := t.Context()
	for _, name := range []string{"a", "b"} {
		if _, err := c.disks.Insert(ctx, &computepb.InsertDiskRequest{Project: project, Zone: zone, DiskResource: blankDisk(name)}); err != nil {
			t.Fatal(err)
		}
	}
	clock.Advance(time.Second)
	grow := func(name string) error {
		_, err := c.disks.Resize(ctx, &computepb.ResizeDiskRequest{Project: project, Zone: zone, Disk: name, DisksResizeRequestResource: &computepb.DisksResizeRequest{SizeGb: new(int64(30))}})
		return err
	}
	c.Inject(Fault{Method: "compute.disks.resize", Call: 1, Operation: &OperationError{Code: "INTERNAL_ERROR"}})
	if err := grow("a"); err != nil {
		t.Fatal(err)
	}
	refused(t, grow("b"), 403, "quotaExceeded", "SSD_TOTAL_GB")
	clock.Advance(time.Second) // the first one fails, and gives back what it held
	if err := grow("b"); err != nil {
		t.Errorf("once there is room: %v", err)
	}
	clock.Advance(time.Second)
	refused(t, grow("a"), 403, "quotaExceeded", "SSD_TOTAL_GB")
	if a, b := c.disk("a").GetSizeGb(), c.disk("b").GetSizeGb(); a != 20 || b != 30 {
		t.Errorf("the disks have %d and %d GB", a, b)
	}
}
