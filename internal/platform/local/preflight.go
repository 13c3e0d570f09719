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

var errSpace = errors.New("too little space is left")

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
	return l.checkSpace(int64(len(next.Nodes)-made) * minFree)
}

// checkSpace looks at the file system that the directory is on, or will be.
func (l *Local) checkSpace(need int64) error {
	dir := l.dir
	for {
		if _, err := os.Stat(dir); err == nil || dir == "/" {
			break
		}
		dir = filepath.Dir(dir)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return l.failed("look at the space in "+dir, err)
	}
	if free := int64(st.Bavail) * st.Bsize; free < need { //nolint:gosec // a disk's size
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
			return nil, &platform.Error{What: fmt.Sprintf("%q cannot be a node's name", n.Name), Next: "Use letters, digits and hyphens, at most 63."}
		}
	}
	mode := modePlain
	switch {
	case l.cfg.Root == nil && os.Geteuid() == 0, l.cfg.Root != nil && *l.cfg.Root:
		mode = modeRoot
	}
	next, err := merge(rec, c, mode)
	if err != nil {
		return nil, err
	}
	if err := assign(next, l.networks(), l.portsFree); err != nil {
		return nil, err
	}
	return next, nil
}
