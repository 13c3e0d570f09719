// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package emulator

import (
	"context"
	"io"
)

// Machines is what stands behind instances and disks. An operation calls it
// once the request has passed every rule, without the server's lock, and is
// DONE when the call returns; an error fails the operation, and what the
// request changed is taken back. Calls for one instance or disk do not overlap,
// those for different ones do.
//
// The context ends when the server is closed.
type Machines interface {
	// CreateDisk makes the disk, blank or with its image's content.
	CreateDisk(context.Context, Disk) error
	// ResizeDisk makes the disk as large as it says; machine is the running
	// instance that sees it grow, nil for none.
	ResizeDisk(ctx context.Context, d Disk, machine *Machine) error
	DeleteDisk(context.Context, Disk) error
	// CreateImage keeps the content of a disk, which no machine with power has. image is its link, as Disk.Image
	// of the disks that begin as it.
	CreateImage(ctx context.Context, image string, of Disk) error
	// DeleteImage forgets it. Disks that began as it stay what they are.
	DeleteImage(ctx context.Context, image string) error

	// Start boots an instance, a new one or one that was stopped.
	Start(context.Context, Machine) error
	// Stop ends it as pressing the power button does, and then by force.
	Stop(context.Context, Machine) error
	// Reset boots it again without asking the guest.
	Reset(context.Context, Machine) error
	// Delete ends it, running or not. Its disks remain.
	Delete(context.Context, Machine) error
	// AttachDisk and DetachDisk plug a disk of a running instance.
	AttachDisk(context.Context, Machine, Attachment) error
	DetachDisk(context.Context, Machine, Attachment) error
	// SetMetadata tells a running instance's metadata server what is new.
	SetMetadata(context.Context, Machine) error
}

// Machine is an instance as those behind it need to know it.
type Machine struct {
	Project, Zone, Name string
	ID                  uint64
	MachineType         string
	CPUs                int
	MemoryMB            int
	// Disks in the order in which the guest finds them; the first boots.
	Disks      []Attachment
	Metadata   map[string]string
	Labels     map[string]string
	Tags       []string
	Interfaces []Interface
	// ServiceAccount and Scopes are what the metadata server hands out tokens for.
	ServiceAccount string
	Scopes         []string
	// Guest is how the machine reports what becomes visible in the API.
	Guest Guest
}

// Attachment is a disk in its place in an instance.
//
// The guest must find it as /dev/disk/by-id/google-<DeviceName>: as a SCSI disk
// the device name is its serial number; as an NVMe namespace it is in the
// vendor's part of the namespace's identification, where Google's udev rules
// look for it.
type Attachment struct {
	DeviceName string
	Interface  string // SCSI, NVME
	ReadOnly   bool
	Boot       bool
	AutoDelete bool
	// Scratch is a local SSD: the machine's own, blank at every Start after a
	// Stop. Its Disk has no name.
	Scratch bool
	Disk    Disk
}

// Disk is a persistent disk.
type Disk struct {
	Project, Zone, Name string
	ID                  uint64
	Type                string // pd-ssd
	SizeGB              int64
	IOPS, ThroughputMB  int64  // provisioned; 0 where the type has none
	Image               string // link of the image it began as; "" for a blank one
}

// Interface is a network interface of an instance.
type Interface struct {
	Network, Subnetwork string // links
	Address             string
	External            string // "" for none
}

// Guest is the way from a machine to the API.
type Guest interface {
	// Serial returns the writer for a serial port, 1 to 4; the API returns the
	// last MiB. What was written before a reset or stop stays.
	Serial(port int) io.Writer
	// SetAttribute sets a guest attribute, as a guest does by its metadata
	// server; false when the instance does not allow guest attributes.
	SetAttribute(namespace, key, value string) bool
	// PoweredOff says that the guest has shut itself down.
	PoweredOff()
}

// None stands behind instances that are records and nothing else.
type None struct{}

var _ Machines = None{}

func (None) CreateDisk(context.Context, Disk) error                { return nil }
func (None) ResizeDisk(context.Context, Disk, *Machine) error      { return nil }
func (None) DeleteDisk(context.Context, Disk) error                { return nil }
func (None) CreateImage(context.Context, string, Disk) error       { return nil }
func (None) DeleteImage(context.Context, string) error             { return nil }
func (None) Start(context.Context, Machine) error                  { return nil }
func (None) Stop(context.Context, Machine) error                   { return nil }
func (None) Reset(context.Context, Machine) error                  { return nil }
func (None) Delete(context.Context, Machine) error                 { return nil }
func (None) AttachDisk(context.Context, Machine, Attachment) error { return nil }
func (None) DetachDisk(context.Context, Machine, Attachment) error { return nil }
func (None) SetMetadata(context.Context, Machine) error            { return nil }
