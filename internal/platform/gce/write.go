// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package gce

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	compute "cloud.google.com/go/compute/apiv1"
	"cloud.google.com/go/compute/apiv1/computepb"
	"github.com/googleapis/gax-go/v2"
)

// act carries one action out, and returns when it is done.
func (c *client) act(ctx context.Context, cfg Config, a action) error {
	switch a.do {
	case waitDisk:
		return c.settle(ctx, func(ctx context.Context) (string, error) {
			d, err := c.getDisk(ctx, a.disk.zone, a.name)
			return d.status, err
		})
	case waitInstance:
		return c.settle(ctx, func(ctx context.Context) (string, error) {
			i, err := c.getInstance(ctx, a.instance.zone, a.name)
			return i.status, err
		})
	case createDisk, growDisk, tuneDisk, labelDisks, deleteDisk:
		return c.changeDisk(ctx, a)
	case createFirewall, changeFirewall, deleteFirewall:
		return c.changeFirewall(ctx, a)
	case createInstance:
		return c.insertInstance(ctx, cfg, a.instance)
	}
	return c.changeInstance(ctx, cfg, a)
}

// settle waits until the status that look returns is none of a change. What is gone has
// settled, too.
func (c *client) settle(ctx context.Context, look func(context.Context) (string, error)) error {
	const patience = 10 * time.Minute
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for pause := c.first; ; pause = min(pause*2, 5*time.Second) {
		status, err := look(ctx)
		switch {
		case errors.Is(err, ErrNotFound):
			return nil
		case err != nil:
			return err
		case slices.Contains([]string{"READY", "FAILED", "RUNNING", "TERMINATED", "SUSPENDED"}, status):
			return nil
		}
		if err := gax.Sleep(ctx, pause); err != nil {
			return fmt.Errorf("it is %s for long: %w", status, err)
		}
	}
}

func (c *client) changeDisk(ctx context.Context, a action) error {
	d := a.disk
	switch a.do {
	case createDisk:
		row := &computepb.Disk{Name: &d.name, SizeGb: &d.sizeGB, Type: new(c.zonal(d.zone, "diskTypes", d.kind.Type)), Labels: d.labels}
		if d.kind.IOPS != 0 {
			row.ProvisionedIops = &d.kind.IOPS
		}
		if d.kind.ThroughputMiBs != 0 {
			row.ProvisionedThroughput = &d.kind.ThroughputMiBs
		}
		err := c.mutate(ctx, "disks.insert", d.name, func(ctx context.Context, id *string) (*compute.Operation, error) {
			return c.disks.Insert(ctx, &computepb.InsertDiskRequest{Project: c.project, Zone: d.zone, RequestId: id, DiskResource: row})
		})
		return c.taken(err, func() (string, error) {
			is, err := c.getDisk(ctx, d.zone, d.name)
			return is.labels[labelCluster] + "/" + is.node() + "/" + is.role(), err
		}, d.labels[labelCluster]+"/"+d.node()+"/"+d.role())
	case growDisk:
		err := c.mutate(ctx, "disks.resize", d.name, func(ctx context.Context, id *string) (*compute.Operation, error) {
			return c.disks.Resize(ctx, &computepb.ResizeDiskRequest{Project: c.project, Zone: d.zone, Disk: d.name, RequestId: id,
				DisksResizeRequestResource: &computepb.DisksResizeRequest{SizeGb: &d.sizeGB}})
		})
		if errors.Is(err, ErrInvalid) { // a run that was cut had begun it, and it was done since we looked
			if is, lookErr := c.getDisk(ctx, d.zone, d.name); lookErr == nil && is.sizeGB >= d.sizeGB {
				return errors.Join(errChanged, err)
			}
		}
		return err
	case tuneDisk:
		row := &computepb.Disk{Name: &d.name}
		var mask []string
		if a.grows {
			row.SizeGb, mask = &d.sizeGB, append(mask, "sizeGb")
		}
		if d.kind.IOPS != 0 {
			row.ProvisionedIops, mask = &d.kind.IOPS, append(mask, "provisionedIops")
		}
		if d.kind.ThroughputMiBs != 0 {
			row.ProvisionedThroughput, mask = &d.kind.ThroughputMiBs, append(mask, "provisionedThroughput")
		}
		return c.mutate(ctx, "disks.update", d.name, func(ctx context.Context, id *string) (*compute.Operation, error) {
			return c.disks.Update(ctx, &computepb.UpdateDiskRequest{Project: c.project, Zone: d.zone, Disk: d.name, RequestId: id,
				UpdateMask: new(strings.Join(mask, ",")), DiskResource: row})
		})
	case labelDisks:
		return c.mutate(ctx, "disks.setLabels", d.name, func(ctx context.Context, id *string) (*compute.Operation, error) {
			return c.disks.SetLabels(ctx, &computepb.SetLabelsDiskRequest{Project: c.project, Zone: d.zone, Resource: d.name, RequestId: id,
				ZoneSetLabelsRequestResource: &computepb.ZoneSetLabelsRequest{LabelFingerprint: &d.fingerprint, Labels: d.labels}})
		})
	}
	return gone(c.mutate(ctx, "disks.delete", d.name, func(ctx context.Context, id *string) (*compute.Operation, error) {
		return c.disks.Delete(ctx, &computepb.DeleteDiskRequest{Project: c.project, Zone: d.zone, Disk: d.name, RequestId: id})
	}))
}

// gone is the error of a deletion: what is gone already is none.
func gone(err error) error {
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// taken looks whose the thing is where a name was taken. The cluster's own, made by a run before or beside
// this one, is no error but a reason to look again.
func (c *client) taken(err error, whose func() (string, error), ours string) error {
	if !errors.Is(err, ErrTaken) {
		return err
	}
	is, lookErr := whose()
	switch {
	case errors.Is(lookErr, ErrNotFound):
		return errors.Join(errChanged, err)
	case lookErr != nil:
		return lookErr
	case is == ours:
		return errors.Join(errChanged, err)
	}
	return err
}

func (c *client) changeFirewall(ctx context.Context, a action) error {
	f := a.firewall
	if a.do == deleteFirewall {
		return gone(c.mutate(ctx, "firewalls.delete", f.name, func(ctx context.Context, id *string) (*compute.Operation, error) {
			return c.firewalls.Delete(ctx, &computepb.DeleteFirewallRequest{Project: c.project, Firewall: f.name, RequestId: id})
		}))
	}
	row := &computepb.Firewall{
		Name: &f.name, Description: &f.description, Direction: new("INGRESS"), Network: &f.network, Disabled: new(false),
		Allowed: []*computepb.Allowed{{IPProtocol: new("tcp"), Ports: f.ports}}, SourceRanges: f.ranges,
	}
	switch {
	case f.account != "":
		row.TargetServiceAccounts = []string{f.account}
	default:
		row.TargetTags = []string{f.tag}
	}
	if f.between {
		row.SourceTags, row.SourceServiceAccounts = row.TargetTags, row.TargetServiceAccounts
	}
	if a.do == changeFirewall {
		return c.mutate(ctx, "firewalls.patch", f.name, func(ctx context.Context, id *string) (*compute.Operation, error) {
			return c.firewalls.Patch(ctx, &computepb.PatchFirewallRequest{Project: c.project, Firewall: f.name, RequestId: id, FirewallResource: row})
		})
	}
	err := c.mutate(ctx, "firewalls.insert", f.name, func(ctx context.Context, id *string) (*compute.Operation, error) {
		return c.firewalls.Insert(ctx, &computepb.InsertFirewallRequest{Project: c.project, RequestId: id, FirewallResource: row})
	})
	return c.taken(err, func() (string, error) {
		is, err := c.getFirewall(ctx, f.name)
		return ownerOf(is.description), err
	}, ownerOf(f.description))
}

// insertInstance makes a machine with its boot disk, and with its other disks, which are there.
func (c *client) insertInstance(ctx context.Context, cfg Config, i instance) error {
	if i.metadata[metaKeys] == "" {
		own, err := cfg.ownKey()
		if err != nil {
			return err
		}
		i.metadata = with(i.metadata, metaKeys, own)
	}
	row := &computepb.Instance{
		Name: &i.name, MachineType: new(c.zonal(i.zone, "machineTypes", i.machineType)), Labels: i.labels, Tags: &computepb.Tags{Items: i.tags},
		Metadata: metadata(i, ""), DeletionProtection: &i.protected, CanIpForward: new(false),
		// A live migration is a pause; a machine that Google's host lost starts again.
		Scheduling:             &computepb.Scheduling{OnHostMaintenance: new("MIGRATE"), AutomaticRestart: new(true)},
		ShieldedInstanceConfig: &computepb.ShieldedInstanceConfig{EnableSecureBoot: new(true), EnableVtpm: new(true), EnableIntegrityMonitoring: new(true)},
	}
	boot := &computepb.AttachedDiskInitializeParams{
		SourceImage: new(path(i.image, c.project)), DiskType: new(c.zonal(i.zone, "diskTypes", cfg.boot(i.machineType))),
		Labels: with(i.labels, labelDisk, bootRole),
	}
	if cfg.BootSizeGB != 0 {
		boot.DiskSizeGb = &cfg.BootSizeGB
	}
	row.Disks = []*computepb.AttachedDisk{{Boot: new(true), AutoDelete: new(true), DeviceName: new(bootRole), InitializeParams: boot}}
	for _, a := range i.disks {
		row.Disks = append(row.Disks, c.attached(i.zone, a))
	}
	nic := &computepb.NetworkInterface{}
	if i.subnetwork != "" {
		nic.Subnetwork = &i.subnetwork
	} else {
		nic.Network = new(cfg.network())
	}
	if i.address != "" {
		nic.NetworkIP = &i.address
	}
	if i.public {
		nic.AccessConfigs = []*computepb.AccessConfig{{Name: new("External NAT"), Type: new("ONE_TO_ONE_NAT")}}
	}
	row.NetworkInterfaces = []*computepb.NetworkInterface{nic}
	if i.account != "" {
		row.ServiceAccounts = []*computepb.ServiceAccount{{Email: &i.account, Scopes: cfg.Scopes}}
	}
	err := c.mutate(ctx, "instances.insert", i.name, func(ctx context.Context, id *string) (*compute.Operation, error) {
		return c.instances.Insert(ctx, &computepb.InsertInstanceRequest{Project: c.project, Zone: i.zone, RequestId: id, InstanceResource: row})
	})
	return c.taken(err, func() (string, error) {
		is, err := c.getInstance(ctx, i.zone, i.name)
		if errors.Is(err, ErrNotFound) { // then it is the name of the boot disk
			d, err := c.getDisk(ctx, i.zone, i.name)
			return d.labels[labelCluster] + "/" + d.node(), err
		}
		return is.labels[labelCluster] + "/" + is.node(), err
	}, i.labels[labelCluster]+"/"+i.node())
}

// attached is how a disk that is there is attached.
func (c *client) attached(zone string, a attachment) *computepb.AttachedDisk {
	return &computepb.AttachedDisk{Source: new(c.zonal(zone, "disks", a.disk)), DeviceName: &a.device, AutoDelete: new(false), Boot: new(false), Mode: new("READ_WRITE")}
}

// metadata is the cluster's part of an instance's, and what others put there.
func metadata(i instance, fingerprint string) *computepb.Metadata {
	all := maps.Clone(i.metadata)
	for k, v := range i.others {
		all[k] = v
	}
	m := &computepb.Metadata{}
	if fingerprint != "" {
		m.Fingerprint = &fingerprint
	}
	for _, k := range slices.Sorted(maps.Keys(all)) {
		m.Items = append(m.Items, &computepb.Items{Key: &k, Value: new(all[k])})
	}
	return m
}

// zonal is the path of something in a zone.
func (c *client) zonal(zone, collection, name string) string {
	return fmt.Sprintf("projects/%s/zones/%s/%s/%s", c.project, zone, collection, name)
}

func (c *client) changeInstance(ctx context.Context, cfg Config, a action) error {
	i, p := a.instance, c.project
	do := func(call string, begin func(ctx context.Context, id *string) (*compute.Operation, error)) error {
		return c.mutate(ctx, "instances."+call, a.name, begin)
	}
	switch a.do {
	case deleteInstance:
		return gone(do("delete", func(ctx context.Context, id *string) (*compute.Operation, error) {
			return c.instances.Delete(ctx, &computepb.DeleteInstanceRequest{Project: p, Zone: i.zone, Instance: a.name, RequestId: id})
		}))
	case startInstance:
		return do("start", func(ctx context.Context, id *string) (*compute.Operation, error) {
			return c.instances.Start(ctx, &computepb.StartInstanceRequest{Project: p, Zone: i.zone, Instance: a.name, RequestId: id})
		})
	case stopInstance:
		return do("stop", func(ctx context.Context, id *string) (*compute.Operation, error) {
			return c.instances.Stop(ctx, &computepb.StopInstanceRequest{Project: p, Zone: i.zone, Instance: a.name, RequestId: id,
				DiscardLocalSsd: new(true)}) // some machine types bring one; nothing of the cluster is on it
		})
	case resumeInstance:
		return do("resume", func(ctx context.Context, id *string) (*compute.Operation, error) {
			return c.instances.Resume(ctx, &computepb.ResumeInstanceRequest{Project: p, Zone: i.zone, Instance: a.name, RequestId: id})
		})
	case setType:
		return do("setMachineType", func(ctx context.Context, id *string) (*compute.Operation, error) {
			return c.instances.SetMachineType(ctx, &computepb.SetMachineTypeInstanceRequest{Project: p, Zone: i.zone, Instance: a.name, RequestId: id,
				InstancesSetMachineTypeRequestResource: &computepb.InstancesSetMachineTypeRequest{MachineType: new(c.zonal(i.zone, "machineTypes", i.machineType))}})
		})
	case setAccount:
		row := &computepb.InstancesSetServiceAccountRequest{}
		if i.account != "" {
			row.Email, row.Scopes = &i.account, cfg.Scopes
		}
		return do("setServiceAccount", func(ctx context.Context, id *string) (*compute.Operation, error) {
			return c.instances.SetServiceAccount(ctx, &computepb.SetServiceAccountInstanceRequest{Project: p, Zone: i.zone, Instance: a.name, RequestId: id,
				InstancesSetServiceAccountRequestResource: row})
		})
	case attachDisk:
		return do("attachDisk", func(ctx context.Context, id *string) (*compute.Operation, error) {
			return c.instances.AttachDisk(ctx, &computepb.AttachDiskInstanceRequest{Project: p, Zone: i.zone, Instance: a.name, RequestId: id,
				AttachedDiskResource: c.attached(i.zone, a.at)})
		})
	case detachDisk:
		return do("detachDisk", func(ctx context.Context, id *string) (*compute.Operation, error) {
			return c.instances.DetachDisk(ctx, &computepb.DetachDiskInstanceRequest{Project: p, Zone: i.zone, Instance: a.name, RequestId: id, DeviceName: a.at.device})
		})
	case keepDisk:
		return do("setDiskAutoDelete", func(ctx context.Context, id *string) (*compute.Operation, error) {
			return c.instances.SetDiskAutoDelete(ctx, &computepb.SetDiskAutoDeleteInstanceRequest{Project: p, Zone: i.zone, Instance: a.name, RequestId: id,
				AutoDelete: false, DeviceName: a.at.device})
		})
	case setLabels:
		return do("setLabels", func(ctx context.Context, id *string) (*compute.Operation, error) {
			return c.instances.SetLabels(ctx, &computepb.SetLabelsInstanceRequest{Project: p, Zone: i.zone, Instance: a.name, RequestId: id,
				InstancesSetLabelsRequestResource: &computepb.InstancesSetLabelsRequest{LabelFingerprint: &i.labelPrint, Labels: i.labels}})
		})
	case setTags:
		return do("setTags", func(ctx context.Context, id *string) (*compute.Operation, error) {
			return c.instances.SetTags(ctx, &computepb.SetTagsInstanceRequest{Project: p, Zone: i.zone, Instance: a.name, RequestId: id,
				TagsResource: &computepb.Tags{Fingerprint: &i.tagPrint, Items: i.tags}})
		})
	case setMetadata:
		return do("setMetadata", func(ctx context.Context, id *string) (*compute.Operation, error) {
			return c.instances.SetMetadata(ctx, &computepb.SetMetadataInstanceRequest{Project: p, Zone: i.zone, Instance: a.name, RequestId: id,
				MetadataResource: metadata(i, i.metadataPrint)})
		})
	}
	return do("setDeletionProtection", func(ctx context.Context, id *string) (*compute.Operation, error) {
		return c.instances.SetDeletionProtection(ctx, &computepb.SetDeletionProtectionInstanceRequest{Project: p, Zone: i.zone, Resource: a.name, RequestId: id,
			DeletionProtection: new(a.do == protect)})
	})
}
