// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cluster

import (
	"cmp"
	"strings"

	"github.com/holdfastdb/terraform-provider-holdfast/internal/env"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform/gce"
)

// gceObject is gce as a Go value.
type gceObject struct {
	Project          string            `tfsdk:"project"`
	Network          *string           `tfsdk:"network"`
	MachineType      *string           `tfsdk:"machine_type"`
	Image            string            `tfsdk:"image"`
	BootDiskType     *string           `tfsdk:"boot_disk_type"`
	BootDiskGB       *int64            `tfsdk:"boot_disk_gb"`
	ServiceAccount   *string           `tfsdk:"service_account"`
	Scopes           []string          `tfsdk:"scopes"`
	Labels           map[string]string `tfsdk:"labels"`
	Tags             []string          `tfsdk:"tags"`
	External         bool              `tfsdk:"external_addresses"`
	User             string            `tfsdk:"user"`
	PublicKey        *string           `tfsdk:"public_key"`
	SSHRanges        []string          `tfsdk:"ssh_ranges"`
	ByServiceAccount bool              `tfsdk:"firewall_by_service_account"`
}

// machines is what the machines of a cluster are made of.
func (o gceObject) machines(nodes map[string]nodeObject, stores []storeObject, side diskObject) *gce.Machines {
	m := &gce.Machines{
		Nodes: map[string]gce.Node{}, Network: deref(o.Network), MachineType: deref(o.MachineType), Image: o.Image,
		BootDisk: deref(o.BootDiskType), BootSizeGB: deref(o.BootDiskGB),
		ServiceAccount: deref(o.ServiceAccount), Scopes: o.Scopes, Labels: o.Labels, Tags: o.Tags, External: o.External,
		SSHRanges: o.SSHRanges, ByServiceAccount: o.ByServiceAccount, User: o.User, PublicKey: deref(o.PublicKey),
		SideDisk: side.kind(),
	}
	for _, s := range stores {
		m.Stores = append(m.Stores, s.Disk.kind())
	}
	for name, n := range nodes {
		m.Nodes[name] = gce.Node{Zone: deref(n.Zone), Subnetwork: deref(n.Subnetwork), MachineType: deref(n.MachineType), Image: deref(n.Image),
			Address: env.Normal(deref(n.ClusterAddress))}
	}
	return m
}

// kind is the kind of a disk that is made.
func (o diskObject) kind() gce.DiskKind {
	return gce.DiskKind{Type: cmp.Or(deref(o.Type), defaultDiskType), IOPS: deref(o.IOPS), ThroughputMiBs: deref(o.Throughput)}
}

// cloudOf is the opposite of machines, for an import: what nodes have in common is the object's, and what is a default
// is left out.
func cloudOf(project string, m gce.Machines) gceObject {
	o := gceObject{
		Project: project, Network: own(strings.TrimPrefix(m.Network, "projects/"+project+"/global/networks/"), ""), Image: cmp.Or(m.Image, defaultImage), BootDiskType: own(m.BootDisk, ""),
		ServiceAccount: own(m.ServiceAccount, ""), Labels: m.Labels, Tags: m.Tags, External: m.External,
		User: cmp.Or(m.User, defaultUser), SSHRanges: m.SSHRanges, ByServiceAccount: m.ByServiceAccount,
	}
	if len(o.Labels) == 0 {
		o.Labels = nil // nobody said that there are none
	}
	if len(o.Tags) == 0 {
		o.Tags = nil
	}
	types := map[string]string{}
	for name, n := range m.Nodes {
		types[name] = n.MachineType
	}
	o.MachineType = own(mostCommon(types), "")
	return o
}

// diskOf is a disk of a kind as the configuration has it.
func diskOf(sizeGB int64, k gce.DiskKind) diskObject {
	return diskObject{SizeGB: sizeGB, Type: own(k.Type, defaultDiskType), IOPS: own(k.IOPS, 0), Throughput: own(k.ThroughputMiBs, 0)}
}
