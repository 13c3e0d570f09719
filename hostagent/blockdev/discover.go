// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package blockdev

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/mountinfo"
)

const (
	majorRAM  = 1
	majorLoop = 7
	// questions is how many devices are asked at a time.
	questions = 8
)

// Discover returns the devices that lsblk shows, in lsblk's order: no RAM
// disks, no hidden paths of a multipath device, no loop devices without a
// file. An error means that there is no answer at all: /sys/block cannot be
// read, or ctx is done. What a single device does not tell stays empty.
func Discover(ctx context.Context, roots Roots) ([]Device, error) {
	entries, err := fs.ReadDir(roots.Sys, "block")
	if err != nil {
		return nil, fmt.Errorf("listing block devices: %w", err)
	}
	s := &scan{roots: roots, links: diskLinks(roots.Dev)}
	for _, e := range entries {
		s.disk(e.Name())
	}
	slices.SortStableFunc(s.devices, func(a, b Device) int { return cmp.Compare(a.number(), b.number()) })
	s.mounts()
	s.ask(ctx)
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("listing block devices: %w", err)
	}
	return s.devices, nil
}

// scan is one discovery.
type scan struct {
	roots   Roots
	links   map[string][]string // by kernel name: links below /dev/disk
	devices []Device
}

// disk reads a device of /sys/block and its partitions.
func (s *scan) disk(name string) {
	n := node{sys: s.roots.Sys, dir: path.Join("block", name), disk: path.Join("block", name)}
	d, ok := s.device(n, name)
	if !ok {
		return
	}
	d.Parents = n.devices("slaves")
	d.Type = kind(kindFacts{name: name, dmUUID: n.text("dm/uuid"), mdLevel: n.text("md/level"), scsiType: n.text("device/type")})
	d.Removable = n.flag("removable")
	d.Transport = n.transport(name)
	d.BackingFile = n.text("loop/backing_file")
	if skipped(&d) {
		return
	}
	if stacked := len(d.Parents) > 0; stacked {
		d.Model, d.Serial = "", ""
	} else {
		d.Model = cmp.Or(d.Model, n.text("device/model"))
		d.Serial = cmp.Or(d.Serial, n.text("device/serial"), n.text("serial"))
		d.WWN = cmp.Or(d.WWN, wwn(cmp.Or(n.text("wwid"), n.text("device/wwid"))))
		d.Vendor = n.text("device/vendor")
		d.Revision = n.text("device/rev")
	}
	g := googleFacts{byID: d.ByID, name: name, vendor: d.Vendor, model: d.Model, serialShort: d.short}
	if d.Vendor == googleVendor {
		g.designators = []byte(n.raw("device/vpd_pg83"))
	}
	d.DiskName = googleName(g)
	d.Partitions = n.partitions()
	slot := len(s.devices)
	s.devices = append(s.devices, d)
	kept := d.Partitions[:0]
	for _, part := range d.Partitions {
		if s.partition(n, d, part) {
			kept = append(kept, part)
		}
	}
	s.devices[slot].Partitions = kept
}

// skipped are devices that lsblk leaves out.
func skipped(d *Device) bool {
	return d.Major == majorRAM || d.Major == majorLoop && d.Size == 0 && d.BackingFile == ""
}

func (s *scan) partition(disk node, parent Device, name string) bool {
	n := node{sys: s.roots.Sys, dir: path.Join(disk.dir, name), disk: disk.dir}
	d, ok := s.device(n, name)
	if !ok {
		return false
	}
	d.Type = TypePart
	d.Parents = []string{parent.KName}
	d.Removable = parent.Removable
	d.Transport = n.transport(parent.KName)
	d.Start = n.number("start")
	d.Model, d.Serial = "", ""
	s.devices = append(s.devices, d)
	return true
}

// device reads what disks and partitions have in common; ok is false when it
// vanished or is hidden.
func (s *scan) device(n node, name string) (d Device, ok bool) {
	major, minor, ok := n.devNumber()
	if !ok || n.flag("hidden") {
		return Device{}, false
	}
	kname := kernelName(name)
	d = Device{
		Name: kname, KName: kname, Path: "/dev/" + kname,
		Major: major, Minor: minor,
		Size:           n.number("size") * 512,
		ReadOnly:       n.flag("ro"),
		Rotational:     n.flag("queue/rotational"),
		Scheduler:      scheduler(n.text("queue/scheduler")),
		QueueDepth:     n.number("queue/nr_requests"),
		LogicalSector:  n.number("queue/logical_block_size"),
		PhysicalSector: n.number("queue/physical_block_size"),
		MinimumIO:      n.number("queue/minimum_io_size"),
		OptimalIO:      n.number("queue/optimal_io_size"),
		Holders:        n.devices("holders"),
	}
	if strings.HasPrefix(name, "dm-") {
		if d.Name = n.text("dm/name"); d.Name == "" {
			return Device{}, false // being removed
		}
		d.Path = "/dev/mapper/" + d.Name
	}
	links := slices.Clone(s.links[name])
	if data, err := fs.ReadFile(s.roots.Udev, "data/b"+d.MajMin()); err == nil {
		r := parseRecord(data)
		d.applyContent(r.properties)
		d.applyHardware(r.properties)
		d.known = true
		links = append(links, r.links...)
	}
	d.ByID = within(links, "disk/by-id/")
	d.ByPath = within(links, "disk/by-path/")
	return d, true
}

// within returns the links of one directory, absolute, sorted, each once.
func within(links []string, dir string) []string {
	var in []string
	for _, l := range links {
		if strings.HasPrefix(l, dir) {
			in = append(in, "/dev/"+l)
		}
	}
	slices.Sort(in)
	return slices.Compact(in)
}

// diskLinks reads the links that are in /dev/disk, by the kernel name that
// they point to.
func diskLinks(dev fs.FS) map[string][]string {
	links := map[string][]string{}
	for _, dir := range []string{"disk/by-id", "disk/by-path"} {
		entries, err := fs.ReadDir(dev, dir)
		if err != nil {
			continue // no udev, no links
		}
		for _, e := range entries {
			link := path.Join(dir, e.Name())
			if target, err := fs.ReadLink(dev, link); err == nil {
				name := path.Base(target)
				links[name] = append(links[name], link)
			}
		}
	}
	return links
}

// applyContent takes over what udev or blkid know of what is on a device.
func (d *Device) applyContent(p Properties) {
	d.FSType, d.Label, d.UUID = p.Signature()
	d.FSVersion = p["ID_FS_VERSION"]
	d.PartTableType = p["ID_PART_TABLE_TYPE"]
	d.PartTableUUID = p["ID_PART_TABLE_UUID"]
	d.PartType = p["ID_PART_ENTRY_TYPE"]
	d.PartUUID = p["ID_PART_ENTRY_UUID"]
	d.PartLabel = p.decoded("ID_PART_ENTRY_NAME")
	d.PartFlags = p["ID_PART_ENTRY_FLAGS"]
}

// applyHardware takes over what udev knows of the hardware.
func (d *Device) applyHardware(p Properties) {
	d.WWN = p.first("ID_WWN_WITH_EXTENSION", "ID_WWN")
	d.short = p["ID_SERIAL_SHORT"]
	d.Serial = p.first("SCSI_IDENT_SERIAL", "ID_SCSI_SERIAL", "ID_SERIAL_SHORT", "ID_SERIAL")
	d.Model = cmp.Or(strings.Join(strings.Fields(p.decoded("ID_MODEL_ENC")), " "), p["ID_MODEL"])
}

// mounts fills in where devices are mounted or swapped to.
func (s *scan) mounts() {
	data, err := fs.ReadFile(s.roots.Proc, "self/mountinfo")
	if err != nil {
		data = nil // no mount table, nothing known to be mounted
	}
	table, _ := mountinfo.Parse(data) // lines that do not parse are left out
	data, err = fs.ReadFile(s.roots.Proc, "swaps")
	if err != nil {
		data = nil
	}
	swaps := parseSwaps(data)
	for i := range s.devices {
		d := &s.devices[i]
		for _, m := range slices.Backward(table) {
			if !d.carries(m) {
				continue
			}
			d.MountPoints = append(d.MountPoints, m.Point)
			d.FSType = cmp.Or(d.FSType, m.FSType)
			if top, ok := table.Of(m.Point); ok && top.ID == m.ID && d.reach == "" {
				d.reach = m.Point
			}
		}
		if len(d.MountPoints) == 0 && (slices.Contains(swaps, d.Path) || slices.Contains(swaps, "/dev/"+d.KName)) {
			d.MountPoints = []string{Swap}
		}
	}
}

// carries reports whether a mount is of this device. The number decides,
// except where a file system has a made-up one (btrfs: 0:45).
func (d *Device) carries(m mountinfo.Mount) bool {
	if m.Major == d.Major && m.Minor == d.Minor {
		return true
	}
	return m.Major == 0 && (m.Source == d.Path || m.Source == "/dev/"+d.KName)
}

// parseSwaps returns the files of /proc/swaps, its first column below a heading.
func parseSwaps(data []byte) []string {
	var files []string
	for i, line := range strings.Split(string(data), "\n") {
		if fields := strings.Fields(line); i > 0 && len(fields) > 0 {
			files = append(files, mountinfo.Unescape(fields[0]))
		}
	}
	return files
}

// ask fills in what only the disks themselves know, several at a time. A
// device that gives no answer stays as sysfs described it.
func (s *scan) ask(ctx context.Context) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, questions) // one token per question under way
	for i := range s.devices {
		d := &s.devices[i]
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if s.roots.Probe != nil && !d.known && d.Size > 0 && d.Type != TypeROM {
				mounted := d.FSType
				if p, err := s.roots.Probe(ctx, d.Path); err == nil {
					d.applyContent(p)
				}
				d.FSType = cmp.Or(d.FSType, mounted)
			}
			if s.roots.Identify != nil && d.DiskName == "" && d.Model == googlePersistent && d.Type == TypeDisk {
				if b, err := s.roots.Identify(ctx, d.Path); err == nil {
					d.DiskName = namespaceName(b)
				}
			}
			if s.roots.Usage != nil && d.reach != "" {
				if u, err := s.roots.Usage(ctx, d.reach); err == nil {
					d.Usage = &u
				}
			}
		})
	}
	wg.Wait()
}
