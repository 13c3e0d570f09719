// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package blockdev

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"strconv"
	"strings"
)

// Google Compute Engine gives each disk of a machine a device name, which its
// images' udev rules make a link of: /dev/disk/by-id/google-NAME. Where those
// rules are not installed, the name is where the rules have it from: in what
// the disk says of itself.
//
//	SCSI             vendor Google, the vendor-specific designator of VPD page
//	                 0x83; udev has it as ID_SERIAL_SHORT
//	NVMe, persistent model nvme_card-pd, JSON in the vendor's part of the
//	                 namespace's identification
//	NVMe, local SSD  model nvme_card, the namespace's number: local-nvme-ssd-0
const (
	googleLink       = "/dev/disk/by-id/google-"
	googleVendor     = "Google"
	googlePersistent = "nvme_card-pd"
	googleLocal      = "nvme_card"
)

// googleFacts are what the device name of a disk is decided on.
type googleFacts struct {
	byID                []string
	name, vendor, model string
	serialShort         string // udev's
	designators         []byte // VPD page 0x83
}

// googleName is the device name, empty elsewhere and for partitions.
func googleName(f googleFacts) string {
	for _, l := range f.byID {
		if name, ok := strings.CutPrefix(l, googleLink); ok {
			return name
		}
	}
	switch {
	case f.vendor == googleVendor && f.serialShort != "":
		return f.serialShort
	case f.vendor == googleVendor:
		return vendorDesignator(f.designators)
	case f.model == googlePersistent:
		return "" // the disk has to be asked, see scan.ask
	case strings.HasPrefix(f.name, "nvme") && strings.HasPrefix(f.model, googleLocal):
		_, number, ok := strings.Cut(strings.TrimPrefix(f.name, "nvme"), "n")
		if n, err := strconv.Atoi(number); ok && err == nil && n > 0 {
			return "local-nvme-ssd-" + strconv.Itoa(n-1)
		}
	}
	return ""
}

// vendorDesignator reads a VPD page 0x83:
//
//	0     1     2  3     4      5      6  7       8
//	type  0x83  length   coding kind   0  length  bytes …   and so on
//
// kind has the associated thing in bits 4 and 5, 0 for the disk itself, and
// in its low half the kind of name, 0 for the vendor's own.
func vendorDesignator(page []byte) string {
	if len(page) < 4 || page[1] != 0x83 {
		return ""
	}
	rest := page[4:]
	rest = rest[:min(len(rest), int(binary.BigEndian.Uint16(page[2:])))]
	for len(rest) >= 4 {
		n := int(rest[3])
		if len(rest) < 4+n {
			return ""
		}
		if rest[1]&0x3f == 0 {
			return plain(rest[4 : 4+n])
		}
		rest = rest[4+n:]
	}
	return ""
}

// identificationBytes is the size of what a namespace says of itself; the
// vendor's part begins at identificationVendor.
const (
	identificationBytes  = 4096
	identificationVendor = 384
)

// namespaceName reads {"device_name":"data-1","disk_type":"PERSISTENT"},
// which ends with a zero.
func namespaceName(b []byte) string {
	if len(b) < identificationBytes {
		return ""
	}
	text, _, _ := bytes.Cut(b[identificationVendor:], []byte{0})
	var said struct {
		DeviceName string `json:"device_name"`
	}
	if json.Unmarshal(text, &said) != nil {
		return ""
	}
	return plain([]byte(said.DeviceName))
}

// plain is a name as it may be one: no slash, no blank, no control character.
func plain(b []byte) string {
	s := strings.TrimSpace(strings.TrimRight(string(b), "\x00"))
	if strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == '/' || r >= 0x7f }) {
		return ""
	}
	return s
}
