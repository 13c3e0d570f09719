// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

//go:build linux

package world

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"

	"github.com/holdfastdb/terraform-provider-holdfast/test/gcefake/emulator"
)

// Files are the disks of one project, sparse.
type Files struct{ dir string }

// Files makes the place for a project's disks: two projects have disks of the same ID.
func (w *World) Files() (Files, error) {
	dir, err := os.MkdirTemp(w.Dir, "project-")
	return Files{dir}, err
}

// Path is the file of a disk.
func (f Files) Path(d emulator.Disk) string {
	return filepath.Join(f.dir, "disk-"+strconv.FormatUint(d.ID, 10))
}

// Aside is the path of something else that belongs to the project's disks.
func (f Files) Aside(name string) string { return filepath.Join(f.dir, name) }

// Create makes a blank disk.
func (f Files) Create(d emulator.Disk) error {
	file, err := os.OpenFile(f.Path(d), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(file.Truncate(d.SizeGB<<30), file.Close())
}

// Grow makes a disk as large as it says.
func (f Files) Grow(d emulator.Disk) error { return os.Truncate(f.Path(d), d.SizeGB<<30) }

// Delete removes a disk, or a directory that is one.
func (f Files) Delete(d emulator.Disk) error { return os.RemoveAll(f.Path(d)) }

// Close removes all of them.
func (f Files) Close() error { return os.RemoveAll(f.dir) }
