// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

//go:build linux

package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
)

// minFree is what the real disk must have left for each node in bytes: a log's
// first segments, a journal and a snapshot. The images are sparse.
const minFree = 512 << 20

var (
	errSpace  = errors.New("too little space is left")
	errNoExec = errors.New("its file system is mounted noexec")
)

// Preflight implements platform.Platform.
func (l *Local) Preflight(_ context.Context, c platform.Cluster) error {
	rec, err := l.look()
	if err != nil {
		return err
	}
	if rec != nil && rec.Destroying {
		rec = nil // Ensure ends that first
	}
	if err := checkBinary(c.Binary); err != nil {
		return err
	}
	next, err := l.prepare(rec, c)
	if err != nil {
		return err
	}
	if next.Mode == modeRoot {
		for _, d := range append([]platform.Disk{c.SideDisk}, c.Stores...) {
			if _, err := tool("mkfs." + d.FileSystem); err != nil {
				return &platform.Error{What: "disks of " + d.FileSystem + " cannot be made", Err: err,
					Next: "Install the Debian package of mkfs." + d.FileSystem + " (e2fsprogs, xfsprogs), or choose another file system."}
			}
		}
	}
	made := 0
	for _, n := range next.Nodes {
		if n.Made {
			made++
		}
	}
	return l.checkFileSystem(int64(len(next.Nodes)-made) * minFree)
}

// checkFileSystem looks at the file system that the directory is on, or will be.
func (l *Local) checkFileSystem(need int64) error {
	const elsewhere = "Set local.directory to a directory on another disk, or mount this one otherwise; nothing was changed."
	dir := l.dir
	for {
		if _, err := os.Stat(dir); err == nil || dir == "/" {
			break
		}
		dir = filepath.Dir(dir)
	}
	if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
		return &platform.Error{What: "nothing can be made in " + dir, Err: err, Next: elsewhere}
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return l.failed("look at the file system of "+dir, err)
	}
	if st.Flags&unix.ST_NOEXEC != 0 {
		return &platform.Error{What: "the nodes' binary cannot be run from " + l.dir, Err: errNoExec, Next: elsewhere}
	}
	if free := int64(st.Bavail) * st.Bsize; free < need {
		return &platform.Error{What: "the disk below " + l.dir + " is too full",
			Err:  fmt.Errorf("%w: %d MiB, needed are %d MiB", errSpace, free>>20, need>>20),
			Next: "Free some, or set local.directory to a directory on another disk."}
	}
	return nil
}

// prepare returns the record that c asks for, every node with an address whose
// ports are free or ours. It changes nothing.
func (l *Local) prepare(rec *record, c platform.Cluster) (*record, error) {
	for _, n := range c.Nodes {
		if !validName(n.Name) {
			return nil, &platform.Error{What: fmt.Sprintf("%q cannot be a node's name", n.Name), Err: errName, Next: "Use others."}
		}
	}
	for i, d := range append([]platform.Disk{c.SideDisk}, c.Stores...) {
		if err := diskRecord(d).check(); err != nil {
			return nil, &platform.Error{What: fmt.Sprintf("disk %d of a node cannot be made (0 is the side disk)", i), Err: err, Next: "Use a size above zero, and ext4 or xfs."}
		}
	}
	for _, port := range []int{c.Ports.Server, c.Ports.HTTP} {
		if port < 1 || port > 65535 {
			return nil, &platform.Error{What: "the nodes cannot listen", Err: fmt.Errorf("%d is not a port", port), Next: "Use numbers from 1 to 65535."}
		}
	}
	mode := modePlain
	if l.cfg.Root == nil && mayMount() || l.cfg.Root != nil && *l.cfg.Root {
		mode = modeRoot
	}
	next, err := merge(rec, c, mode)
	if err != nil {
		return nil, err
	}
	return assign(next, l.networks(), l.portsFree)
}

// mayMount reports whether this process may attach and mount loop devices: root, and
// not in a container that keeps it from that.
func mayMount() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData // 32 capabilities each
	if err := unix.Capget(&header, &caps[0]); err != nil || caps[0].Effective&(1<<unix.CAP_SYS_ADMIN) == 0 {
		return false
	}
	ctl, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return false
	}
	return ctl.Close() == nil
}
