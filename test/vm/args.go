// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package vm

import (
	"cmp"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strconv"
)

// program is QEMU's name in Debian's package qemu-system-x86.
const program = "qemu-system-x86_64"

// Descriptors that QEMU inherits.
const (
	qmpFD = 3 + iota
	lanFD // only of a machine with a Network or a Tap
)

// consoleFD is what the console is written to beside the file, of a guest of Compute Engine.
const consoleFD = lanFD + 1

// spareSlots is how many more disks can be plugged in while a machine runs.
const spareSlots = 4

// scsiBus is where SCSI disks are; its controller is always there.
const scsiBus = "scsi.0"

// launch is all that a start of QEMU depends on.
type launch struct {
	Config
	dir     string
	kvm     bool
	sshPort int // of loopback; 0 lets the kernel choose
	mac     string
	slots   []string // serial of the disk in each PCIe slot, "" where it is free
}

// emulated is the processor of a guest without KVM: all that QEMU knows, but for what a kernel uses to be
// faster or safer and an emulator is slow at. erms copies byte by byte, la57 is one more level of page tables, and smap
// and smep end a block of translated code at each copy from and to a program.
const emulated = "max,-erms,-la57,-smap,-smep"

// args is the command line of QEMU, without the program.
func (l launch) args() []string {
	accel, cpu := "tcg,thread=multi", emulated
	if l.kvm {
		accel, cpu = "kvm", "host"
	}
	a := []string{
		"-name", l.Name, "-no-user-config", "-nodefaults", "-display", "none",
		"-machine", "q35", "-accel", accel, "-cpu", cpu,
		"-smp", strconv.Itoa(l.CPUs), "-m", strconv.Itoa(l.MemoryMiB),
		"-kernel", l.Image.kernel(), "-initrd", l.file("initrd.img"), "-append", l.kernelLine(),
		"-chardev", fmt.Sprintf("socket,id=qmp,fd=%d", qmpFD), "-mon", "chardev=qmp,mode=control",
		"-device", "virtio-rng-pci",
		"-blockdev", text(object{"driver": "qcow2", "node-name": "root", "discard": "unmap", "file": object{
			// Flushes of the root file system end in the host's page cache,
			// which outlives a power cut of the guest.
			"driver": "file", "filename": l.file("root.qcow2"), "cache": object{"no-flush": true}}}),
		"-device", "virtio-blk-pci,drive=root,serial=root",
		"-device", "virtio-scsi-pci,id=scsi",
	}
	a = append(a, l.lines()...)
	for i := range l.slots {
		a = append(a, "-device", fmt.Sprintf("pcie-root-port,id=%s,chassis=%d", slotName(i), i+1))
	}
	for _, d := range l.Disks {
		a = append(a, "-blockdev", text(l.node(d)), "-device", text(l.device(d)))
	}
	return a
}

func (l launch) kernelLine() string {
	if l.Cloud != nil {
		return kernelLine + " " + cloudLine
	}
	return kernelLine
}

// lines are the console and the network cards.
func (l launch) lines() []string {
	console := "file,id=console,append=on,path=" + l.file("console.log")
	card := func(id, other, mac string) []string {
		return []string{"-netdev", other + ",id=" + id, "-device", "virtio-net-pci,romfile=,netdev=" + id + ",mac=" + mac}
	}
	var a []string
	if l.Cloud != nil {
		console = fmt.Sprintf("socket,id=console,fd=%d,logappend=on,logfile=%s", consoleFD, l.file("console.log"))
		a = card("lan", fmt.Sprintf("tap,fd=%d", lanFD), l.Cloud.MAC)
	} else {
		// restrict: the guest reaches neither this machine nor what lies beyond.
		a = card("ssh", fmt.Sprintf("user,restrict=on,hostfwd=tcp:127.0.0.1:%d-:22", l.sshPort), sshMAC)
		if l.Network != nil {
			a = append(a, card("lan", fmt.Sprintf("socket,fd=%d", lanFD), l.mac)...)
		}
	}
	return append(a, "-chardev", console, "-serial", "chardev:console")
}

// node is the block node of a disk, as -blockdev and blockdev-add take it.
func (l launch) node(d Disk) object {
	return object{"driver": "raw", "node-name": nodeName(d.Serial), "discard": "unmap",
		"file": object{"driver": "file", "filename": l.content(d)}}
}

// device is the disk as the guest sees it, as -device and device_add take it.
func (l launch) device(d Disk) object {
	o := object{"id": d.Serial, "serial": d.Serial, "drive": nodeName(d.Serial)}
	switch d.Kind {
	case NVMe:
		o["driver"] = "nvme"
	case VirtIO:
		o["driver"] = "virtio-blk-pci"
	case SCSI:
		o["driver"], o["bus"] = "scsi-hd", scsiBus
		if l.Cloud != nil { // as Google's disks say of themselves which device they are
			o["vendor"], o["product"], o["device_id"] = "Google", "PersistentDisk", d.Serial
		}
		return o
	}
	for i, serial := range l.slots {
		if serial == d.Serial {
			o["bus"] = slotName(i)
		}
	}
	return o
}

// content is the file of a data disk.
func (l launch) content(d Disk) string { return cmp.Or(d.File, l.file(d.Serial+".disk")) }

func (l launch) file(name string) string { return filepath.Join(l.dir, name) }

func slotName(i int) string { return fmt.Sprintf("slot%d", i+1) }

func nodeName(serial string) string { return "disk-" + serial }

type object = map[string]any

// text is an object as QEMU's command line takes it. The objects here hold
// nothing that JSON does not know.
func text(o object) string {
	b, err := json.Marshal(o)
	if err != nil {
		panic(err)
	}
	return string(b)
}
