// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package blockdev

import (
	"io/fs"
	"path"
	"strconv"
	"strings"
)

// node is the directory of one device in sysfs. Attributes of a device that
// vanished, or that its kernel does not have, read as empty.
type node struct {
	sys  fs.FS
	dir  string // "block/vda" or "block/vda/vda1"
	disk string // directory of the disk of a partition, else dir
}

func (n node) text(attribute string) string { return strings.TrimSpace(n.raw(attribute)) }

// raw is an attribute of bytes.
func (n node) raw(attribute string) string {
	dir := n.dir
	if strings.HasPrefix(attribute, "queue/") {
		dir = n.disk // partitions have no queue of their own
	}
	data, err := fs.ReadFile(n.sys, path.Join(dir, attribute))
	if err != nil {
		return ""
	}
	return string(data)
}

func (n node) number(attribute string) uint64 {
	v, err := strconv.ParseUint(n.text(attribute), 10, 64)
	if err != nil {
		return 0
	}
	return v
}

func (n node) flag(attribute string) bool { return n.number(attribute) != 0 }

func (n node) has(attribute string) bool {
	_, err := fs.Stat(n.sys, path.Join(n.dir, attribute))
	return err == nil
}

// devices lists a directory of links to devices: holders, slaves.
func (n node) devices(attribute string) []string {
	names := n.names(attribute)
	for i := range names {
		names[i] = kernelName(names[i])
	}
	return names
}

// kernelName undoes what sysfs does to slashes in names: "cciss!c0d0".
func kernelName(name string) string { return strings.ReplaceAll(name, "!", "/") }

func (n node) names(attribute string) []string {
	entries, err := fs.ReadDir(n.sys, path.Join(n.dir, attribute))
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// partitions returns the names of the directories below a disk that are
// partitions: "vda1", "nvme0n1p1".
func (n node) partitions() []string {
	var parts []string
	for _, name := range n.names(".") {
		if (node{sys: n.sys, dir: path.Join(n.dir, name)}).has("partition") {
			parts = append(parts, name)
		}
	}
	return parts
}

// devNumber reads "254:16".
func (n node) devNumber() (major, minor uint32, ok bool) {
	a, b, ok := strings.Cut(n.text("dev"), ":")
	maj, err1 := strconv.ParseUint(a, 10, 32)
	mnr, err2 := strconv.ParseUint(b, 10, 32)
	return uint32(maj), uint32(mnr), ok && err1 == nil && err2 == nil
}

// devPath is where the kernel hangs the device: the link of block/NAME with
// the buses in it ("…/usb2/…/host4/target4:0:0/4:0:0:0/block/sdb").
func (n node) devPath() string {
	target, err := fs.ReadLink(n.sys, n.disk)
	if err != nil {
		return ""
	}
	return path.Join("block", target)
}

// wwn is the kernel's wwid in udev's words. SCSI's "t10." is no number of the
// world but a name that its vendor chose.
func wwn(wwid string) string {
	if digits, ok := strings.CutPrefix(wwid, "naa."); ok {
		return "0x" + digits
	}
	for _, kind := range []string{"eui.", "nvme.", "uuid."} {
		if strings.HasPrefix(wwid, kind) {
			return wwid
		}
	}
	return ""
}

// scheduler is the one in brackets: "none [mq-deadline]".
func scheduler(list string) string {
	_, rest, ok := strings.Cut(list, "[")
	if !ok {
		return ""
	}
	name, _, ok := strings.Cut(rest, "]")
	if !ok {
		return ""
	}
	return name
}

// kindFacts are what the type of a device is decided on.
type kindFacts struct {
	name      string
	partition bool
	dmUUID    string // "LVM-…", "CRYPT-LUKS2-…", "mpath-…", "part1-mpath-…"
	mdLevel   string
	scsiType  string // a number; other buses have words here
}

// SCSI's peripheral device types, by number, as lsblk names them.
var scsiTypes = map[string]string{
	"0": TypeDisk, "1": "tape", "2": "printer", "3": "processor", "4": "worm", "5": TypeROM, "6": "scanner",
	"7": "mo-disk", "8": "changer", "9": "comm", "12": "raid", "13": "enclosure", "14": "rbc", "17": "osd", "127": "no-lun",
}

// kind is the type of a device in lsblk's words.
func kind(f kindFacts) string {
	switch {
	case f.partition:
		return TypePart
	case strings.HasPrefix(f.name, "dm-"):
		owner, _, _ := strings.Cut(f.dmUUID, "-")
		owner = strings.ToLower(owner)
		switch {
		case owner == "":
			return "dm"
		case strings.HasPrefix(owner, TypePart): // kpartx numbers them
			return TypePart
		}
		return owner
	case strings.HasPrefix(f.name, "loop"):
		return TypeLoop
	case strings.HasPrefix(f.name, "md"):
		if f.mdLevel != "" {
			return strings.ToLower(f.mdLevel)
		}
		return "md"
	}
	if t, ok := scsiTypes[f.scsiType]; ok {
		return t
	}
	return TypeDisk
}

// transportFacts are what the transport of a device is decided on.
type transportFacts struct {
	name    string
	devPath string
	// hostClass reports whether the SCSI host is of a class of sysfs: "fc", "sas".
	hostClass func(class string) bool
	// hostText reads an attribute of the SCSI host in a class.
	hostText            func(class, attribute string) string
	sasDevice, ieee1394 bool
}

// transport is the bus of a disk in lsblk's words. The order matters: an
// iSCSI or USB disk has a SCSI host too.
func transport(f transportFacts) string {
	switch {
	case f.hostClass("spi"):
		return "spi"
	case f.hostClass("fc"):
		if strings.Contains(f.hostText("fc", "symbolic_name"), " over ") {
			return "fcoe"
		}
		return "fc"
	case f.hostClass("sas") || f.sasDevice:
		return "sas"
	case f.ieee1394:
		return "sbp"
	case f.hostClass("iscsi"):
		return "iscsi"
	case strings.Contains(f.devPath, "/usb"):
		return "usb"
	case f.hostClass("scsi"):
		driver := f.hostText("scsi", "proc_name")
		switch {
		case strings.HasPrefix(driver, "ahci"), strings.HasPrefix(driver, "sata"):
			return "sata"
		case strings.Contains(driver, "ata"):
			return "ata"
		}
		return ""
	case strings.HasPrefix(f.name, "nvme"):
		return "nvme"
	case strings.HasPrefix(f.name, "vd"):
		return "virtio"
	case strings.HasPrefix(f.name, "mmcblk"):
		return "mmc"
	}
	return ""
}

// transport gathers the facts: the host is in the device's path, its classes
// are directories class/fc_host/host4.
func (n node) transport(name string) string {
	devPath := n.devPath()
	host := ""
	for part := range strings.SplitSeq(devPath, "/") {
		if digits, ok := strings.CutPrefix(part, "host"); ok && digits != "" {
			if _, err := strconv.Atoi(digits); err == nil {
				host = part
				break
			}
		}
	}
	class := func(class string) node {
		return node{sys: n.sys, dir: path.Join("class", class+"_host", host)}
	}
	return transport(transportFacts{
		name:      name,
		devPath:   "/" + devPath,
		hostClass: func(c string) bool { return host != "" && class(c).has(".") },
		hostText:  func(c, attribute string) string { return class(c).text(attribute) },
		sasDevice: n.has("device/sas_device"),
		ieee1394:  n.has("device/ieee1394_id"),
	})
}
