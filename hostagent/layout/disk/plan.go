// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/mountinfo"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/store"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/blockdev"
)

// Plan is what has to be done, in order. Without steps there is nothing to do.
type Plan struct {
	Steps []Step `json:"steps"`
	// Mounts are all that the spec wants, those that are there included.
	Mounts []Mount `json:"mounts"`
}

// growSlack is how much smaller than its device a file system may be: ext4
// and xfs leave out a last group that would be too small to be of use.
const growSlack = 16 * mib

const nextMade = "Attach the disk that the node had, or one from a snapshot of it. A blank one is never taken in its place: what was acknowledged is on the old one."

const nextLost = "Attach the disk of that store. An empty log is never started in place of an old one: this server's vote is in it."

// Make compares a valid spec with what was observed. newUUID names the file
// systems that are to be made. An error consists of refusals; there is no
// plan then, for no disk.
func Make(s Spec, m Machine, newUUID func() string) (Plan, error) {
	devices, err := choose(s, m)
	refusals := []error{err}
	plan := Plan{Steps: []Step{}, Mounts: []Mount{}}
	for i, want := range s.Disks {
		if devices[i] == nil {
			continue // refused above
		}
		p := planner{want: want, machine: m, dev: devices[i], content: m.Content[devices[i].KName]}
		if err := p.make(newUUID); err != nil {
			refusals = append(refusals, err)
			continue
		}
		plan.Steps = append(plan.Steps, p.steps...)
		plan.Mounts = append(plan.Mounts, p.mount())
	}
	if err := joined(refusals); err != nil {
		return Plan{}, err
	}
	return plan, nil
}

// joined is errors.Join without a level for what is a join already.
func joined(errs []error) error {
	var all []error
	for _, err := range errs {
		for _, r := range Refusals(err) {
			all = append(all, r)
		}
	}
	return errors.Join(all...)
}

// planner plans one disk.
type planner struct {
	want    Disk
	machine Machine
	dev     *blockdev.Device
	content Content
	uuid    string
	steps   []Step
}

func (p *planner) refuse(field, want, found, next string) error {
	return &Refusal{Field: p.want.Field + "." + field, Device: p.dev.Path, Want: want, Found: found, Next: next}
}

func (p *planner) add(s Step) {
	s.Field, s.Device, s.Number = p.want.Field, p.dev.Path, p.dev.MajMin()
	p.steps = append(p.steps, s)
}

func (p *planner) mount() Mount {
	return Mount{
		Field: p.want.Field, UUID: p.uuid, Device: p.dev.Path, Number: p.dev.MajMin(),
		Where: p.want.Mount, FSType: p.want.FSType, Options: p.want.options(),
	}
}

func (p *planner) make(newUUID func() string) error {
	if r := untouchable(p.dev, p.content); r != nil {
		r.Field = p.want.Field + "." + r.Field
		return r
	}
	if err := p.size(); err != nil {
		return err
	}
	top, mounted := p.machine.mountedAt(p.dev, p.want.Mount)
	if len(p.dev.MountPoints) > 0 && !mounted {
		return p.refuse("mount", p.want.Mount, "a device that is mounted on "+strings.Join(p.dev.MountPoints, ", "), "Unmount it, if it is the right one.")
	}
	made, err := p.filesystem(mounted, newUUID)
	if err != nil {
		return err
	}
	if mounted {
		if err := p.remount(top); err != nil {
			return err
		}
	} else if err := p.mountPoint(); err != nil {
		return err
	}
	if !made {
		if err := p.grow(); err != nil {
			return err
		}
	}
	return p.directories(mounted)
}

// untouchable says why nothing may ever be done to a device.
func untouchable(d *blockdev.Device, c Content) *Refusal {
	refuse := func(want, found, next string) *Refusal {
		return &Refusal{Field: "match", Device: d.Path, Want: want, Found: found, Next: next}
	}
	switch {
	case d.Type == blockdev.TypeROM || d.Size == 0:
		return refuse("a disk with a medium", fmt.Sprintf("type %s, size %d", d.Type, d.Size), "Name another device.")
	case d.ReadOnly:
		return refuse("a writable device", "a read-only one", "Attach the disk for writing, or name another device.")
	case len(d.Holders) > 0:
		return refuse("a device that nothing lies on", "one that holds "+strings.Join(d.Holders, ", "), "Name the device on top, or another one.")
	case len(d.Partitions) > 0:
		return refuse("a device without partitions", "the partitions "+strings.Join(d.Partitions, ", "), "Name one of the partitions, or another device; a partition table is never removed.")
	case c.PartTable != "" || d.PartTableType != "":
		return refuse("a device without a partition table", "a table of the type "+cmp.Or(c.PartTable, d.PartTableType), "Name another device; a partition table is never removed.")
	case slices.Contains(d.MountPoints, blockdev.Swap):
		return refuse("a device that is not in use", "one that is swapped to", "Name another device.")
	case c.Err != "":
		r := refuse("a device that says what is on it", c.Err, "Mend the disk, or name another device.")
		r.Unsure = true
		return r
	}
	return nil
}

func (p *planner) size() error {
	if least := limits[p.want.FSType].size; p.dev.Size < least {
		return p.refuse("fstype", fmt.Sprintf("%s or more for %s", bytesOf(least), p.want.FSType), bytesOf(p.dev.Size), "Attach a larger disk.")
	}
	if p.dev.Size < p.want.MinSize {
		return p.refuse("min_size", bytesOf(p.want.MinSize)+" or more", bytesOf(p.dev.Size), "Attach a larger disk.")
	}
	return nil
}

// filesystem decides what happens to what is on the device, and whether a new
// file system is made.
func (p *planner) filesystem(mounted bool, newUUID func() string) (made bool, err error) {
	w, found := p.want, p.content.Signature
	blank, half := found == Signature{}, found.Label == HalfMade && limits[found.Type].size > 0
	if !mounted && (blank || half || w.Wipe && w.WipeOnly.covers(found)) {
		switch {
		case w.Store != nil && w.Store.StoreID != "":
			return false, p.refuse("store.store_id", w.Store.StoreID, found.String()+", which would be made anew", nextLost)
		case w.Made:
			return false, p.refuse("made", fmt.Sprintf("the %s labelled %q that was made before", w.FSType, w.Label), found.String()+", which would be made anew", nextMade)
		}
		if !blank {
			p.add(Step{Do: Wipe, Signature: &found})
		}
		p.newFilesystem(newUUID)
		return true, nil
	}
	const next = "Name another device. To destroy what is on this one, name its type and UUID in wipe."
	switch {
	case found.Type == w.FSType && found.Label == w.Label:
	case w.Wipe && !mounted:
		return false, p.refuse("wipe_only", w.WipeOnly.String(), found.String(), "wipe destroys only what it names.")
	case found.Type != w.FSType:
		return false, p.refuse("fstype", w.FSType, found.String(), next)
	default:
		return false, p.refuse("label", fmt.Sprintf("%q", w.Label), fmt.Sprintf("%q", found.Label), next)
	}
	p.uuid = found.UUID
	if err := p.unique(); err != nil {
		return false, err
	}
	strange := w.Store != nil && w.Store.StoreID == "" && len(p.content.Beside) > 0
	if mounted || p.content.Store != nil || p.content.StoreErr != "" || strange {
		return false, sameStore(p.want, p.dev.Path, p.content)
	}
	return false, nil // a journal that was not replayed may hide it: seen to once it is mounted
}

// covers reports whether a wipe that names w may destroy found.
func (w *Signature) covers(found Signature) bool {
	return w.Type == found.Type && w.UUID == found.UUID && (w.Label == "" || w.Label == found.Label)
}

func (p *planner) newFilesystem(newUUID func() string) {
	p.uuid = newUUID()
	p.add(Step{Do: MakeFS, FSType: p.want.FSType, UUID: p.uuid, Size: p.dev.Size})
	p.add(Step{Do: Label, FSType: p.want.FSType, UUID: p.uuid, Label: p.want.Label})
}

// unique refuses a file system that is there twice: a mount by UUID, and one
// by label, would take either.
func (p *planner) unique() error {
	if p.uuid == "" {
		return p.refuse("match", "a file system with a UUID", "one without", "Give it one, with tune2fs -U or xfs_admin -U.")
	}
	for i := range p.machine.Devices {
		o := &p.machine.Devices[i]
		s := Signature{Type: o.FSType, Label: o.Label, UUID: o.UUID}
		if c, ok := p.machine.Content[o.KName]; ok {
			s = c.Signature
		}
		if o.KName != p.dev.KName && s.UUID == p.uuid {
			return p.refuse("match", "a file system that is on one device", fmt.Sprintf("UUID %s on %s too", p.uuid, o.Path), "Detach the copy, or give it another UUID.")
		}
	}
	return nil
}

// sameStore refuses a store of another cluster or node, as when disks were
// swapped, and none where one should be.
func sameStore(w Disk, device string, c Content) error {
	refuse := func(field, want, found, next string) error {
		return &Refusal{Field: w.Field + "." + field, Device: device, Want: want, Found: found, Next: next}
	}
	if w.Store == nil {
		return nil
	}
	if c.StoreErr != "" {
		return refuse("store", "the identity of a store in "+w.StoreDir, c.StoreErr, "Restore "+store.FileName+" from a copy; do not make a new one beside an old log.")
	}
	want, got := *w.Store, c.Store
	if got == nil {
		if want.StoreID != "" {
			return refuse("store.store_id", want.StoreID, "no store in "+w.StoreDir, nextLost)
		}
		if len(c.Beside) > 0 {
			return refuse("match", "a file system with a store of this node in "+w.StoreDir+", or with nothing in it", few(c.Beside),
				"Name another device: the label is every cluster's. Empty the file system yourself if nothing in it is needed.")
		}
		return nil
	}
	for _, f := range []struct{ name, want, got string }{
		{"cluster_id", want.ClusterID, got.ClusterID},
		{"cluster", want.Cluster, got.Cluster},
		{"node", want.Node, got.Node},
		{"node_id", want.NodeID, got.NodeID},
		{"store_id", want.StoreID, got.StoreID},
	} {
		if f.want != "" && f.want != f.got {
			return refuse("store."+f.name, f.want, f.got, "Attach this node's own disk; disks may have been swapped.")
		}
	}
	return nil
}

func (p *planner) mountPoint() error {
	where := p.want.Mount
	if other, ok := p.machine.at(where); ok {
		return p.refuse("mount", "nothing but this device on "+where, fmt.Sprintf("%s (%s, %s)", other.Source, other.MajMin(), other.FSType), "Unmount it, or give another mount point.")
	}
	point := p.machine.Points[where]
	if point.Err != "" {
		return p.refuse("mount", "an empty directory "+where+", or none", point.Err, "Empty it yourself if it is not needed, or give another mount point.")
	}
	if point.Missing {
		p.add(Step{Do: MountPoint, Path: where})
	}
	m := p.mount()
	p.add(Step{Do: MountFS, Mount: &m, want: p.want})
	return nil
}

// switches are the mount options that the mount table shows as they are given.
var switches = []string{"noatime", "relatime", "nodev", "nosuid", "noexec"}

func (p *planner) remount(m mountinfo.Mount) error {
	if m.ReadOnly() {
		return p.refuse("mount", "a mount for writing on "+p.want.Mount, "a read-only one, as after an error of the file system", "Look at the kernel's log, check the file system, mount it again.")
	}
	has := strings.Split(m.Options, ",")
	for _, o := range p.want.options() {
		if slices.Contains(switches, o) && !slices.Contains(has, o) {
			mount := p.mount()
			p.add(Step{Do: Remount, Mount: &mount})
			break
		}
	}
	return nil
}

func (p *planner) grow() error {
	switch size := p.content.FSSize; {
	case size == 0:
		return p.refuse("match", "a file system that says how large it is", "one that does not", "Check the file system.")
	case size > p.dev.Size:
		return p.refuse("match", "a device as large as its file system, "+bytesOf(size), bytesOf(p.dev.Size), "Make the disk as large again as it was.")
	case p.dev.Size-size >= growSlack:
		p.add(Step{Do: Grow, FSType: p.want.FSType, Path: p.want.Mount, From: size, Size: p.dev.Size})
	}
	return nil
}

func (p *planner) directories(mounted bool) error {
	for i, d := range p.want.Directories {
		if got, ok := p.machine.Points[p.want.Mount].Dirs[d.Path]; mounted && ok && !got.Missing {
			if got.NotDir {
				return p.refuse(fmt.Sprintf("directories.%d.path", i), "a directory", "something else, "+d.Path, "Remove it, or give another path.")
			}
			if got.UID == d.UID && got.GID == d.GID && got.Mode == d.Mode {
				continue
			}
		}
		p.add(Step{Do: MakeDir, Path: filepath.Join(p.want.Mount, d.Path), Root: p.want.Mount, Directory: &d})
	}
	return nil
}
