// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package gce

import (
	"context"
	"strings"

	"cloud.google.com/go/compute/apiv1/computepb"
)

// What a preflight asks. Each is one call.

func (c *client) getProject(ctx context.Context) (*computepb.Project, error) {
	return one(ctx, c, "projects.get", c.project, func(ctx context.Context) (*computepb.Project, error) {
		return c.projects.Get(ctx, &computepb.GetProjectRequest{Project: c.project}, onceOnly)
	})
}

func (c *client) getZone(ctx context.Context, name string) (*computepb.Zone, error) {
	return one(ctx, c, "zones.get", name, func(ctx context.Context) (*computepb.Zone, error) {
		return c.zones.Get(ctx, &computepb.GetZoneRequest{Project: c.project, Zone: name}, onceOnly)
	})
}

func (c *client) getRegion(ctx context.Context, name string) (*computepb.Region, error) {
	return one(ctx, c, "regions.get", name, func(ctx context.Context) (*computepb.Region, error) {
		return c.regions.Get(ctx, &computepb.GetRegionRequest{Project: c.project, Region: name}, onceOnly)
	})
}

func (c *client) getNetwork(ctx context.Context, name string) (*computepb.Network, error) {
	return one(ctx, c, "networks.get", name, func(ctx context.Context) (*computepb.Network, error) {
		return c.networks.Get(ctx, &computepb.GetNetworkRequest{Project: c.project, Network: name}, onceOnly)
	})
}

// getSubnetwork takes a path: projects/p/regions/r/subnetworks/s.
func (c *client) getSubnetwork(ctx context.Context, path string) (*computepb.Subnetwork, error) {
	parts := strings.Split(path, "/")
	if len(parts) != 6 {
		return nil, &Error{Class: ErrInvalid, Call: "subnetworks.get", Name: path, Text: "not a path of a subnetwork"}
	}
	return one(ctx, c, "subnetworks.get", path, func(ctx context.Context) (*computepb.Subnetwork, error) {
		return c.subnetworks.Get(ctx, &computepb.GetSubnetworkRequest{Project: parts[1], Region: parts[3], Subnetwork: parts[5]}, onceOnly)
	})
}

// getImage takes a path, of an image or a family.
func (c *client) getImage(ctx context.Context, link string) (*computepb.Image, error) {
	project, rest, _ := strings.Cut(strings.TrimPrefix(path(link, c.project), "projects/"), "/global/images/")
	if family, ok := strings.CutPrefix(rest, "family/"); ok {
		return one(ctx, c, "images.getFromFamily", link, func(ctx context.Context) (*computepb.Image, error) {
			return c.images.GetFromFamily(ctx, &computepb.GetFromFamilyImageRequest{Project: project, Family: family}, onceOnly)
		})
	}
	return one(ctx, c, "images.get", link, func(ctx context.Context) (*computepb.Image, error) {
		return c.images.Get(ctx, &computepb.GetImageRequest{Project: project, Image: rest}, onceOnly)
	})
}

func (c *client) getMachineType(ctx context.Context, zone, name string) (*computepb.MachineType, error) {
	return one(ctx, c, "machineTypes.get", name, func(ctx context.Context) (*computepb.MachineType, error) {
		return c.machineTypes.Get(ctx, &computepb.GetMachineTypeRequest{Project: c.project, Zone: zone, MachineType: name}, onceOnly)
	})
}

func (c *client) getDiskType(ctx context.Context, zone, name string) (*computepb.DiskType, error) {
	return one(ctx, c, "diskTypes.get", name, func(ctx context.Context) (*computepb.DiskType, error) {
		return c.diskTypes.Get(ctx, &computepb.GetDiskTypeRequest{Project: c.project, Zone: zone, DiskType: name}, onceOnly)
	})
}

// one is a call that reads one resource.
func one[T any](ctx context.Context, c *client, call, name string, get func(context.Context) (T, error)) (row T, err error) {
	err = c.do(ctx, call, name, func(ctx context.Context) (err error) {
		row, err = get(ctx)
		return err
	})
	return row, err
}
