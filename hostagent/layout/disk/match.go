// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/blockdev"
)

// fits compares a device with everything of a match but what is on it.
func (m Match) fits(d *blockdev.Device) bool {
	named := m.Name != "" || m.ByID != ""
	switch {
	case m.Name != "" && m.Name != d.Name && m.Name != d.KName && m.Name != d.Path && m.Name != "/dev/"+d.KName:
	case m.Serial != "" && m.Serial != d.Serial:
	case m.WWN != "" && !strings.EqualFold(m.WWN, d.WWN):
	case m.ByID != "" && !linked(d, path.Base(m.ByID)):
	case m.Size != 0 && m.Size != d.Size:
	case m.MinSize > d.Size:
	// A partition has its disk's WWN, a loop device anybody's size.
	case m.Type == "" && !named && d.Type != blockdev.TypeDisk:
	case m.Type != "" && m.Type != d.Type:
	default:
		return true
	}
	return false
}

// linked reports whether a device has a link of that name in /dev/disk/by-id, or
// would have it where Google's udev rules are installed.
func linked(d *blockdev.Device, name string) bool {
	return slices.ContainsFunc(d.ByID, func(l string) bool { return path.Base(l) == name }) || d.DiskName != "" && name == "google-"+d.DiskName
}

func (m Match) String() string {
	var all []string
	say := func(name, value string) {
		if value != "" {
			all = append(all, name+" "+value)
		}
	}
	say("name", m.Name)
	say("serial", m.Serial)
	say("wwn", m.WWN)
	say("by-id link", m.ByID)
	if m.Size != 0 {
		say("size", bytesOf(m.Size))
	}
	say("type", m.Type)
	if m.OnlyBlank {
		rule := "the only blank one"
		if m.MinSize > 0 {
			rule += " of " + bytesOf(m.MinSize) + " or more"
		}
		all = append(all, rule)
	}
	return "a device: " + strings.Join(all, ", ")
}

// candidates are the devices that have to be looked into for a spec.
func candidates(s Spec, devices []blockdev.Device) []*blockdev.Device {
	var all []*blockdev.Device
	for i := range devices {
		d := &devices[i]
		if slices.ContainsFunc(s.Disks, func(want Disk) bool { return want.Match.fits(d) }) {
			all = append(all, d)
		}
	}
	return all
}

// choose says which device each disk of the spec has; a refusal says why it
// has none. Rules come after names: what a name took, no rule takes.
func choose(s Spec, m Machine) ([]*blockdev.Device, error) {
	chosen := make([]*blockdev.Device, len(s.Disks))
	refusals := make([]error, len(s.Disks)) // in the spec's order
	taken := map[string]string{}            // kernel name → field
	var named error
	for _, rules := range []bool{false, true} {
		for i, want := range s.Disks {
			if want.Match.OnlyBlank != rules || rules && named != nil {
				continue // which device is left for a rule depends on the names
			}
			d, r := want.choose(m, taken)
			if r != nil {
				refusals[i] = r
				continue
			}
			if other, ok := taken[d.KName]; ok {
				refusals[i] = &Refusal{Field: want.Field + ".match", Device: d.Path, Want: "a device of its own", Found: "the one that " + other + " has", Next: "Name another device."}
				continue
			}
			taken[d.KName] = want.Field
			chosen[i] = d
		}
		if !rules {
			named = joined(refusals)
		}
	}
	return chosen, joined(refusals)
}

func (w Disk) choose(m Machine, taken map[string]string) (*blockdev.Device, *Refusal) {
	var fit []*blockdev.Device
	for i := range m.Devices {
		d := &m.Devices[i]
		if _, ok := taken[d.KName]; w.Match.fits(d) && (!ok || !w.Match.OnlyBlank) {
			fit = append(fit, d)
		}
	}
	if w.Match.OnlyBlank {
		var r *Refusal
		if fit, r = w.blank(m, fit); r != nil {
			return nil, r
		}
	}
	switch len(fit) {
	case 1:
		return fit[0], nil
	case 0:
		return nil, &Refusal{Field: w.Field + ".match", Want: w.Match.String(), Found: seen(m), Next: "Attach the disk, or correct the spec. `holdfast devices -json` has every device."}
	}
	return nil, &Refusal{Field: w.Field + ".match", Want: w.Match.String(), Found: fmt.Sprintf("%d of them: %s", len(fit), list(fit)), Next: "Say which one, by its serial number or its link in /dev/disk/by-id."}
}

// blank applies the rule: of devices that fit those which are this disk's
// already, then a half-made one, then the blank ones. One that does not say what is on it
// is in the way of these alone: a disk that has its file system is known by that.
func (w Disk) blank(m Machine, fit []*blockdev.Device) ([]*blockdev.Device, *Refusal) {
	var ours, half, blank []*blockdev.Device
	var unknown *Refusal // the first device that may be blank
	for _, d := range fit {
		c := m.Content[d.KName]
		switch {
		case c.Err != "":
			if unknown == nil {
				unknown = &Refusal{Field: w.Field + ".match", Device: d.Path, Want: w.Match.String(), Found: "a device of which nobody can say whether it is blank: " + c.Err, Next: "Name the device.", Unsure: true}
			}
		case c.Signature.Type == w.FSType && c.Signature.Label == w.Label:
			ours = append(ours, d)
		case untouchable(d, c) != nil || len(d.MountPoints) > 0:
		case c.Signature.Label == HalfMade:
			half = append(half, d)
		case c.Signature == Signature{}:
			blank = append(blank, d)
		}
	}
	for _, some := range [][]*blockdev.Device{ours, half} {
		if len(some) > 0 {
			return some, nil
		}
	}
	return blank, unknown
}

// seen names the devices of a machine for a person who misses one.
func seen(m Machine) string {
	var disks []*blockdev.Device
	for i := range m.Devices {
		if d := &m.Devices[i]; d.Type == blockdev.TypeDisk {
			disks = append(disks, d)
		}
	}
	if len(disks) == 0 {
		return "none; the machine has no disk"
	}
	return "none among " + list(disks)
}

func list(devices []*blockdev.Device) string {
	var all []string
	for _, d := range devices {
		s := d.Path + " of " + bytesOf(d.Size)
		if id := cmp.Or(d.Serial, d.WWN); id != "" {
			s += " (serial " + id + ")"
		}
		all = append(all, s)
	}
	const shown = 8
	if len(all) > shown {
		all = append(all[:shown], strconv.Itoa(len(all)-shown)+" more")
	}
	return strings.Join(all, ", ")
}

// bytesOf is a size for a person who compares two: exact.
func bytesOf(n uint64) string {
	if human := blockdev.HumanSize(n); n >= 1<<10 {
		return fmt.Sprintf("%s (%d bytes)", human, n)
	}
	return fmt.Sprintf("%d bytes", n)
}
