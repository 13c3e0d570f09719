// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package vm

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"regexp"
)

// Kind is how a disk is attached.
type Kind string

// The kinds that clouds have.
const (
	NVMe   Kind = "nvme"
	SCSI   Kind = "scsi"   // virtio-scsi
	VirtIO Kind = "virtio" // virtio-blk
)

// GiB is 1<<30 bytes.
const GiB = int64(1) << 30

// Disk is one data disk. It is a sparse file: a big one costs what is written.
type Disk struct {
	Kind Kind
	// Serial is what the guest sees, and the name of the disk in QMP.
	Serial string
	Size   int64 // bytes
	// File is where its content is, for one that is there already and outlives the machine;
	// empty: a new one in the machine's directory.
	File string
}

// Config is what a machine should be.
type Config struct {
	Image Image
	// Name is the host's name.
	Name      string
	CPUs      int // 2 where it is 0
	MemoryMiB int // 1024 where it is 0
	Disks     []Disk
	// Network joins the machine to others; nil leaves it alone.
	Network *Network
	// Cloud makes it a guest of Compute Engine, which somebody else plays.
	Cloud *Cloud
}

// Cloud is what a guest of Compute Engine has instead of a port of loopback that leads to it and
// of keys that are known: one network card, and Google's guest agent, which makes its
// host keys and lets users in as the metadata server says.
type Cloud struct {
	// Tap is the card's other end, a TAP device that the machine inherits each time it is started.
	Tap     *os.File
	MAC     string
	Address netip.Prefix // of the card, with the network's length
	Gateway netip.Addr   // and the way to the metadata server
	// Serial gets what the guest writes to its console; nil: nobody.
	Serial io.Writer
}

func (c Config) defaults() Config {
	c.Name = cmp.Or(c.Name, "machine")
	c.CPUs = cmp.Or(c.CPUs, 2)
	c.MemoryMiB = cmp.Or(c.MemoryMiB, 1024)
	return c
}

// A name goes into a command line of QEMU, a path, the guest's hosts file.
var nameLike = regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`)

func (c Config) validate() error {
	if !nameLike.MatchString(c.Name) {
		return fmt.Errorf("name %q: up to 63 lower-case letters, digits and dashes, a letter first", c.Name)
	}
	if c.Cloud != nil && c.Network != nil {
		return errors.New("a guest of Compute Engine has one network card: Cloud or Network")
	}
	seen := map[string]bool{}
	for _, d := range c.Disks {
		if err := d.validate(); err != nil {
			return err
		}
		if seen[d.Serial] {
			return fmt.Errorf("disk %q is there twice", d.Serial)
		}
		seen[d.Serial] = true
	}
	return nil
}

func (d Disk) validate() error {
	switch {
	case !nameLike.MatchString(d.Serial) || len(d.Serial) > 20 || d.Serial == "root":
		return fmt.Errorf("disk with serial %q: up to 20 lower-case letters, digits and dashes, a letter first, and not root", d.Serial)
	case d.Kind != NVMe && d.Kind != SCSI && d.Kind != VirtIO:
		return fmt.Errorf("disk %s: kind %q is none of nvme, scsi, virtio", d.Serial, d.Kind)
	case d.Size <= 0 || d.Size%512 != 0:
		return fmt.Errorf("disk %s: size %d is not a positive multiple of 512 bytes", d.Serial, d.Size)
	}
	return nil
}
