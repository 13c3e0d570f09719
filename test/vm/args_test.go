// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package vm

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestArgs reads the disks of a command line back: each has its file, its
// serial, and a bus that is there.
func TestArgs(t *testing.T) {
	l := launch{
		Config: Config{Name: "a", CPUs: 2, MemoryMiB: 512, Network: &Network{}, Image: Image{dir: "/cache/x"}, Disks: []Disk{
			{Kind: NVMe, Serial: "data", Size: GiB},
			{Kind: SCSI, Serial: "side", Size: 25 * GiB},
			{Kind: VirtIO, Serial: "more", Size: GiB},
		}},
		dir: "/d", sshPort: 2222, mac: "52:54:00:4d:00:0b", slots: []string{"", "data", "more"},
	}
	args := l.args()
	buses := map[string]bool{}
	files := map[string]string{}
	got := map[string]string{}
	for i := 0; i+1 < len(args); i++ {
		value := args[i+1]
		switch {
		case args[i] == "-device" && strings.HasPrefix(value, "pcie-root-port,id="):
			name, _, _ := strings.Cut(strings.TrimPrefix(value, "pcie-root-port,id="), ",")
			buses[name] = true
		case args[i] == "-device" && value == "virtio-scsi-pci,id=scsi":
			buses[scsiBus] = true
		case args[i] == "-blockdev":
			var node struct {
				Name string `json:"node-name"`
				File struct{ Filename string }
			}
			if err := json.Unmarshal([]byte(value), &node); err != nil {
				t.Fatalf("%s: %v", value, err)
			}
			files[node.Name] = node.File.Filename
		case args[i] == "-device" && value[0] == '{':
			var device struct{ Driver, ID, Serial, Drive, Bus string }
			if err := json.Unmarshal([]byte(value), &device); err != nil {
				t.Fatalf("%s: %v", value, err)
			}
			if device.ID != device.Serial || !buses[device.Bus] {
				t.Errorf("device %+v: buses are %v", device, buses)
			}
			got[device.Serial] = device.Driver + " " + files[device.Drive]
		}
	}
	want := map[string]string{
		"data": "nvme /d/data.disk", "side": "scsi-hd /d/side.disk", "more": "virtio-blk-pci /d/more.disk",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("disks (-want +got):\n%s", diff)
	}
	all := strings.Join(args, " ")
	for _, want := range []string{
		"-accel tcg,thread=multi", "hostfwd=tcp:127.0.0.1:2222-:22", "restrict=on",
		"netdev=lan,mac=52:54:00:4d:00:0b", "-kernel /cache/x/vmlinuz", "-initrd /d/initrd.img",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("no %q in %s", want, all)
		}
	}
	l.kvm, l.Network = true, nil
	all = strings.Join(l.args(), " ")
	if !strings.Contains(all, "-accel kvm -cpu host") || strings.Contains(all, "lan") {
		t.Errorf("with KVM and alone: %s", all)
	}
	l.Cloud = &Cloud{MAC: "42:01:0a:80:00:02"}
	l.Disks[0].File = "/disks/7"
	all = strings.Join(l.args(), " ")
	for _, want := range []string{"tap,fd=4,id=lan", "netdev=lan,mac=42:01:0a:80:00:02", "socket,id=console,fd=5,logappend=on,logfile=/d/console.log", `"filename":"/disks/7"`} {
		if !strings.Contains(all, want) {
			t.Errorf("no %q in %s", want, all)
		}
	}
	if strings.Contains(all, "hostfwd") {
		t.Errorf("a way around the cloud: %s", all)
	}
}
