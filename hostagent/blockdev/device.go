// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package blockdev

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Types of devices, as lsblk names them. Further ones come from the kernel as
// they are: the RAID levels of md, the owners of device-mapper devices
// ("lvm", "crypt", "mpath"), SCSI's device types.
const (
	TypeDisk = "disk"
	TypePart = "part"
	TypeLoop = "loop"
	TypeROM  = "rom"
)

// Swap stands among the mount points of a device that is swapped to.
const Swap = "[SWAP]"

// Device is one block device. Empty strings and zero sizes mean that nobody
// knows: the kernel has no such attribute for the device.
type Device struct {
	// Name is what people call it: the mapped name of device-mapper devices,
	// KName, the kernel's name, for others.
	Name, KName string
	Path        string // "/dev/vda1", "/dev/mapper/data"
	Major       uint32
	Minor       uint32
	Type        string
	Size        uint64 // bytes

	ReadOnly   bool
	Removable  bool
	Rotational bool

	// Of the file system or whatever else begins with a signature.
	FSType, FSVersion, Label, UUID string
	// MountPoints are newest first, as lsblk lists them; Swap among them.
	MountPoints []string
	// Usage is nil where nothing is mounted.
	Usage *Usage

	// Of the hardware; empty for partitions and stacked devices.
	Model, Serial, Vendor, Revision string
	WWN                             string
	Transport                       string
	// DiskName is the device name of a disk of Google Compute Engine.
	DiskName string

	// Of the request queue, in bytes; a partition has its disk's.
	Scheduler                     string
	QueueDepth                    uint64
	LogicalSector, PhysicalSector uint64
	MinimumIO, OptimalIO          uint64

	// Of the partition table on it, and of the entry for it in its disk's.
	PartTableType, PartTableUUID             string
	PartType, PartUUID, PartLabel, PartFlags string
	Start                                    uint64 // in sectors of 512 bytes

	BackingFile  string   // of a loop device
	ByID, ByPath []string // links, "/dev/disk/by-id/…"

	Parents    []string // KNames of what it lies on: its disk, or its slaves
	Partitions []string // KNames
	Holders    []string // KNames of what lies on it, partitions not among them

	known bool   // to udev: nobody else is asked
	short string // udev's ID_SERIAL_SHORT
	reach string // the newest mount point that no other mount hides
}

// Usage is how full a mounted file system is, in bytes.
type Usage struct {
	Size uint64
	Used uint64
	// Available is what users other than root can still write.
	Available uint64
}

// MajMin is the device number as lsblk and cgroup v2 write it.
func (d *Device) MajMin() string { return fmt.Sprintf("%d:%d", d.Major, d.Minor) }

// number orders devices. lsblk compares glibc's encoding of the number, in
// which minors of 256 and above stand over the major.
func (d *Device) number() uint64 { return unix.Mkdev(d.Major, d.Minor) }
