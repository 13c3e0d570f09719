// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/store"
)

// Spec is the disks of a node as they should be.
type Spec struct {
	Disks []Disk `json:"disks"`
}

// Disk is one file system that should be there, and mounted.
type Disk struct {
	// Field is what errors call it: "stores.0", "side_disk".
	Field string `json:"field"`
	Match Match  `json:"match"`
	// FSType is ext4 or xfs.
	FSType string `json:"fstype"`
	// Label tells the file system from all others of the machine.
	Label string `json:"label"`
	// Mount is the mount point, made where it is missing.
	Mount string `json:"mount"`
	// Options are mount options, nil for [DefaultOptions].
	Options []string `json:"options,omitempty"`
	// MinSize refuses a smaller device: bytes, 0 for any.
	MinSize uint64 `json:"min_size,omitempty"`
	// Wipe destroys what WipeOnly says, and nothing else.
	Wipe     bool       `json:"wipe,omitempty"`
	WipeOnly *Signature `json:"wipe_only,omitempty"`
	// Made refuses to make a file system: it was made before, and a device without it is another one.
	Made bool `json:"made,omitempty"`
	// Directories below the mount point, in this order.
	Directories []Directory `json:"directories,omitempty"`
	// Store is the identity that a store in the directory StoreDir must have,
	// as far as its fields are set; nil where there is no store in it. With a
	// StoreID it has been there before: a blank device is refused then.
	Store    *store.Identity `json:"store,omitempty"`
	StoreDir string          `json:"store_dir,omitempty"`
}

// Match says which device: all that is set has to fit, and one device alone.
type Match struct {
	// Name is the kernel's or the mapped name, or the path of either.
	Name   string `json:"name,omitempty"`
	Serial string `json:"serial,omitempty"`
	WWN    string `json:"wwn,omitempty"`
	// ByID is a link in /dev/disk/by-id, with the directory or without.
	ByID string `json:"by_id,omitempty"`
	// Size in bytes, exactly.
	Size uint64 `json:"size,omitempty"`
	// OnlyBlank is the rule "the only blank disk", of MinSize bytes or more. A
	// disk that has the file system already comes before blank ones. Only
	// whole disks of the hardware count, unless Type says otherwise.
	OnlyBlank bool   `json:"only_blank,omitempty"`
	MinSize   uint64 `json:"min_size,omitempty"`
	// Type is lsblk's: disk, part, loop, lvm, raid1, …
	Type string `json:"type,omitempty"`
}

// Signature is what blkid says that a device begins with.
type Signature struct {
	Type  string `json:"type,omitempty"`
	Label string `json:"label,omitempty"`
	UUID  string `json:"uuid,omitempty"`
}

func (s Signature) String() string {
	if s == (Signature{}) {
		return "no file system"
	}
	var b strings.Builder
	b.WriteString(s.Type)
	if s.Label != "" {
		fmt.Fprintf(&b, " labelled %q", s.Label)
	}
	if s.UUID != "" {
		b.WriteString(" with UUID " + s.UUID)
	}
	return b.String()
}

// Directory is one directory as it should be.
type Directory struct {
	// Path is relative to the mount point; "." is the file system's root.
	Path string `json:"path"`
	UID  int    `json:"uid"`
	GID  int    `json:"gid"`
	Mode Mode   `json:"mode"`
}

// Mode is permission bits, "0700" in JSON.
type Mode uint32

func (m Mode) String() string { return fmt.Sprintf("%04o", uint32(m)) }

// MarshalText implements encoding.TextMarshaler.
func (m Mode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *Mode) UnmarshalText(text []byte) error {
	v, err := strconv.ParseUint(string(text), 8, 32)
	if err != nil || v > 0o777 {
		return fmt.Errorf("mode %q: use octal permission bits, 0700", text)
	}
	*m = Mode(v)
	return nil
}

// File systems.
const (
	Ext4 = "ext4"
	XFS  = "xfs"
)

// HalfMade is the label of a file system whose making is not complete.
const HalfMade = "hf-making"

const (
	mib = 1 << 20
	gib = 1 << 30
)

// limits of what mkfs makes.
var limits = map[string]struct {
	label int    // bytes
	size  uint64 // the least
}{
	Ext4: {16, 16 * mib},
	XFS:  {12, 300 * mib},
}

// DefaultOptions suit a log: no write for a read (noatime, which includes
// directories), nothing that runs or acts as a device. The data mode and the
// barriers stay the file system's own, which are the safe ones. An ext4 whose
// metadata is damaged stops taking writes instead of going on.
func DefaultOptions(fstype string) []string {
	options := []string{"noatime", "nodev", "nosuid", "noexec"}
	if fstype == Ext4 {
		options = append(options, "errors=remount-ro")
	}
	return options
}

// Validate returns a [*Refusal] for each field that cannot be right on any machine.
func (s Spec) Validate() error {
	var errs []error
	names, labels := map[string]bool{}, map[string]bool{}
	var mounts []string
	for i, d := range s.Disks {
		if d.Field == "" {
			errs = append(errs, &Refusal{Field: fmt.Sprintf("disks.%d.field", i), Want: "a name", Found: "nothing", Next: "Correct the spec."})
			continue
		}
		if names[d.Field] {
			errs = append(errs, d.invalid("field", "another name than the other disks have", d.Field))
		}
		if labels[d.Label] {
			errs = append(errs, d.invalid("label", "another label than the other disks have", d.Label))
		}
		for _, m := range mounts {
			if inside(m, d.Mount) || inside(d.Mount, m) {
				errs = append(errs, d.invalid("mount", "a directory apart from "+m, d.Mount))
			}
		}
		names[d.Field], labels[d.Label] = true, true
		mounts = append(mounts, d.Mount)
		errs = append(errs, d.validate()...)
	}
	return errors.Join(errs...)
}

func (d Disk) invalid(field, want, found string) error {
	return &Refusal{Field: d.Field + "." + field, Want: want, Found: found, Next: "Correct the spec."}
}

func (d Disk) validate() (errs []error) {
	bad := func(field, want, found string) { errs = append(errs, d.invalid(field, want, found)) }
	limit, ok := limits[d.FSType]
	if !ok {
		bad("fstype", "ext4 or xfs", d.FSType)
	} else if d.Label == "" || len(d.Label) > limit.label {
		bad("label", fmt.Sprintf("1 to %d bytes for %s", limit.label, d.FSType), d.Label)
	}
	if d.Label == HalfMade || strings.ContainsFunc(d.Label, func(r rune) bool { return r <= ' ' || r == '/' || r == '\\' || r >= 0x7f }) {
		bad("label", "letters, digits and signs without blanks and slashes, not "+HalfMade, d.Label)
	}
	if !filepath.IsAbs(d.Mount) || path.Clean(d.Mount) != d.Mount || d.Mount == "/" {
		bad("mount", "an absolute path without detours, not /", d.Mount)
	}
	for _, o := range d.Options {
		if o == "" || strings.ContainsAny(o, ", \t\n") || o == "ro" || o == "noload" || o == "norecovery" {
			bad("options", "one option each, none that keeps writes out", o)
		}
	}
	if m := d.Match; m.Name == "" && m.Serial == "" && m.WWN == "" && m.ByID == "" && m.Size == 0 && !m.OnlyBlank {
		bad("match", "a name, serial, wwn, by_id or size, or only_blank", "nothing")
	}
	if m := d.Match; m.MinSize > 0 && !m.OnlyBlank {
		bad("match.min_size", "only_blank beside it; the least size of any device is min_size of the disk", strconv.FormatUint(m.MinSize, 10))
	}
	if d.Wipe && (d.WipeOnly == nil || d.WipeOnly.Type == "" || d.WipeOnly.UUID == "") {
		bad("wipe_only", "type and UUID of what wipe may destroy", "nothing")
	}
	if !d.Wipe && d.WipeOnly != nil {
		bad("wipe", "true beside wipe_only", "false")
	}
	for i, dir := range d.Directories {
		at := fmt.Sprintf("directories.%d.", i)
		if !filepath.IsLocal(dir.Path) || path.Clean(dir.Path) != dir.Path {
			bad(at+"path", "a path below the mount point without detours", dir.Path)
		}
		if dir.UID < 0 || dir.GID < 0 {
			bad(at+"uid", "numbers of a user and a group", fmt.Sprintf("%d:%d", dir.UID, dir.GID))
		}
		if dir.Mode&0o700 != 0o700 {
			bad(at+"mode", "all rights for the owner", dir.Mode.String())
		}
	}
	if d.Store != nil && (d.StoreDir == "" || !slices.ContainsFunc(d.Directories, func(dir Directory) bool { return dir.Path == d.StoreDir })) {
		bad("store_dir", "one of the directories", d.StoreDir)
	}
	return errs
}

func (d Disk) options() []string {
	if d.Options == nil {
		return DefaultOptions(d.FSType)
	}
	return d.Options
}

// inside reports whether path is dir or below it.
func inside(dir, path string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}
