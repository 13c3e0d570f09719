// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package drill

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/mountinfo"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/drill/stall/stalltest"
)

// well is a disk that may be frozen: a row of TestGuard changes one thing of it.
func well() (Disk, facts) {
	d := Disk{Name: "data1", Path: "/srv/c/nodes/a/data1/store", Mountpoint: "/srv/c/nodes/a/data1", Device: "/dev/loop3", MajMin: "7:3"}
	return d, facts{
		directory: "/srv/c",
		table: mountinfo.Table{
			{ID: 1, Parent: 0, Major: 254, Minor: 0, Root: "/", Point: "/", Source: "/dev/vda"},
			{ID: 2, Parent: 1, Major: 7, Minor: 3, Root: "/", Point: "/srv/c/nodes/a/data1", Source: "/dev/loop3"},
			{ID: 3, Parent: 1, Major: 7, Minor: 4, Root: "/", Point: "/srv/c/nodes/a/side", Source: "/dev/loop4"},
		},
		backing: "/srv/c/disks/a-data1.img",
	}
}

func TestGuard(t *testing.T) {
	d, f := well()
	if err := guard(d, f); err != nil {
		t.Fatalf("the disk of a node: %v", err)
	}
	for _, tc := range []struct {
		name   string
		change func(d *Disk, f *facts)
		want   string
	}{
		{"unknown to its agent", func(d *Disk, _ *facts) { d.Mountpoint = "" }, "does not say"},
		{"a plain directory", func(d *Disk, f *facts) {
			d.Mountpoint, d.MajMin = "/", "254:0"
			f.table = f.table[:1]
		}, "root file system"},
		{"the root's device elsewhere", func(d *Disk, f *facts) {
			d.MajMin = "254:0"
			f.table[1].Major, f.table[1].Minor = 254, 0
		}, "root file system"},
		{"mounted anew since the agent looked", func(_ *Disk, f *facts) { f.table[1].Minor = 9 }, "the agent sees"},
		{"unmounted since", func(_ *Disk, f *facts) { f.table = f.table[:1] }, "the agent sees"},
		{"hidden by another mount", func(_ *Disk, f *facts) {
			f.table = append(f.table, mountinfo.Mount{ID: 9, Parent: 2, Major: 7, Minor: 9, Root: "/", Point: "/srv/c/nodes/a/data1"})
		}, "the agent sees"},
		{"a real disk", func(_ *Disk, f *facts) { f.backing = "" }, "no loop device"},
		{"another's image", func(_ *Disk, f *facts) { f.backing = "/srv/other/disks/a-data1.img" }, "not below the cluster's directory"},
		{"a directory that only begins alike", func(_ *Disk, f *facts) { f.backing = "/srv/c2/disks/a-data1.img" }, "not below the cluster's directory"},
		{"mounted outside", func(d *Disk, f *facts) {
			d.Path, d.Mountpoint, f.table[1].Point = "/mnt/store", "/mnt", "/mnt"
		}, "not below the cluster's directory"},
		{"mounted twice", func(_ *Disk, f *facts) {
			f.table = append(f.table, mountinfo.Mount{ID: 9, Parent: 1, Major: 7, Minor: 3, Root: "/store", Point: "/mnt"})
		}, "mounted at /mnt, too"},
		{"a mount on it", func(_ *Disk, f *facts) {
			f.table = append(f.table, mountinfo.Mount{ID: 9, Parent: 2, Major: 7, Minor: 5, Root: "/", Point: "/srv/c/nodes/a/data1/more"})
		}, "something is mounted on it at /srv/c/nodes/a/data1/more"},
		{"a disk on the disk", func(_ *Disk, f *facts) { f.nested = []string{"/srv/c/nodes/a/data1/x.img"} }, "is a disk itself"},
		{"a shell in it", func(_ *Disk, f *facts) { f.users = []user{{17, "bash", "/srv/c/nodes/a/data1"}} }, "process 17 (bash) uses /srv/c/nodes/a/data1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d, f := well()
			f.table = slices.Clone(f.table)
			tc.change(&d, &f)
			if err := guard(d, f); !errors.Is(err, ErrUnsafe) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want ErrUnsafe: %s", err, tc.want)
			}
		})
	}
}

// On a real disk: what this machine says of it, and who uses it.
func TestLook(t *testing.T) {
	dir := t.TempDir()
	point := dir + "/disk"
	stalltest.Mount(t, dir+"/disk.img", point)
	m, err := mountinfo.MountOf(point)
	if err != nil {
		t.Fatal(err)
	}
	c := &Cluster{Directory: dir}
	d := Disk{Name: "data1", Path: point, Mountpoint: point, Device: m.Device(), MajMin: m.MajMin()}
	open, err := openDisk(c, Node{Name: "a"}, d)
	if err != nil {
		t.Fatal(err)
	}
	_ = open.Close()

	// This very process uses it.
	file, err := os.Create(point + "/output")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := openDisk(c, Node{Name: "a"}, d); err == nil || !strings.Contains(err.Error(), point+"/output") {
		t.Errorf("a file is open on it: %v", err)
	}
	node := Node{Name: "a", pids: []int{os.Getpid()}}
	if open, err := openDisk(c, node, d); err != nil {
		t.Errorf("the node's own process has it open: %v", err)
	} else {
		_ = open.Close()
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	c.Directory = dir + "/elsewhere"
	if _, err := openDisk(c, Node{Name: "a"}, d); err == nil {
		t.Error("the disk of another cluster is opened")
	}
}
