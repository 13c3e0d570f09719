// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"github.com/holdfastdb/terraform-provider-holdfast/engine/mountinfo"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/store"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/blockdev"
)

// Machine is what was observed, in plain values.
type Machine struct {
	Devices []blockdev.Device
	Mounts  mountinfo.Table
	// Content is what is on the devices that the spec may mean, by kernel name.
	Content map[string]Content
	// Points are the mount points of the spec, by path.
	Points map[string]Point
}

// Content is what is on a device.
type Content struct {
	// Err says why nobody knows, empty: the rest is known.
	Err       string
	Signature Signature
	PartTable string
	FSSize    uint64 // of the file system, in bytes, if it is ext4 or xfs
	// Store is the identity in the store's directory, StoreErr why there is
	// none that can be believed; both empty where there is no store yet.
	Store    *store.Identity
	StoreErr string
	// Beside is what else is in the file system of a store: see beside.
	Beside []string
}

// Point is a mount point and, where the disk's file system is mounted there,
// the directories in it.
type Point struct {
	Missing bool
	// Err says why it cannot be one: a file, a link, a directory with entries.
	Err  string
	Dirs map[string]Dir // by the spec's path
}

// Dir is a directory as it is.
type Dir struct {
	Missing  bool
	NotDir   bool
	UID, GID int
	Mode     Mode
}

// at returns the mount on top at point, if there is one.
func (m Machine) at(point string) (mountinfo.Mount, bool) {
	top, ok := m.Mounts.Of(point)
	return top, ok && top.Point == point
}

// mountedAt reports whether dev is what one reaches at point.
func (m Machine) mountedAt(dev *blockdev.Device, point string) (mountinfo.Mount, bool) {
	top, ok := m.at(point)
	return top, ok && top.Major == dev.Major && top.Minor == dev.Minor && top.Root == "/"
}
