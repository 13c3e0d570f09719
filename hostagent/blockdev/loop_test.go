// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package blockdev

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestLoops compares with lsblk on devices of every kind that a test can
// make: a file system with a label and several mounts, one that is read-only,
// a partitioned one that is partly mounted and partly swapped to.
func TestLoops(t *testing.T) {
	l := makeLoops(t)
	devices := compareHost(t, Host(), lsblk)

	data := find(t, devices, l.data)
	want := []string{l.dir("bound there"), l.dir("data")}
	if !slices.Equal(data.MountPoints, want) {
		t.Errorf("mount points %q, want %q", data.MountPoints, want)
	}
	if data.FSType != "ext4" || data.Label != "data one" || len(data.UUID) != 36 || data.FSVersion == "" {
		t.Errorf("%s is %q %q, label %q, UUID %q; want an ext4 with the label %q", l.data, data.FSType, data.FSVersion, data.Label, data.UUID, "data one")
	}
	if want := l.dir("data.img"); data.BackingFile != want {
		t.Errorf("%s is backed by %q, want %q", l.data, data.BackingFile, want)
	}
	if u := data.Usage; u == nil || u.Size == 0 || u.Used >= u.Size || u.Available > u.Size-u.Used {
		t.Errorf("usage of %s is %+v", l.data, data.Usage)
	}
	if d := find(t, devices, l.readOnly); !d.ReadOnly || d.FSType != "ext4" || d.Size != 16<<20 {
		t.Errorf("%s: read-only %v, %q, %d bytes; want a read-only ext4 of 16 MiB", l.readOnly, d.ReadOnly, d.FSType, d.Size)
	}
	disk := find(t, devices, l.disk)
	if disk.PartTableType != "dos" || disk.PartTableUUID != "1234abcd" || len(disk.Partitions) != 3 {
		t.Errorf("%s: partition table %q %q, partitions %v; want dos 1234abcd with three", l.disk, disk.PartTableType, disk.PartTableUUID, disk.Partitions)
	}
	for i, want := range []Device{
		{FSType: "ext4", Label: "part-1", MountPoints: []string{l.dir("part")}, PartType: "0x83", PartFlags: "0x80"},
		{FSType: "swap", MountPoints: []string{Swap}, PartType: "0x82"},
		{PartType: "0x83"},
	} {
		got := find(t, devices, disk.KName+"p"+string(rune('1'+i)))
		if got.Type != TypePart || got.FSType != want.FSType || got.Label != want.Label || got.PartType != want.PartType ||
			got.PartFlags != want.PartFlags || !slices.Equal(got.MountPoints, want.MountPoints) || !slices.Equal(got.Parents, []string{disk.KName}) {
			t.Errorf("partition %d is %+v\nwant %+v", i+1, *got, want)
		}
	}
	if l.xfs != "" {
		if d := find(t, devices, l.xfs); d.FSType != "xfs" || d.Label != "side" {
			t.Errorf("%s is %q with label %q, want xfs and side", l.xfs, d.FSType, d.Label)
		}
	}
}

// TestUdev compares with an lsblk that has a udev database: it runs in a
// mount namespace of its own, with one in /run that was made up for the test.
func TestUdev(t *testing.T) {
	l := makeLoops(t)
	db := t.TempDir()
	devices, err := Discover(t.Context(), Host())
	if err != nil {
		t.Fatal(err)
	}
	for name, record := range map[string]string{
		l.data: `S:disk/by-id/virtio-data
S:disk/by-path/pci-0000:00:05.0
S:disk/by-uuid/1d1b0ab8-8ae8-4b5a-9a4b-1f9c7a5d7f4e
I:100
E:ID_FS_TYPE=ext4
E:ID_FS_VERSION=1.0
E:ID_FS_LABEL=data_one
E:ID_FS_LABEL_ENC=data\x20one
E:ID_FS_UUID=1d1b0ab8-8ae8-4b5a-9a4b-1f9c7a5d7f4e
E:ID_FS_UUID_ENC=1d1b0ab8-8ae8-4b5a-9a4b-1f9c7a5d7f4e
E:ID_MODEL=Some_Model
E:ID_MODEL_ENC=Some\x20\x20Model\x20\x20\x20
E:ID_SERIAL=Some_Model_S1
E:ID_SERIAL_SHORT=S1
E:ID_WWN=0x5000c500a1b2c3d4
E:ID_WWN_WITH_EXTENSION=0x5000c500a1b2c3d40001
G:systemd
Q:systemd
V:1
`,
		l.readOnly: "I:101\nE:ID_SERIAL=only_this\nE:ID_MODEL=Plain_Model\nE:ID_WWN=0x6001\n",
		l.disk:     "E:ID_PART_TABLE_TYPE=gpt\nE:ID_PART_TABLE_UUID=5b4f9a9e-0000-4b4b-8d40-2f1d6f1f4f21\nE:ID_SCSI_SERIAL=scsi\nE:ID_SERIAL_SHORT=short\nE:SCSI_IDENT_SERIAL=ident\n",
		l.disk + "p1": `E:ID_PART_ENTRY_NAME=a\x20\x2fb
E:ID_PART_ENTRY_TYPE=0fc63daf-8483-4772-8e79-3d69d8477de4
E:ID_PART_ENTRY_UUID=7a0eb2d8-e3e5-4ea5-a9b4-6f2f1bb1b9bb
E:ID_PART_ENTRY_FLAGS=0x4
garbage without a colon
E:no assignment
E:=value
`,
	} {
		d := find(t, devices, name)
		if err := os.MkdirAll(filepath.Join(db, "data"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(db, "data", "b"+d.MajMin()), []byte(record), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// Devices that have no entry are asked by nobody here, as by lsblk.
	roots := Host()
	roots.Udev = os.DirFS(db)
	roots.Probe = nil
	devices = compareHost(t, roots, func(t *testing.T, args ...string) []byte {
		t.Helper()
		script := `mount -t tmpfs none /run && mkdir /run/udev && cp -R "$0"/. /run/udev && exec lsblk "$@"`
		return output(t, exec.CommandContext(t.Context(), "unshare", append([]string{"-m", "sh", "-c", script, db}, args...)...))
	})
	if d := find(t, devices, l.data); !slices.Equal(d.ByID, []string{"/dev/disk/by-id/virtio-data"}) || !slices.Equal(d.ByPath, []string{"/dev/disk/by-path/pci-0000:00:05.0"}) {
		t.Errorf("links of %s: %v, %v", l.data, d.ByID, d.ByPath)
	}
}

// loops are the devices of a test, by kernel name.
type loops struct {
	root                 string
	data, readOnly, disk string
	xfs                  string // empty without mkfs.xfs
}

func (l loops) dir(name string) string { return filepath.Join(l.root, name) }

func makeLoops(t *testing.T) loops {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("loop devices need root")
	}
	for _, tool := range []string{"lsblk", "losetup", "mkfs.ext4", "mkswap", "partx", "mount", "unshare"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip("needs ", tool)
		}
	}
	l := loops{root: t.TempDir()}
	image := func(name string, size int64) string {
		file := l.dir(name)
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(file, size); err != nil {
			t.Fatal(err)
		}
		return file
	}
	data, readOnly, disk := image("data.img", 64<<20), image("ro.img", 16<<20), image("disk.img", 100<<20)
	run(t, "mkfs.ext4", "-q", "-L", "data one", data)
	run(t, "mkfs.ext4", "-q", readOnly)
	writeMBR(t, disk, []partition{{0x83, 2048, 65536}, {0x82, 67584, 40960}, {0x83, 108544, 8192}})

	l.data = attach(t, data)
	l.readOnly = attach(t, readOnly, "--read-only")
	l.disk = attach(t, disk, "--partscan")
	part := "/dev/" + l.disk + "p"
	if _, err := os.Stat(part + "1"); err != nil {
		// The kernel knows no DOS partition tables; tell it.
		run(t, "partx", "--add", "/dev/"+l.disk)
		t.Cleanup(func() { try(t, "partx", "--delete", "/dev/"+l.disk) })
	}
	mount(t, "/dev/"+l.data, l.dir("data"))
	mount(t, l.dir("data"), l.dir("bound there"), "--bind")
	run(t, "mkfs.ext4", "-q", "-L", "part-1", part+"1")
	mount(t, part+"1", l.dir("part"))
	run(t, "mkswap", part+"2")
	if err := exec.CommandContext(t.Context(), "swapon", part+"2").Run(); err != nil {
		t.Fatal("swapon: ", err)
	}
	t.Cleanup(func() { try(t, "swapoff", part+"2") })
	if _, err := exec.LookPath("mkfs.xfs"); err == nil {
		file := image("xfs.img", 400<<20)
		run(t, "mkfs.xfs", "-q", "-L", "side", file)
		l.xfs = attach(t, file)
	}
	return l
}

// attach makes a loop device that goes when the test ends, however it ends.
func attach(t *testing.T, file string, options ...string) (kname string) {
	t.Helper()
	out := run(t, "losetup", append(options, "--find", "--show", file)...)
	device := strings.TrimSpace(out)
	t.Cleanup(func() { try(t, "losetup", "--detach", device) })
	return filepath.Base(device)
}

func mount(t *testing.T, what, where string, options ...string) {
	t.Helper()
	if err := os.MkdirAll(where, 0o755); err != nil {
		t.Fatal(err)
	}
	run(t, "mount", append(options, what, where)...)
	t.Cleanup(func() {
		// A file system that somebody is just looking into is busy for a moment.
		for range 100 {
			if err := unix.Unmount(where, 0); !errors.Is(err, unix.EBUSY) {
				break
			}
			<-time.After(10 * time.Millisecond)
		}
		if err := unix.Unmount(where, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			t.Errorf("unmounting %s: %v", where, err)
		}
	})
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	var stderr strings.Builder
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, stderr.String())
	}
	return string(out)
}

// try cleans up: the test's own context is done by then.
func try(t *testing.T, name string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if out, err := exec.CommandContext(ctx, name, args...).CombinedOutput(); err != nil {
		t.Errorf("%s %v: %v\n%s", name, args, err, out)
	}
}

type partition struct {
	kind          byte
	start, length uint32 // in sectors
}

// writeMBR writes a DOS partition table, the first partition active.
func writeMBR(t *testing.T, file string, partitions []partition) {
	t.Helper()
	var b [512]byte
	binary.LittleEndian.PutUint32(b[440:], 0x1234abcd)
	b[446] = 0x80
	for i, p := range partitions {
		e := b[446+16*i:]
		e[4] = p.kind
		binary.LittleEndian.PutUint32(e[8:], p.start)
		binary.LittleEndian.PutUint32(e[12:], p.length)
	}
	b[510], b[511] = 0x55, 0xaa
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(b[:]); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func find(t *testing.T, devices []Device, kname string) *Device {
	t.Helper()
	for i := range devices {
		if devices[i].KName == kname {
			return &devices[i]
		}
	}
	t.Fatalf("%s is not among %d devices", kname, len(devices))
	return nil
}
