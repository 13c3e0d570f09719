// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package agentapi

import (
	"fmt"
	"slices"
	"strings"
)

// Disk is a disk that the agent finds among the node's devices, formats if it is
// blank, and mounts. Nothing else is ever formatted, but for what Wipe names.
// Package hostagent/layout/disk says by which rules.
type Disk struct {
	Match DiskMatch `json:"match"`
	// FileSystem is ext4 or xfs.
	FileSystem string `json:"filesystem"`
	// Mount is the mount point; the directory of the store, or of the side, lies below it.
	Mount string `json:"mount"`
	// MinSizeBytes refuses a smaller device; 0 is any.
	MinSizeBytes int64 `json:"min_size_bytes,omitempty"`
	// Wipe names what the agent may destroy on the device to make the file system; nil is nothing.
	Wipe *DiskContent `json:"wipe,omitempty"`
	// Made says that the file system was made before, by this machine or one in whose place it is:
	// a blank device is not the disk that is meant, and is refused.
	Made bool `json:"made,omitempty"`
}

// DiskMatch says which device: all that is set has to fit, and one device alone.
// Nothing set is the only blank disk of MinSizeBytes or more that no other disk of
// the spec names; the disk that has the file system already comes before it.
type DiskMatch struct {
	Name   string `json:"name,omitempty"` // the kernel's name, or its path in /dev
	Serial string `json:"serial,omitempty"`
	WWN    string `json:"wwn,omitempty"`
	ByID   string `json:"by_id,omitempty"` // a link in /dev/disk/by-id
	// SizeBytes is the exact size.
	SizeBytes int64 `json:"size_bytes,omitempty"`
}

// DiskContent is a file system, or what else blkid tells, by type and UUID.
type DiskContent struct {
	Type string `json:"type"`
	UUID string `json:"uuid"`
}

// FileSystems are those that a disk may have.
var FileSystems = []string{"ext4", "xfs"}

// minFileSystem is the least that mkfs makes a file system on, in bytes.
const minFileSystem = 300 << 20

// checkDisks looks at the disks of the stores and the side.
func (s *Spec) checkDisks() *Error {
	mounts := map[string]string{}
	check := func(field, path, device string, d *Disk) *Error {
		if d == nil {
			return nil
		}
		if device != "" {
			return bad(field+".device", device, "there is disk too, which finds its device itself", "Leave device out.")
		}
		field += ".disk"
		switch {
		case !slices.Contains(FileSystems, d.FileSystem):
			return oneOf(field+".filesystem", d.FileSystem, FileSystems)
		case !cleanPath(d.Mount):
			return bad(field+".mount", d.Mount, "not an absolute path in its shortest form", "Write it from / on.")
		case !within(path, d.Mount):
			return bad(field+".mount", d.Mount, "the directory "+path+" does not lie below it", "Mount the disk at a directory above.")
		case d.MinSizeBytes < 0 || d.MinSizeBytes > 0 && d.MinSizeBytes < minFileSystem:
			return bad(field+".min_size_bytes", d.MinSizeBytes, fmt.Sprintf("below %d", minFileSystem), "Ask for more, or leave it out.")
		case d.Match.SizeBytes < 0:
			return bad(field+".match.size_bytes", d.Match.SizeBytes, "below zero", "Write the exact size in bytes, or leave it out.")
		case d.Wipe != nil && (d.Wipe.Type == "" || d.Wipe.UUID == ""):
			return bad(field+".wipe", strings.TrimSpace(d.Wipe.Type+" "+d.Wipe.UUID), "not a type and a UUID", "Name what may be destroyed as blkid does, or leave it out.")
		}
		if other, ok := mounts[d.Mount]; ok {
			return bad(field+".mount", d.Mount, "the same as "+other+".mount", "Give every disk a mount point of its own.")
		}
		mounts[d.Mount] = field
		return nil
	}
	for i, st := range s.Stores {
		if e := check(fmt.Sprintf("stores.%d", i), st.Path, st.Device, st.Disk); e != nil {
			return e
		}
	}
	if s.SideDisk != nil {
		return check("side_disk", s.SideDisk.Path, s.SideDisk.Device, s.SideDisk.Disk)
	}
	return nil
}
