// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package emulator

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	compute "cloud.google.com/go/compute/apiv1"
	"cloud.google.com/go/compute/apiv1/computepb"
	"google.golang.org/api/googleapi"
	"google.golang.org/api/option"
)

const (
	project = "holdfast-test"
	zone    = "us-east4-a"
	debian  = "projects/debian-cloud/global/images/family/debian-12"
)

// cloud is a server with Google's own clients in front of it.
type cloud struct {
	*Server
	t          *testing.T
	url        string
	networks   *compute.NetworksClient
	subnets    *compute.SubnetworksClient
	firewalls  *compute.FirewallsClient
	disks      *compute.DisksClient
	instances  *compute.InstancesClient
	images     *compute.ImagesClient
	regions    *compute.RegionsClient
	projects   *compute.ProjectsClient
	types      *compute.MachineTypesClient
	zoneOps    *compute.ZoneOperationsClient
	regionOps  *compute.RegionOperationsClient
	globalOps  *compute.GlobalOperationsClient
	violations bool // the test sends what the document does not allow
}

// newCloud starts a server. At its end, no call may have violated the document.
func newCloud(t *testing.T, c Config) *cloud {
	t.Helper()
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(s)
	out := &cloud{Server: s, t: t, url: web.URL}
	options := []option.ClientOption{option.WithEndpoint(web.URL), option.WithoutAuthentication()}
	out.networks = client(t, compute.NewNetworksRESTClient, options)
	out.subnets = client(t, compute.NewSubnetworksRESTClient, options)
	out.firewalls = client(t, compute.NewFirewallsRESTClient, options)
	out.disks = client(t, compute.NewDisksRESTClient, options)
	out.instances = client(t, compute.NewInstancesRESTClient, options)
	out.images = client(t, compute.NewImagesRESTClient, options)
	out.regions = client(t, compute.NewRegionsRESTClient, options)
	out.projects = client(t, compute.NewProjectsRESTClient, options)
	out.types = client(t, compute.NewMachineTypesRESTClient, options)
	out.zoneOps = client(t, compute.NewZoneOperationsRESTClient, options)
	out.regionOps = client(t, compute.NewRegionOperationsRESTClient, options)
	out.globalOps = client(t, compute.NewGlobalOperationsRESTClient, options)
	t.Cleanup(func() {
		s.Close()
		web.Close()
		for _, call := range s.Violations() {
			if !out.violations {
				t.Errorf("%s %s violates the document: %v", call.Method, call.Path, call.Violations)
			}
		}
	})
	return out
}

func client[C any](t *testing.T, open func(context.Context, ...option.ClientOption) (C, error), options []option.ClientOption) C {
	t.Helper()
	c, err := open(t.Context(), options...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// done waits for an operation and returns what became of it.
func (c *cloud) done(op *compute.Operation, err error) (*computepb.Operation, error) {
	if err != nil {
		return nil, err
	}
	p, ctx := op.Proto(), c.t.Context()
	for p.GetStatus() != computepb.Operation_DONE && err == nil {
		switch {
		case p.Zone != nil:
			p, err = c.zoneOps.Wait(ctx, &computepb.WaitZoneOperationRequest{Project: project, Zone: lastPart(p.GetZone()), Operation: p.GetName()})
		case p.Region != nil:
			p, err = c.regionOps.Wait(ctx, &computepb.WaitRegionOperationRequest{Project: project, Region: lastPart(p.GetRegion()), Operation: p.GetName()})
		default:
			p, err = c.globalOps.Wait(ctx, &computepb.WaitGlobalOperationRequest{Project: project, Operation: p.GetName()})
		}
	}
	if err != nil {
		return nil, err
	}
	if failures := p.GetError().GetErrors(); len(failures) > 0 {
		return p, &OperationError{Code: failures[0].GetCode(), Message: failures[0].GetMessage(), Details: failures[0].GetErrorDetails()}
	}
	return p, nil
}

// must is done for what has to succeed.
func (c *cloud) must(op *compute.Operation, err error) *computepb.Operation {
	c.t.Helper()
	p, err := c.done(op, err)
	if err != nil {
		c.t.Fatal(err)
	}
	return p
}

// blankDisk is a data disk of 20 GB.
func blankDisk(name string) *computepb.Disk {
	return &computepb.Disk{Name: &name, SizeGb: new(int64(20)), Type: new("zones/" + zone + "/diskTypes/pd-ssd")}
}

// smallMachine is an instance with a boot disk of Debian's image, and disks
// that exist, as data-1 and so on.
func smallMachine(name string, disks ...string) *computepb.Instance {
	i := &computepb.Instance{
		Name: &name, MachineType: new("zones/" + zone + "/machineTypes/e2-medium"),
		Disks: []*computepb.AttachedDisk{{
			Boot: new(true), AutoDelete: new(true), DeviceName: new("boot"),
			InitializeParams: &computepb.AttachedDiskInitializeParams{SourceImage: new(debian), DiskType: new("zones/" + zone + "/diskTypes/pd-balanced")},
		}},
		NetworkInterfaces: []*computepb.NetworkInterface{{Network: new("global/networks/default")}},
	}
	for n, disk := range disks {
		i.Disks = append(i.Disks, &computepb.AttachedDisk{Source: new("zones/" + zone + "/disks/" + disk), DeviceName: new(fmt.Sprintf("data-%d", n+1))})
	}
	return i
}

func (c *cloud) insertDisk(d *computepb.Disk) (*computepb.Operation, error) {
	return c.done(c.disks.Insert(c.t.Context(), &computepb.InsertDiskRequest{Project: project, Zone: zone, DiskResource: d}))
}

func (c *cloud) insert(i *computepb.Instance) (*computepb.Operation, error) {
	return c.done(c.instances.Insert(c.t.Context(), &computepb.InsertInstanceRequest{Project: project, Zone: zone, InstanceResource: i}))
}

func (c *cloud) instance(name string) *computepb.Instance {
	c.t.Helper()
	i, err := c.instances.Get(c.t.Context(), &computepb.GetInstanceRequest{Project: project, Zone: zone, Instance: name})
	if err != nil {
		c.t.Fatal(err)
	}
	return i
}

func (c *cloud) disk(name string) *computepb.Disk {
	c.t.Helper()
	d, err := c.disks.Get(c.t.Context(), &computepb.GetDiskRequest{Project: project, Zone: zone, Disk: name})
	if err != nil {
		c.t.Fatal(err)
	}
	return d
}

// refused fails unless err is the API's, of this status and reason, and says
// this.
func refused(t *testing.T, err error, status int, reason, says string) {
	t.Helper()
	g, ok := errors.AsType[*googleapi.Error](err)
	if !ok {
		t.Errorf("error %v, want the API's %d %s", err, status, reason)
		return
	}
	got := ""
	if len(g.Errors) > 0 {
		got = g.Errors[0].Reason
	}
	if g.Code != status || got != reason || !strings.Contains(g.Message, says) {
		t.Errorf("answered %d %s %q\nwant     %d %s %q", g.Code, got, g.Message, status, reason, says)
	}
}

func start() time.Time { return time.Date(2026, 3, 6, 12, 0, 0, 0, time.UTC) }
