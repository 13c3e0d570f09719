// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cluster

import (
	"context"
	"regexp"

	"github.com/holdfastdb/terraform-provider-holdfast/internal/env"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform/gce"
)

// projectClusterRE is the id that a cluster on Compute Engine is imported by, too: PROJECT/CLUSTER.
var projectClusterRE = regexp.MustCompile(`^[a-z0-9.:-]+/[a-z0-9-]+$`)

// onCloud adds what the project says of a cluster's machines and disks.
func (f *found) onCloud(ctx context.Context, at *gce.Platform, where env.Location) error {
	made, err := at.Find(ctx)
	if err != nil || made == nil {
		return err // it was there a moment ago: a plan says what became of it
	}
	f.cloud, f.gce = &made.Machines, cloudOf(where.Project, made.Machines)
	for i, s := range made.Cluster.Stores {
		if i < len(f.stores) {
			f.stores[i].sizeGB = s.SizeBytes / gib
		}
	}
	f.sideGB = made.Cluster.SideDisk.SizeBytes / gib
	common := deref(f.gce.MachineType)
	for name, n := range f.nodes {
		n.Stores, n.SideDisk = nil, nil // by the names that the platform attached them with
		m := made.Machines.Nodes[name]
		n.Zone, n.MachineType, n.Image = own(m.Zone, ""), own(m.MachineType, common), own(m.Image, f.gce.Image)
		if f.gce.Network == nil {
			n.Subnetwork = own(m.Subnetwork, "")
		}
		f.nodes[name] = n
	}
	return nil
}

// disk is the data disk of a store as the configuration has it.
func (f *found) disk(i int) diskObject {
	if f.cloud == nil || i >= len(f.cloud.Stores) {
		return diskObject{SizeGB: f.stores[i].sizeGB}
	}
	return diskOf(f.stores[i].sizeGB, f.cloud.Stores[i])
}

// side is the side disk as the configuration has it.
func (f *found) side() diskObject {
	if f.cloud == nil {
		return diskObject{SizeGB: f.sideGB}
	}
	return diskOf(f.sideGB, f.cloud.SideDisk)
}
