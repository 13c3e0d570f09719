// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package emulator

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"cloud.google.com/go/compute/apiv1/computepb"
	"github.com/google/go-cmp/cmp"
)

// recorder writes down what is asked of machines.
type recorder struct {
	mu    sync.Mutex
	lines []string
}

func (r *recorder) note(format string, args ...any) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, fmt.Sprintf(format, args...))
	return nil
}

func places(m Machine) string {
	out := ""
	for _, d := range m.Disks {
		out += fmt.Sprintf(" %s=%s:%d", d.DeviceName, d.Disk.Name, d.Disk.SizeGB)
	}
	return out
}

func (r *recorder) CreateDisk(_ context.Context, d Disk) error {
	return r.note("create disk %s %d GB %s image %v", d.Name, d.SizeGB, d.Type, d.Image != "")
}
func (r *recorder) ResizeDisk(_ context.Context, d Disk, m *Machine) error {
	return r.note("resize disk %s %d GB on %v", d.Name, d.SizeGB, m != nil && m.Name == "a")
}
func (r *recorder) DeleteDisk(_ context.Context, d Disk) error {
	return r.note("delete disk %s", d.Name)
}
func (r *recorder) CreateImage(_ context.Context, image string, of Disk) error {
	return r.note("create image %s of %s", lastPart(image), of.Name)
}
func (r *recorder) DeleteImage(_ context.Context, image string) error {
	return r.note("delete image %s", lastPart(image))
}
func (r *recorder) Start(_ context.Context, m Machine) error {
	return r.note("start %s %d CPUs %d MB%s", m.Name, m.CPUs, m.MemoryMB, places(m))
}
func (r *recorder) Stop(_ context.Context, m Machine) error   { return r.note("stop %s", m.Name) }
func (r *recorder) Reset(_ context.Context, m Machine) error  { return r.note("reset %s", m.Name) }
func (r *recorder) Delete(_ context.Context, m Machine) error { return r.note("delete %s", m.Name) }
func (r *recorder) AttachDisk(_ context.Context, m Machine, a Attachment) error {
	return r.note("attach %s as %s %s", a.Disk.Name, a.DeviceName, a.Interface)
}
func (r *recorder) DetachDisk(_ context.Context, m Machine, a Attachment) error {
	return r.note("detach %s", a.DeviceName)
}
func (r *recorder) SetMetadata(_ context.Context, m Machine) error {
	return r.note("metadata %s", m.Metadata["k"])
}

// TestMachines is what those behind the instances are told, and when.
func TestMachines(t *testing.T) {
	machines := &recorder{}
	c := newCloud(t, Config{Machines: machines})
	ctx := t.Context()
	in := func(name string) (string, string, string) { return project, zone, name }
	p, z, a := in("a")
	if _, err := c.insertDisk(blankDisk("data")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.insert(smallMachine("a", "data")); err != nil {
		t.Fatal(err)
	}
	resize := func(gb int64) {
		c.must(c.disks.Resize(ctx, &computepb.ResizeDiskRequest{Project: p, Zone: z, Disk: "data", DisksResizeRequestResource: &computepb.DisksResizeRequest{SizeGb: &gb}}))
	}
	detach := func() {
		c.must(c.instances.DetachDisk(ctx, &computepb.DetachDiskInstanceRequest{Project: p, Zone: z, Instance: a, DeviceName: "data-1"}))
	}
	attach := func() {
		c.must(c.instances.AttachDisk(ctx, &computepb.AttachDiskInstanceRequest{Project: p, Zone: z, Instance: a,
			AttachedDiskResource: &computepb.AttachedDisk{Source: new("zones/" + zone + "/disks/data"), DeviceName: new("data-1")}}))
	}
	resize(30)
	c.must(c.instances.SetMetadata(ctx, &computepb.SetMetadataInstanceRequest{Project: p, Zone: z, Instance: a, MetadataResource: &computepb.Metadata{
		Items: []*computepb.Items{{Key: new("k"), Value: new("v")}}, Fingerprint: c.instance("a").GetMetadata().Fingerprint}}))
	c.must(c.instances.Reset(ctx, &computepb.ResetInstanceRequest{Project: p, Zone: z, Instance: a}))
	detach()
	attach()
	c.must(c.instances.Stop(ctx, &computepb.StopInstanceRequest{Project: p, Zone: z, Instance: a}))
	c.must(c.instances.Stop(ctx, &computepb.StopInstanceRequest{Project: p, Zone: z, Instance: a})) // nothing to do
	detach()                                                                                        // nobody to tell
	attach()
	resize(40)
	c.must(c.instances.Start(ctx, &computepb.StartInstanceRequest{Project: p, Zone: z, Instance: a}))
	c.must(c.instances.Delete(ctx, &computepb.DeleteInstanceRequest{Project: p, Zone: z, Instance: a}))
	want := []string{
		"create disk data 20 GB pd-ssd image false",
		"create disk a 10 GB pd-balanced image true",
		"start a 2 CPUs 4096 MB boot=a:10 data-1=data:20",
		"resize disk data 30 GB on true",
		"metadata v",
		"reset a",
		"detach data-1",
		"attach data as data-1 SCSI",
		"stop a",
		"resize disk data 40 GB on false",
		"start a 2 CPUs 4096 MB boot=a:10 data-1=data:40",
		"delete a",
		"delete disk a",
	}
	if diff := cmp.Diff(want, machines.lines); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestMany makes, changes and removes machines all at once; -race looks on.
func TestMany(t *testing.T) {
	c := newCloud(t, Config{Machines: &recorder{}, Quota: map[string]float64{"CPUS": 1000, "SSD_TOTAL_GB": 10000}})
	ctx := t.Context()
	const n = 20
	var wg sync.WaitGroup
	for k := range n {
		wg.Go(func() {
			name := fmt.Sprintf("m-%d", k)
			if _, err := c.insertDisk(blankDisk(name + "-data")); err != nil {
				t.Error(err)
				return
			}
			if _, err := c.insert(smallMachine(name, name+"-data")); err != nil {
				t.Error(err)
				return
			}
			i, err := c.instances.Get(ctx, &computepb.GetInstanceRequest{Project: project, Zone: zone, Instance: name})
			if err != nil {
				t.Error(err)
				return
			}
			_, err = c.done(c.instances.SetLabels(ctx, &computepb.SetLabelsInstanceRequest{Project: project, Zone: zone, Instance: name,
				InstancesSetLabelsRequestResource: &computepb.InstancesSetLabelsRequest{Labels: map[string]string{"n": name}, LabelFingerprint: i.LabelFingerprint}}))
			if err != nil {
				t.Error(err)
			}
			_, _ = fmt.Fprintln(c.Guest(zone, name).Serial(1), name)
			if k%2 == 0 {
				if _, err := c.done(c.instances.Delete(ctx, &computepb.DeleteInstanceRequest{Project: project, Zone: zone, Instance: name})); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	it := c.instances.AggregatedList(ctx, &computepb.AggregatedListInstancesRequest{Project: project})
	var addresses []string
	for pair, err := range it.All() {
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range pair.Value.GetInstances() {
			addresses = append(addresses, i.GetNetworkInterfaces()[0].GetNetworkIP())
		}
	}
	slices.Sort(addresses)
	if len(addresses) != n/2 || len(slices.Compact(addresses)) != n/2 {
		t.Errorf("addresses: %v", addresses)
	}
}
