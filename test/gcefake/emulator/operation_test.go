// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package emulator

import (
	"context"
	"errors"
	"testing"
	"time"

	"cloud.google.com/go/compute/apiv1/computepb"
)

// op asks for an operation of the zone.
func (c *cloud) op(name string) *computepb.Operation {
	c.t.Helper()
	p, err := c.zoneOps.Get(c.t.Context(), &computepb.GetZoneOperationRequest{Project: project, Zone: zone, Operation: name})
	if err != nil {
		c.t.Fatal(err)
	}
	return p
}

// TestOperation follows an operation through the statuses, and the resource
// through its own.
func TestOperation(t *testing.T) {
	clock := NewManual(start())
	c := newCloud(t, Config{Clock: clock, Delay: 10 * time.Second})
	ctx := t.Context()
	op, err := c.disks.Insert(ctx, &computepb.InsertDiskRequest{Project: project, Zone: zone, DiskResource: blankDisk("d")})
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		after  time.Duration
		status computepb.Operation_Status
		disk   string
	}{
		{0, computepb.Operation_PENDING, "CREATING"},
		{4 * time.Second, computepb.Operation_PENDING, "CREATING"},
		{time.Second, computepb.Operation_RUNNING, "CREATING"},
		{4 * time.Second, computepb.Operation_RUNNING, "CREATING"},
		{time.Second, computepb.Operation_DONE, "READY"},
	} {
		clock.Advance(tc.after)
		p := c.op(op.Name())
		if p.GetStatus() != tc.status || c.disk("d").GetStatus() != tc.disk {
			t.Errorf("at %s: operation %s, disk %s; want %s, %s", clock.Now(), p.GetStatus(), c.disk("d").GetStatus(), tc.status, tc.disk)
		}
		if tc.status != computepb.Operation_DONE {
			// Nobody else may touch the disk meanwhile, nor take its name.
			_, err := c.disks.Delete(ctx, &computepb.DeleteDiskRequest{Project: project, Zone: zone, Disk: "d"})
			refused(t, err, 400, "resourceNotReady", "disks/d' is not ready")
			_, err = c.disks.Insert(ctx, &computepb.InsertDiskRequest{Project: project, Zone: zone, DiskResource: blankDisk("d")})
			refused(t, err, 409, "alreadyExists", "disks/d' already exists")
		}
	}
	p := c.op(op.Name())
	if p.GetOperationType() != "insert" || p.GetTargetLink() != c.disk("d").GetSelfLink() || p.GetTargetId() != c.disk("d").GetId() || p.GetProgress() != 100 {
		t.Errorf("the operation is %v", p)
	}
	_, err = c.zoneOps.Get(ctx, &computepb.GetZoneOperationRequest{Project: project, Zone: zone, Operation: "operation-none"})
	refused(t, err, 404, "notFound", "operation-none")

	// wait answers when the clock says that it has waited long enough.
	op, err = c.disks.Delete(ctx, &computepb.DeleteDiskRequest{Project: project, Zone: zone, Disk: "d"})
	if err != nil {
		t.Fatal(err)
	}
	type waited struct {
		op  *computepb.Operation
		err error
	}
	answers := make(chan waited) // one, by the goroutine below
	go func() {
		p, err := c.zoneOps.Wait(ctx, &computepb.WaitZoneOperationRequest{Project: project, Zone: zone, Operation: op.Name()})
		answers <- waited{p, err}
	}()
	for {
		select {
		case got := <-answers:
			if got.err != nil || got.op.GetStatus() != computepb.Operation_DONE {
				t.Errorf("wait answered %v, %v", got.op, got.err)
			}
			return
		default:
			clock.Advance(time.Second)
		}
	}
}

// TestNotReady uses a network, a machine and a disk that are still being made.
func TestNotReady(t *testing.T) {
	clock := NewManual(start())
	c := newCloud(t, Config{Clock: clock, Delay: time.Second})
	ctx := t.Context()
	if _, err := c.networks.Insert(ctx, &computepb.InsertNetworkRequest{Project: project, NetworkResource: &computepb.Network{Name: new("n"), AutoCreateSubnetworks: new(true)}}); err != nil {
		t.Fatal(err)
	}
	firewall := func() error {
		_, err := c.firewalls.Insert(ctx, &computepb.InsertFirewallRequest{Project: project, FirewallResource: &computepb.Firewall{
			Name: new("f"), Network: new("global/networks/n"), Allowed: []*computepb.Allowed{{IPProtocol: new("tcp")}}}})
		return err
	}
	i := smallMachine("a")
	i.NetworkInterfaces[0].Network = new("global/networks/n")
	_, err := c.instances.Insert(ctx, &computepb.InsertInstanceRequest{Project: project, Zone: zone, InstanceResource: i})
	refused(t, err, 400, "resourceNotReady", "networks/n")
	refused(t, firewall(), 400, "resourceNotReady", "networks/n")
	clock.Advance(time.Second)
	if err := firewall(); err != nil {
		t.Errorf("once the network is there: %v", err)
	}
	if _, err := c.instances.Insert(ctx, &computepb.InsertInstanceRequest{Project: project, Zone: zone, InstanceResource: i}); err != nil {
		t.Fatal(err)
	}
	resize := func() error {
		_, err := c.disks.Resize(ctx, &computepb.ResizeDiskRequest{Project: project, Zone: zone, Disk: "a", DisksResizeRequestResource: &computepb.DisksResizeRequest{SizeGb: new(int64(20))}})
		return err
	}
	_, err = c.instances.Stop(ctx, &computepb.StopInstanceRequest{Project: project, Zone: zone, Instance: "a"})
	refused(t, err, 400, "resourceNotReady", "instances/a")
	refused(t, resize(), 400, "resourceNotReady", "disks/a")
	clock.Advance(time.Second)
	if err := resize(); err != nil {
		t.Errorf("once the disk is there: %v", err)
	}
}

// TestRequestID repeats requests, as a client does that got no answer.
func TestRequestID(t *testing.T) {
	c := newCloud(t, Config{})
	ctx := t.Context()
	const id, other = "6a7ff1cc-1d3f-4b5a-9a55-111111111111", "6a7ff1cc-1d3f-4b5a-9a55-222222222222"
	insert := func(id, name string) (string, error) {
		op, err := c.disks.Insert(ctx, &computepb.InsertDiskRequest{Project: project, Zone: zone, RequestId: &id, DiskResource: blankDisk(name)})
		if err != nil {
			return "", err
		}
		return op.Name(), nil
	}
	first, err := insert(id, "d")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if again, err := insert(id, "d"); err != nil || again != first {
			t.Errorf("the same request again: operation %s, %v; want %s", again, err, first)
		}
	}
	_, err = insert(other, "d")
	refused(t, err, 409, "alreadyExists", "disks/d")
	_, err = insert(id, "e")
	refused(t, err, 400, "invalid", "for a different request")
	_, err = insert("00000000-0000-0000-0000-000000000000", "e")
	refused(t, err, 400, "invalid", "nonzero UUID")
	_, err = insert("once", "e")
	refused(t, err, 400, "invalid", "nonzero UUID")

	// A refusal is not remembered: the id may be used again.
	c.must(c.disks.Delete(ctx, &computepb.DeleteDiskRequest{Project: project, Zone: zone, Disk: "d"}))
	if _, err := insert(other, "d"); err != nil {
		t.Error(err)
	}
	// A deletion that is repeated finds the operation and not a 404.
	remove := &computepb.DeleteDiskRequest{Project: project, Zone: zone, Disk: "d", RequestId: new("6a7ff1cc-1d3f-4b5a-9a55-333333333333")}
	c.must(c.disks.Delete(ctx, remove))
	c.must(c.disks.Delete(ctx, remove))
	remove.RequestId = nil
	_, err = c.done(c.disks.Delete(ctx, remove))
	refused(t, err, 404, "notFound", "disks/d")
	replayed := 0
	for _, call := range c.Calls() {
		if call.Replayed {
			replayed++
		}
	}
	if replayed != 3 {
		t.Errorf("%d calls were replays, want 3", replayed)
	}
}

// failing are machines of which one thing does not work.
type failing struct {
	None
	start, attach, stop error
	deleted             []string // disks
}

func (f *failing) Start(context.Context, Machine) error                  { return f.start }
func (f *failing) Stop(context.Context, Machine) error                   { return f.stop }
func (f *failing) AttachDisk(context.Context, Machine, Attachment) error { return f.attach }
func (f *failing) DeleteDisk(_ context.Context, d Disk) error {
	f.deleted = append(f.deleted, d.Name)
	return nil
}

// TestFailedWork takes back what a request changed when what stands behind the
// machines fails.
func TestFailedWork(t *testing.T) {
	machines := &failing{start: errors.New("no /dev/kvm")}
	c := newCloud(t, Config{Machines: machines})
	ctx := t.Context()
	for _, name := range []string{"data", "more"} {
		if _, err := c.insertDisk(blankDisk(name)); err != nil {
			t.Fatal(err)
		}
	}
	_, err := c.insert(smallMachine("a", "data"))
	failure, ok := errors.AsType[*OperationError](err)
	if !ok || failure.Code != "INTERNAL_ERROR" || failure.Message != "no /dev/kvm" {
		t.Fatalf("the operation ended with %v", err)
	}
	_, err = c.instances.Get(ctx, &computepb.GetInstanceRequest{Project: project, Zone: zone, Instance: "a"})
	refused(t, err, 404, "notFound", "instances/a")
	_, err = c.disks.Get(ctx, &computepb.GetDiskRequest{Project: project, Zone: zone, Disk: "a"})
	refused(t, err, 404, "notFound", "disks/a")
	if len(machines.deleted) != 1 || machines.deleted[0] != "a" {
		t.Errorf("disks that were deleted: %v", machines.deleted)
	}
	if users := c.disk("data").GetUsers(); len(users) != 0 {
		t.Errorf("the data disk is used by %v", users)
	}

	machines.start, machines.attach, machines.stop = nil, errors.New("no slot"), errors.New("it hangs")
	if _, err := c.insert(smallMachine("a", "data")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.done(c.instances.AttachDisk(ctx, &computepb.AttachDiskInstanceRequest{Project: project, Zone: zone, Instance: "a",
		AttachedDiskResource: &computepb.AttachedDisk{Source: new("zones/" + zone + "/disks/more")}})); err == nil {
		t.Error("attaching went well")
	}
	if got := c.instance("a"); len(got.GetDisks()) != 2 || len(c.disk("more").GetUsers()) != 0 {
		t.Errorf("disks of the machine: %v", got.GetDisks())
	}
	if _, err := c.done(c.instances.Stop(ctx, &computepb.StopInstanceRequest{Project: project, Zone: zone, Instance: "a"})); err == nil {
		t.Error("stopping went well")
	}
	if got := c.instance("a").GetStatus(); got != "RUNNING" {
		t.Errorf("the machine is %s", got)
	}
}
