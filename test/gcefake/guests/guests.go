// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

//go:build linux

package guests

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/holdfastdb/terraform-provider-holdfast/test/gcefake/emulator"
	"github.com/holdfastdb/terraform-provider-holdfast/test/gcefake/world"
	"github.com/holdfastdb/terraform-provider-holdfast/test/vm"
)

// Guests are the machines of one world. Safe for concurrent use as emulator.Machines is called.
type Guests struct {
	world   *world.World
	files   world.Files
	image   vm.Image
	powered world.Powered[*guest]

	mu struct {
		sync.Mutex
		made map[uint64]*guest // with power or without, by the boot disk's ID
	}
}

var _ emulator.Machines = (*Guests)(nil)

// Prepare builds the image where the cache does not have it: outside of the world, which has no way to Debian's
// packages. Its error is vm.ErrMissing where this machine lacks something.
func Prepare(ctx context.Context) error {
	_, err := vm.Build(ctx)
	return err
}

// New returns the machines of a world.
func New(ctx context.Context, w *world.World) (*Guests, error) {
	i, err := vm.Build(ctx)
	if err != nil {
		return nil, err
	}
	files, err := w.Files()
	if err != nil {
		return nil, err
	}
	g := &Guests{world: w, files: files, image: i}
	g.mu.made = map[uint64]*guest{}
	return g, nil
}

// Close ends all machines. Nothing of them is left.
func (g *Guests) Close() error {
	g.powered.TakeAll()
	g.mu.Lock()
	defer g.mu.Unlock()
	var errs []error
	for _, one := range g.mu.made {
		errs = append(errs, one.close())
	}
	g.mu.made = nil
	return errors.Join(append(errs, g.files.Close())...)
}

var errImage = errors.New("machines of this kind have one image: projects/debian-cloud/global/images/family/debian-12")

// CreateDisk implements emulator.Machines. A disk with an image is made by its first boot.
func (g *Guests) CreateDisk(_ context.Context, d emulator.Disk) error {
	if d.Image == "" {
		return g.files.Create(d)
	}
	if !strings.Contains(d.Image, "debian-12") {
		return fmt.Errorf("%w: not %s", errImage, d.Image)
	}
	return nil
}

var errNoImages = errors.New("no images are made of machines of this kind")

// CreateImage implements emulator.Machines.
func (*Guests) CreateImage(context.Context, string, emulator.Disk) error { return errNoImages }

// DeleteImage implements emulator.Machines.
func (*Guests) DeleteImage(context.Context, string) error { return nil }

// ResizeDisk implements emulator.Machines.
func (g *Guests) ResizeDisk(ctx context.Context, d emulator.Disk, m *emulator.Machine) error {
	if d.Image != "" {
		return nil // it is as large as its file system
	}
	if m == nil {
		return g.files.Grow(d)
	}
	one, err := g.powered.Find(*m)
	if err != nil {
		return err
	}
	return one.resize(ctx, g.files.Path(d), d.SizeGB<<30)
}

// DeleteDisk implements emulator.Machines.
func (g *Guests) DeleteDisk(_ context.Context, d emulator.Disk) error {
	if d.Image == "" {
		return g.files.Delete(d)
	}
	g.mu.Lock()
	one := g.mu.made[d.ID]
	delete(g.mu.made, d.ID)
	g.mu.Unlock()
	if one == nil {
		return nil
	}
	return one.close()
}

// Start implements emulator.Machines. It returns when the machine has power.
func (g *Guests) Start(ctx context.Context, m emulator.Machine) error {
	one, err := g.get(ctx, m)
	if err != nil {
		return err
	}
	g.world.Metadata.Set(one.address, m)
	if err := one.start(ctx, m, g.files); err != nil {
		g.world.Metadata.Forget(one.address)
		return err
	}
	g.powered.Add(m, one, one.Off())
	return nil
}

var errBoot = errors.New("the first disk has no image to boot from")

// get is the guest of an instance, which is made at its first start.
func (g *Guests) get(ctx context.Context, m emulator.Machine) (*guest, error) {
	if len(m.Disks) == 0 || m.Disks[0].Disk.Image == "" || len(m.Interfaces) == 0 {
		return nil, errBoot
	}
	id := m.Disks[0].Disk.ID
	g.mu.Lock()
	one := g.mu.made[id]
	g.mu.Unlock()
	if one != nil {
		return one, nil // calls for one instance do not overlap
	}
	one, err := g.build(ctx, m)
	if err != nil {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.mu.made[id] = one
	return one, nil
}

// Stop implements emulator.Machines.
func (g *Guests) Stop(ctx context.Context, m emulator.Machine) error {
	one, ok := g.powered.Take(m)
	if !ok {
		return nil // it ended by itself
	}
	g.world.Metadata.Forget(one.address)
	return one.shutDown(ctx)
}

// Reset implements emulator.Machines.
func (g *Guests) Reset(ctx context.Context, m emulator.Machine) error {
	one, err := g.powered.Find(m)
	if err != nil {
		return err
	}
	return one.QMP().SystemReset(ctx)
}

// Delete implements emulator.Machines.
func (g *Guests) Delete(_ context.Context, m emulator.Machine) error {
	one, ok := g.powered.Take(m)
	if !ok {
		return nil
	}
	g.world.Metadata.Forget(one.address)
	return one.PowerOff()
}

// AttachDisk implements emulator.Machines.
func (g *Guests) AttachDisk(ctx context.Context, m emulator.Machine, a emulator.Attachment) error {
	one, err := g.powered.Find(m)
	if err != nil {
		return err
	}
	return one.plug(ctx, disk(g.files, a))
}

// DetachDisk implements emulator.Machines.
func (g *Guests) DetachDisk(ctx context.Context, m emulator.Machine, a emulator.Attachment) error {
	one, err := g.powered.Find(m)
	if err != nil {
		return err
	}
	return one.unplug(ctx, a.DeviceName)
}

// SetMetadata implements emulator.Machines.
func (g *Guests) SetMetadata(_ context.Context, m emulator.Machine) error {
	one, err := g.powered.Find(m)
	if err == nil {
		g.world.Metadata.Set(one.address, m)
	}
	return err
}

// Console is what the machine of a name said on its serial line.
func (g *Guests) Console(name string) string {
	one, err := g.powered.Any(func(one *guest) bool { return one.Name == name })
	if err != nil {
		return err.Error()
	}
	return one.Console()
}
