// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"fmt"
	"strings"
)

// Do is the kind of a step.
type Do string

// Steps, in the order in which a disk has them.
const (
	Wipe       Do = "wipe"        // the one signature
	MakeFS     Do = "make"        // under the label of a half-made file system
	Label      Do = "label"       // it is whole: its own label
	MountPoint Do = "mount-point" // make the directory
	MountFS    Do = "mount"
	Remount    Do = "remount" // other options
	Grow       Do = "grow"    // while it is mounted
	MakeDir    Do = "directory"
)

// Step is one thing to do. Doing it again, or after half of it, is safe in a
// new plan: what a step left is what the next Look sees.
type Step struct {
	Do     Do     `json:"do"`
	Field  string `json:"field"`
	Device string `json:"device"`
	Number string `json:"maj:min"`

	Signature *Signature `json:"signature,omitempty"` // that is wiped
	FSType    string     `json:"fstype,omitempty"`
	UUID      string     `json:"uuid,omitempty"` // of the new file system
	Label     string     `json:"label,omitempty"`
	Mount     *Mount     `json:"mount,omitempty"`
	Path      string     `json:"path,omitempty"`
	Root      string     `json:"-"` // the mount point that Path is below
	Directory *Directory `json:"directory,omitempty"`
	From      uint64     `json:"from,omitempty"` // bytes before growing
	Size      uint64     `json:"size,omitempty"` // bytes of the device

	want Disk // of a mount: whose store has to be in it
}

// String says to a person what will be done.
func (s Step) String() string {
	switch s.Do {
	case Wipe:
		return fmt.Sprintf("destroy %s on %s", s.Signature, s.Device)
	case MakeFS:
		return fmt.Sprintf("make %s on %s (%s)", s.FSType, s.Device, bytesOf(s.Size))
	case Label:
		return fmt.Sprintf("label %s %q", s.Device, s.Label)
	case MountPoint:
		return "make the directory " + s.Path
	case MountFS:
		return fmt.Sprintf("mount %s on %s, options %s", s.Device, s.Mount.Where, strings.Join(s.Mount.Options, ","))
	case Remount:
		return fmt.Sprintf("mount %s on %s again, options %s", s.Device, s.Mount.Where, strings.Join(s.Mount.Options, ","))
	case Grow:
		return fmt.Sprintf("grow the %s of %s from %s to %s", s.FSType, s.Device, bytesOf(s.From), bytesOf(s.Size))
	case MakeDir:
		return fmt.Sprintf("directory %s, owner %d:%d, mode %s", s.Path, s.Directory.UID, s.Directory.GID, s.Directory.Mode)
	}
	return string(s.Do)
}
