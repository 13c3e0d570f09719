// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

//go:build linux

package guests

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/test/gcefake/emulator"
	"github.com/holdfastdb/terraform-provider-holdfast/test/gcefake/metadata"
	"github.com/holdfastdb/terraform-provider-holdfast/test/gcefake/world"
	"github.com/holdfastdb/terraform-provider-holdfast/test/vm"
)

// guest is one machine, for as long as its boot disk exists.
type guest struct {
	*vm.Machine
	cloud   *vm.Cloud
	address netip.Addr
	disks   sync.Mutex // held while one is plugged, unplugged or resized: two disks are two calls
}

// Of every guest.
const (
	cpus      = 1
	memoryMiB = 768
	// length is of the network that they are all in.
	length = 8
)

var errExternal = errors.New("machines of this kind have no external address")

// build makes the guest of an instance that boots for the first time.
func (g *Guests) build(ctx context.Context, m emulator.Machine) (*guest, error) {
	card := m.Interfaces[0]
	if card.External != "" {
		return nil, errExternal
	}
	address, err := netip.ParseAddr(card.Address)
	if err != nil {
		return nil, err
	}
	gateway, err := netip.ParseAddr(metadata.Gateway)
	if err != nil {
		return nil, err
	}
	tap, err := g.world.Tap()
	if err != nil {
		return nil, err
	}
	one := &guest{address: address, cloud: &vm.Cloud{Tap: tap, MAC: mac(address), Address: netip.PrefixFrom(address, length), Gateway: gateway}}
	one.Machine, err = vm.New(ctx, vm.Config{Image: g.image, Name: m.Name, CPUs: cpus, MemoryMiB: memoryMiB, Cloud: one.cloud})
	if err != nil {
		return nil, errors.Join(err, tap.Close())
	}
	return one, nil
}

// mac is the hardware address that Compute Engine gives to a card.
func mac(a netip.Addr) string {
	b := a.As4()
	return fmt.Sprintf("42:01:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3])
}

// disk is an attached disk as QEMU takes it.
func disk(files world.Files, a emulator.Attachment) vm.Disk {
	return vm.Disk{Kind: vm.SCSI, Serial: a.DeviceName, Size: a.Disk.SizeGB << 30, File: files.Path(a.Disk)}
}

// start gives power to a guest with the disks that its instance has now.
func (o *guest) start(ctx context.Context, m emulator.Machine, files world.Files) error {
	o.disks.Lock()
	defer o.disks.Unlock()
	var disks []vm.Disk
	for _, a := range m.Disks[1:] {
		disks = append(disks, disk(files, a))
	}
	o.Insert(disks)
	o.cloud.Serial = m.Guest.Serial(1)
	return o.PowerOn(ctx)
}

// shutDown presses the power button, and takes the power away after as long as Compute Engine waits.
func (o *guest) shutDown(ctx context.Context) error {
	const patience = 90 * time.Second
	timer := time.NewTimer(patience)
	defer timer.Stop()
	if err := o.QMP().SystemPowerdown(ctx); err == nil { // else it has ended
		select {
		case <-o.Off():
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	return o.PowerOff()
}

func (o *guest) plug(ctx context.Context, d vm.Disk) error {
	o.disks.Lock()
	defer o.disks.Unlock()
	return o.Plug(ctx, d)
}

func (o *guest) unplug(ctx context.Context, serial string) error {
	o.disks.Lock()
	defer o.disks.Unlock()
	return o.Unplug(ctx, serial)
}

var errNoDisk = errors.New("the machine does not have the disk")

// resize grows the disk of a file.
func (o *guest) resize(ctx context.Context, file string, size int64) error {
	o.disks.Lock()
	defer o.disks.Unlock()
	for _, d := range o.Disks {
		if d.File == file {
			return o.Resize(ctx, d.Serial, size)
		}
	}
	return errNoDisk
}

// close removes the machine.
func (o *guest) close() error { return errors.Join(o.Close(), o.cloud.Tap.Close()) }
