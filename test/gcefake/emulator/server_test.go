// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package emulator

import (
	"context"
	"testing"
	"time"

	"cloud.google.com/go/compute/apiv1/computepb"
)

// TestAnswersAreChecked has the emulator answer what the document does not
// allow.
func TestAnswersAreChecked(t *testing.T) {
	c := newCloud(t, Config{})
	was := handlers["compute.projects.get"]
	t.Cleanup(func() { handlers["compute.projects.get"] = was })
	handlers["compute.projects.get"] = func(*Server, *request) (answer, error) {
		return &computepb.Project{DefaultNetworkTier: new("FREE")}, nil
	}
	_, err := c.projects.Get(t.Context(), &computepb.GetProjectRequest{Project: project})
	refused(t, err, 500, "internalError", `body.defaultNetworkTier: "FREE" is none of`)
}

// TestLatency answers only when the clock says so.
func TestLatency(t *testing.T) {
	clock := NewManual(start())
	c := newCloud(t, Config{Clock: clock, Latency: 50 * time.Millisecond})
	answered := make(chan error) // one, by the goroutine below
	go func() {
		_, err := c.projects.Get(t.Context(), &computepb.GetProjectRequest{Project: project})
		answered <- err
	}()
	for {
		select {
		case err := <-answered:
			if passed := clock.Now().Sub(start()); err != nil || passed < 50*time.Millisecond {
				t.Errorf("answered after %s, %v", passed, err)
			}
			return
		default:
			clock.Advance(10 * time.Millisecond)
		}
	}
}

// hanging are machines that take until they are told to end.
type hanging struct {
	None
	begun chan struct{} // closed by Start
	ended bool          // set by Start
}

func (h *hanging) Start(ctx context.Context, _ Machine) error {
	close(h.begun)
	<-ctx.Done()
	h.ended = true
	return ctx.Err()
}

// TestClose ends what is under way, and waits for it; what has not begun never
// does.
func TestClose(t *testing.T) {
	machines := &hanging{begun: make(chan struct{})}
	c := newCloud(t, Config{Machines: machines})
	op, err := c.instances.Insert(t.Context(), &computepb.InsertInstanceRequest{Project: project, Zone: zone, InstanceResource: smallMachine("a")})
	if err != nil {
		t.Fatal(err)
	}
	<-machines.begun
	if got := c.op(op.Name()).GetStatus(); got != computepb.Operation_RUNNING {
		t.Errorf("while the machine starts, the operation is %s", got)
	}
	c.Close()
	if !machines.ended {
		t.Error("Close returned before the machine's start did")
	}
	late, err := c.disks.Insert(t.Context(), &computepb.InsertDiskRequest{Project: project, Zone: zone, DiskResource: blankDisk("d")})
	if err != nil {
		t.Fatal(err)
	}
	p, err := c.zoneOps.Wait(t.Context(), &computepb.WaitZoneOperationRequest{Project: project, Zone: zone, Operation: late.Name()})
	if err != nil || p.GetStatus() != computepb.Operation_PENDING {
		t.Errorf("after Close an operation is %s, %v", p.GetStatus(), err)
	}
}

// TestManual calls what is due in order, and what that sets as well.
func TestManual(t *testing.T) {
	clock := NewManual(start())
	var order []string
	note := func(name string) func() { return func() { order = append(order, name) } }
	clock.AfterFunc(2*time.Second, note("two"))
	clock.AfterFunc(time.Second, func() {
		order = append(order, "one")
		clock.AfterFunc(500*time.Millisecond, note("one and a half"))
		clock.AfterFunc(5*time.Second, note("six"))
	})
	clock.Advance(3 * time.Second)
	if len(order) != 3 || order[0] != "one" || order[1] != "one and a half" || order[2] != "two" {
		t.Errorf("called %q", order)
	}
	if got := clock.Now().Sub(start()); got != 3*time.Second {
		t.Errorf("the clock stands at %s", got)
	}
}
