// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package vm

import (
	"strings"
	"testing"
)

func TestConfigRefused(t *testing.T) {
	disk := Disk{Kind: NVMe, Serial: "data", Size: GiB}
	for _, tc := range []struct {
		name string
		c    Config
		want string // in the error; "" is none
	}{
		{"as it should be", Config{Name: "a", Disks: []Disk{disk}}, ""},
		{"a name for QEMU's command line", Config{Name: "a,b=c"}, "a,b=c"},
		{"a serial that leaves the directory", Config{Disks: []Disk{{Kind: SCSI, Serial: "../x", Size: GiB}}}, "../x"},
		{"the root disk's serial", Config{Disks: []Disk{{Kind: SCSI, Serial: "root", Size: GiB}}}, "not root"},
		{"a serial twice", Config{Disks: []Disk{disk, disk}}, "there twice"},
		{"no kind", Config{Disks: []Disk{{Serial: "data", Size: GiB}}}, "none of nvme, scsi, virtio"},
		{"half a sector", Config{Disks: []Disk{{Kind: NVMe, Serial: "data", Size: 1000}}}, "size 1000"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := tc.c.defaults().validate()
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want one with %q", err, tc.want)
			}
		})
	}
}
