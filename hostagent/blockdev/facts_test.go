// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package blockdev

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
)

// TestFacts checks what lsblk cannot be asked about a composed machine.
func TestFacts(t *testing.T) {
	devices := readMachine(t, "testdata/composed.txtar").discover(t)
	type facts struct {
		Type, Transport, Path, Model, Serial string
		Parents                              []string
	}
	for name, want := range map[string]facts{
		"sda":         {Type: "disk", Path: "/dev/sda", Model: "PersistentDisk", Serial: "0Google PersistentDisk"},
		"sda1":        {Type: "part", Path: "/dev/sda1", Parents: []string{"sda"}},
		"sdb":         {Type: "disk", Transport: "usb", Path: "/dev/sdb", Model: "Ultra USB 3.0"},
		"sdc":         {Type: "disk", Transport: "sata", Path: "/dev/sdc", Model: "ST4000NM0035-1V4"},
		"sde":         {Type: "disk", Transport: "fc", Path: "/dev/sde", Model: "FlashArray"},
		"md0":         {Type: "raid1", Path: "/dev/md0", Parents: []string{"sdc", "sdd"}},
		"dm-0":        {Type: "lvm", Path: "/dev/mapper/vg-data", Parents: []string{"md0"}},
		"dm-1":        {Type: "mpath", Path: "/dev/mapper/mpatha", Parents: []string{"sde", "sdf"}},
		"dm-2":        {Type: "part", Path: "/dev/mapper/mpatha-part1", Parents: []string{"dm-1"}},
		"dm-3":        {Type: "crypt", Path: "/dev/mapper/luks-x", Parents: []string{"nvme0n1p1"}},
		"dm-4":        {Type: "dm", Path: "/dev/mapper/bare"},
		"nvme0n1":     {Type: "disk", Transport: "nvme", Path: "/dev/nvme0n1", Model: "nvme_card", Serial: "nvme_card"},
		"nvme0n1p300": {},
		"sr0":         {Type: "rom", Transport: "ata", Path: "/dev/sr0", Model: "QEMU DVD-ROM"},
		"cciss/c0d0":  {Type: "disk", Path: "/dev/cciss/c0d0"},
		"mmcblk0":     {Type: "disk", Transport: "mmc", Path: "/dev/mmcblk0"},
		"nvme0c0n1":   {}, // hidden
		"ram0":        {},
		"loop900":     {}, // no file
		"zram0":       {Type: "disk", Path: "/dev/zram0"},
	} {
		var got facts
		if i := slices.IndexFunc(devices, func(d Device) bool { return d.KName == name }); i >= 0 {
			d := devices[i]
			got = facts{Type: d.Type, Transport: d.Transport, Path: d.Path, Model: d.Model, Serial: d.Serial, Parents: d.Parents}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	root := find(t, devices, "sda1")
	if root.Label != "root disk" || root.PartLabel != "cloud root" || root.FSType != "ext4" || root.WWN != "0x5000" {
		t.Errorf("sda1: label %q, partition label %q, type %q, WWN %q", root.Label, root.PartLabel, root.FSType, root.WWN)
	}
	wantIDs := []string{"/dev/disk/by-id/google-persistent-disk-0", "/dev/disk/by-id/scsi-0Google_PersistentDisk_persistent-disk-0"}
	if diff := cmp.Diff(wantIDs, find(t, devices, "sda").ByID); diff != "" {
		t.Errorf("links of sda (-want +got):\n%s", diff)
	}
	if got := find(t, devices, "nvme0n1p2").MountPoints; !slices.Equal(got, []string{"/home"}) {
		t.Errorf("btrfs with a made-up device number is mounted on %q, want /home", got)
	}
}

// An empty file behind a loop device makes an empty device, but not none.
func TestLoopOverEmptyFile(t *testing.T) {
	m := readMachine(t, "testdata/composed.txtar")
	m.tree["sys/devices/virtual/block/loop900/loop/backing_file"] = &fstest.MapFile{Data: []byte("/srv/empty.img\n")}
	if d := find(t, m.discover(t), "loop900"); d.BackingFile != "/srv/empty.img" || d.Size != 0 {
		t.Errorf("loop900 is %+v, want an empty one over /srv/empty.img", *d)
	}
}

func TestSwapOfMappedDevice(t *testing.T) {
	m := readMachine(t, "testdata/composed.txtar")
	m.tree["proc/swaps"] = &fstest.MapFile{Data: []byte("Filename Type Size Used Priority\n/dev/dm-2 partition 1 0 -2\n")}
	if got := find(t, m.discover(t), "dm-2").MountPoints; !slices.Equal(got, []string{Swap}) {
		t.Errorf("mount points %q, want %q", got, Swap)
	}
}

// The newest mount point of a device may be hidden by another device's mount.
func TestUsageIsOfTheDeviceItself(t *testing.T) {
	m := readMachine(t, "testdata/composed.txtar")
	m.tree["proc/self/mountinfo"] = &fstest.MapFile{Data: []byte(`22 1 8:1 / / rw - ext4 /dev/sda1 rw
23 22 252:0 / /a rw - ext4 /dev/dm-0 rw
24 22 252:0 / /b rw - ext4 /dev/dm-0 rw
25 24 252:3 / /b rw - ext4 /dev/dm-3 rw
`)}
	roots := m.roots(t)
	var asked []string
	var mu atomic.Int32
	roots.Usage = func(_ context.Context, point string) (Usage, error) {
		for !mu.CompareAndSwap(0, 1) {
		}
		defer mu.Store(0)
		asked = append(asked, point)
		return Usage{Size: 1}, nil
	}
	if _, err := Discover(t.Context(), roots); err != nil {
		t.Fatal(err)
	}
	slices.Sort(asked)
	if want := []string{"/", "/a", "/b"}; !slices.Equal(asked, want) {
		t.Errorf("asked about %q, want %q: /b once, for the device on top", asked, want)
	}
}

// vanishing is a sysfs from which things go while they are read.
type vanishing struct {
	fs.FS
	after   int64 // reads that succeed
	reads   *atomic.Int64
	matches string // names that vanish
}

func (v vanishing) Open(name string) (fs.File, error) {
	if strings.Contains(name, v.matches) && v.reads.Add(1) > v.after {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return v.FS.Open(name)
}

func (v vanishing) ReadLink(name string) (string, error) { return fs.ReadLink(v.FS, name) }

func (v vanishing) Lstat(name string) (fs.FileInfo, error) { return fs.Lstat(v.FS, name) }

// A device that goes at any moment of the discovery takes nothing else along.
func TestVanishingDevice(t *testing.T) {
	m := readMachine(t, "testdata/composed.txtar")
	all := m.discover(t)
	for _, victim := range []string{"nvme0n1", "md0", "dm-1", "sda"} {
		complete := false
		for after := int64(0); !complete && after < 1000; after++ {
			roots := m.roots(t)
			v := vanishing{FS: roots.Sys, after: after, reads: new(atomic.Int64), matches: victim}
			roots.Sys = v
			devices, err := Discover(t.Context(), roots)
			if err != nil {
				t.Fatalf("%s after %d reads: %v", victim, after, err)
			}
			for _, d := range all {
				related := strings.Contains(d.KName, victim) || slices.Contains(d.Parents, victim)
				if !related && !slices.ContainsFunc(devices, func(o Device) bool { return o.KName == d.KName }) {
					t.Fatalf("%s went after %d reads and took %s along", victim, after, d.KName)
				}
			}
			var b bytes.Buffer
			if err := errors.Join(Table(&b, devices, 80), JSON(&b, devices, true)); err != nil {
				t.Fatal(err)
			}
			complete = v.reads.Load() <= after
		}
		if !complete {
			t.Errorf("%s: more than 1000 reads", victim)
		}
	}
}

func TestNoSysfs(t *testing.T) {
	if _, err := Discover(t.Context(), Roots{Sys: fstest.MapFS{}, Proc: fstest.MapFS{}, Udev: fstest.MapFS{}, Dev: fstest.MapFS{}}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v, want fs.ErrNotExist", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Discover(ctx, readMachine(t, "testdata/composed.txtar").roots(t)); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
}

// sysfs may name a holder that is also below the device, while a stack is rebuilt.
func TestTreeCutsLoops(t *testing.T) {
	devices := []Device{
		{KName: "sda", Holders: []string{"dm-0", "gone", "dm-0"}},
		{KName: "dm-0", Parents: []string{"sda"}, Holders: []string{"dm-1"}},
		{KName: "dm-1", Parents: []string{"dm-0"}, Holders: []string{"dm-0", "sda"}},
	}
	roots := Tree(devices)
	if len(roots) != 1 || len(roots[0].Children) != 1 || len(roots[0].Children[0].Children) != 1 || len(roots[0].Children[0].Children[0].Children) != 0 {
		t.Errorf("tree is %+v, want sda, dm-0, dm-1 below one another", roots)
	}
}

// A disk that hangs costs its own answer and the timeout, once.
func TestHangingDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		back := make(chan struct{}) // closed when the disk comes back
		var questions atomic.Int32
		a := newAsker(func(_ context.Context, about string) (string, error) {
			questions.Add(1)
			if about == "/dev/hangs" {
				<-back // as in the kernel: no signal ends it
			}
			return "answer", nil
		})
		if _, err := a.ask(t.Context(), "/dev/hangs"); !errors.Is(err, ErrHeld) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("first question: %v, want ErrHeld by the timeout", err)
		}
		if _, err := a.ask(t.Context(), "/dev/hangs"); !errors.Is(err, ErrHeld) || questions.Load() != 1 {
			t.Errorf("second question: %v after %d questions, want ErrHeld and no second one", err, questions.Load())
		}
		if got, err := a.ask(t.Context(), "/dev/well"); got != "answer" || err != nil {
			t.Errorf("another disk: %q, %v", got, err)
		}
		close(back)
		synctest.Wait()
		if got, err := a.ask(t.Context(), "/dev/hangs"); got != "answer" || err != nil {
			t.Errorf("after it came back: %q, %v", got, err)
		}
	})
}

// Whoever has an answer may ask again at once. It was seen to fail, within a
// few hundred questions, with the device let go after the answer was given.
func TestAskedAgain(t *testing.T) {
	a := newAsker(func(_ context.Context, about string) (string, error) { return about, nil })
	for i := range 20000 {
		if _, err := a.ask(t.Context(), "/dev/well"); err != nil {
			t.Fatalf("question %d: %v", i, err)
		}
	}
}

func TestHumanSize(t *testing.T) {
	for bytes, want := range map[uint64]string{
		0: "0B", 1: "1B", 1023: "1023B", 1024: "1K", 1535: "1.5K", 1536: "1.5K",
		1<<20 - 1: "1024K", 1 << 20: "1M", 57381888: "54.7M", 4000787030016: "3.6T",
		25 << 30: "25G", 1 << 60: "1E", 3 << 59: "1.5E", math.MaxUint64: "16E",
	} {
		if got := HumanSize(bytes); got != want {
			t.Errorf("HumanSize(%d) = %q, want %q", bytes, got, want)
		}
	}
}

func TestTableWidth(t *testing.T) {
	devices := []Device{
		{KName: "vdb", Name: "vdb", Major: 254, Minor: 16, Size: 1 << 30, Type: TypeDisk, Holders: []string{"dm-0"}, MountPoints: []string{"/var/lib/holdfast/stores/one"}},
		{KName: "dm-0", Name: "bad\x1b[2J\xff", Major: 252, Size: 1 << 20, Type: "crypt", Parents: []string{"vdb"}, MountPoints: []string{"/ä/öüß/äöüß/xyz", Swap}},
	}
	var b bytes.Buffer
	if err := Table(&b, devices, 64); err != nil {
		t.Fatal(err)
	}
	want := `
NAME             MAJ:MIN RM  SIZE RO TYPE  MOUNTPOINTS
vdb              254:16   0    1G  0 disk  /var/lib/holdfast/sto
│                                          res/one
└─bad\x1b[2J\xff 252:0    0    1M  0 crypt /ä/öüß/äöüß/xyz
                                           [SWAP]
`
	if diff := cmp.Diff(strings.TrimPrefix(want, "\n"), b.String()); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
}

func FuzzRecord(f *testing.F) {
	f.Add([]byte("S:disk/by-id/x\nE:ID_FS_TYPE=ext4\nE:ID_FS_LABEL_ENC=a\\x20b\nV:1\n"))
	f.Add([]byte("E:=\nE:A\nS:\n:\n\\x\n\\x2\nE:ID_FS_LABEL_ENC=\\x\\xg0\\x0"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := parseRecord(data)
		if _, ok := r.properties[""]; ok {
			t.Fatal("a property without a name")
		}
		lines := bytes.Count(data, []byte("\n")) + 1
		if len(r.links)+len(r.properties) > lines {
			t.Fatalf("%d items of %d lines", len(r.links)+len(r.properties), lines)
		}
		var d Device
		d.applyContent(r.properties)
		d.applyHardware(r.properties)
		if len(d.Label) > len(r.properties["ID_FS_LABEL_ENC"]) {
			t.Fatalf("label %q of %q", d.Label, r.properties["ID_FS_LABEL_ENC"])
		}
		var b bytes.Buffer
		d.MountPoints = []string{d.Label}
		if err := errors.Join(Table(&b, []Device{d}, 40), JSON(&b, []Device{d}, false)); err != nil {
			t.Fatal(err)
		}
		for _, c := range b.String() {
			if c < ' ' && c != '\n' {
				t.Fatalf("control character %q printed", c)
			}
		}
	})
}

func FuzzSwaps(f *testing.F) {
	f.Add([]byte("Filename Type\n/dev/dm-1 partition 1 0 -2\n/swap\\040file file\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if n, lines := len(parseSwaps(data)), bytes.Count(data, []byte("\n")); n > lines {
			t.Fatalf("%d swaps of %d lines", n, lines)
		}
	})
}

// TestGoogleName has the device name from wherever it can be had.
func TestGoogleName(t *testing.T) {
	page := []byte("\x00\x83\x00\x1c" + "\x01\x03\x00\x08\x60\x00\x00\x00\x00\x00\x00\x01" + "\x02\x00\x00\x0cside-disk-a\x00")
	for _, tc := range []struct {
		name string
		f    googleFacts
		want string
	}{
		{"a link", googleFacts{byID: []string{"/dev/disk/by-id/google-data-1", "/dev/disk/by-id/scsi-0Google_PersistentDisk_data-1"}, vendor: "Google", serialShort: "x"}, "data-1"},
		{"udev without Google's rules", googleFacts{vendor: "Google", model: "PersistentDisk", serialShort: "data-1"}, "data-1"},
		{"no udev", googleFacts{vendor: "Google", model: "PersistentDisk", designators: page}, "side-disk-a"},
		{"no designators", googleFacts{vendor: "Google", model: "PersistentDisk"}, ""},
		{"local SSD", googleFacts{name: "nvme0n3", model: "nvme_card"}, "local-nvme-ssd-2"},
		{"newer local SSD", googleFacts{name: "nvme1n1", model: "nvme_card1"}, "local-nvme-ssd-0"},
		{"persistent, not asked", googleFacts{name: "nvme1n1", model: "nvme_card-pd"}, ""},
		{"somebody else's", googleFacts{name: "sda", vendor: "ATA", serialShort: "S1"}, ""},
	} {
		if got := googleName(tc.f); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}

// TestGoogleMachine has persistent disks on NVMe and SCSI, one of which
// Google's udev rules did not see, a local SSD, and NVMe over two paths.
func TestGoogleMachine(t *testing.T) {
	devices := readMachine(t, "testdata/gce.txtar").discover(t)
	type facts struct {
		DiskName, Model, Serial, WWN, Transport, Scheduler, FSType, Label string
		Rotational                                                        bool
		ByID, Points                                                      []string
	}
	got := map[string]facts{}
	for _, d := range devices {
		got[d.KName] = facts{d.DiskName, d.Model, d.Serial, d.WWN, d.Transport, d.Scheduler, d.FSType, d.Label, d.Rotational, d.ByID, d.MountPoints}
	}
	const pd = "nvme.1ae0-6e766d655f636172642d7064-6e766d655f636172642d7064-00000001"
	want := map[string]facts{
		"nvme0n1": {
			DiskName: "a-boot", Model: "nvme_card-pd", Serial: "a-boot", WWN: pd, Transport: "nvme", Scheduler: "none",
			ByID: []string{"/dev/disk/by-id/google-a-boot", "/dev/disk/by-id/nvme-nvme_card-pd_nvme_card-pd"},
		},
		"nvme0n1p1":  {Transport: "nvme", Scheduler: "none", FSType: "ext4", ByID: []string{"/dev/disk/by-id/google-a-boot-part1"}, Points: []string{"/"}},
		"nvme0n1p15": {Transport: "nvme", Scheduler: "none", FSType: "vfat", Label: "UEFI", Points: []string{"/boot/efi"}},
		"sda": {
			DiskName: "a-data", Model: "PersistentDisk", Serial: "a-data", Scheduler: "mq-deadline", FSType: "ext4", Label: "hf-data",
			ByID: []string{"/dev/disk/by-id/google-a-data", "/dev/disk/by-id/scsi-0Google_PersistentDisk_a-data"}, Points: []string{"/srv/data"},
		},
		"sdb": {
			DiskName: "a-side", Model: "PersistentDisk", Serial: "a-side", Scheduler: "mq-deadline", Rotational: true,
			ByID: []string{"/dev/disk/by-id/scsi-0Google_PersistentDisk_a-side"},
		},
		"nvme1n2": {DiskName: "local-nvme-ssd-1", Model: "nvme_card", Serial: "nvme_card", Transport: "nvme", Scheduler: "none"},
		"nvme2n1": {Model: "Fabric Array", Serial: "FA-77", WWN: "eui.0025385b71b1e2c4", Transport: "nvme", Scheduler: "none"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("devices (-want +got):\n%s", diff)
	}
}

// A persistent disk on NVMe is asked once, and only where no link says it.
func TestGoogleNamespace(t *testing.T) {
	m := readMachine(t, "testdata/composed.txtar")
	m.tree["sys/devices/pci0000:00/0000:00:04.0/nvme/nvme0/nvme0n1/device/model"] = &fstest.MapFile{Data: []byte("nvme_card-pd\n")}
	roots := m.roots(t)
	var asked atomic.Int32
	roots.Identify = func(_ context.Context, path string) ([]byte, error) {
		asked.Add(1)
		b := make([]byte, identificationBytes)
		copy(b[identificationVendor:], `{"device_name":"data-1","disk_type":"PERSISTENT"}`)
		if path != "/dev/nvme0n1" {
			return nil, errors.ErrUnsupported
		}
		return b, nil
	}
	devices, err := Discover(t.Context(), roots)
	if err != nil {
		t.Fatal(err)
	}
	if got := find(t, devices, "nvme0n1").DiskName; got != "data-1" || asked.Load() != 1 {
		t.Errorf("name %q after %d questions, want data-1 after one", got, asked.Load())
	}
	if got := find(t, devices, "sda").DiskName; got != "persistent-disk-0" {
		t.Errorf("sda is %q, want persistent-disk-0", got)
	}
}

func FuzzGoogleName(f *testing.F) {
	f.Add([]byte("\x00\x83\x00\x10\x02\x00\x00\x0cside-disk-a\x00"))
	f.Add(append(make([]byte, identificationVendor), `{"device_name":"a/b"}`...))
	f.Fuzz(func(t *testing.T, b []byte) {
		padded := append(slices.Clone(b), make([]byte, identificationBytes)...)
		for _, name := range []string{vendorDesignator(b), namespaceName(b), namespaceName(padded)} {
			if strings.ContainsAny(name, "/ \n\x00") {
				t.Fatalf("name %q", name)
			}
		}
	})
}

func TestWWN(t *testing.T) {
	for wwid, want := range map[string]string{
		"naa.5000c500a1b2c3d4": "0x5000c500a1b2c3d4", "eui.0025385b71b1e2c4": "eui.0025385b71b1e2c4",
		"nvme.1ae0-6e766d65": "nvme.1ae0-6e766d65", "t10.ATA     QEMU HARDDISK": "", "": "",
	} {
		if got := wwn(wwid); got != want {
			t.Errorf("wwn(%q) = %q, want %q", wwid, got, want)
		}
	}
}
