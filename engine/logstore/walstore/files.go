// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package walstore

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft-wal/types"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs"
)

const (
	spareName    = "spare"
	spareTmpName = "spare.tmp"

	// firstSegmentSize is the length of segments made before the first spare is
	// there: zero-filled in a few milliseconds, and enough for the seconds that
	// the spare takes.
	firstSegmentSize = 4 << 20
)

// files is the directory of one log as raft-wal sees it (types.VFS). raft-wal
// calls it from one goroutine at a time, except that readers of old segments
// are opened and files deleted wherever the last reader happens to finish.
type files struct {
	fs     vfs.FS
	dir    string
	keeper *keeper
	log    hclog.Logger
}

var _ types.VFS = (*files)(nil)

// path is where a file of the log lies.
func (f *files) path(name string) string { return filepath.Join(f.dir, name) }

// ListDir implements types.VFS.
func (f *files) ListDir(dir string) ([]string, error) {
	names, err := f.fs.List(dir)
	if err != nil {
		return nil, err
	}
	// The segments alone: raft-wal deletes what it finds and does not know.
	return slices.DeleteFunc(names, func(n string) bool { return !strings.HasSuffix(n, ".wal") }), nil
}

// Create implements types.VFS. size is the segment's limit as the filer has
// chosen it. The name is durable on return.
//
// A file of that name can be there already: the attempt before failed after it
// had made it, and raft-wal numbers the segment from what it committed. Nothing
// was ever acknowledged in it.
func (f *files) Create(dir, name string, size uint64) (types.WritableFile, error) {
	path := filepath.Join(dir, name)
	if f.keeper.takeSpare(int64(size), path) {
		file, err := f.fs.OpenReadWrite(path)
		if err != nil {
			return nil, err
		}
		if err := f.fs.SyncDir(dir); err != nil {
			return nil, errors.Join(err, file.Close())
		}
		f.keeper.prepare()
		return segmentFile{file}, nil
	}
	file, err := f.fs.Create(path)
	if err != nil {
		return nil, err
	}
	if err := f.fill(file, int64(size)); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	if err := f.fs.SyncDir(dir); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	f.keeper.prepare()
	return segmentFile{file}, nil
}

// fill readies a segment that is not made from the spare. A short one is
// written with zeros at once. A long one means that appends outrun the zero
// filling: writing every byte twice would only slow them more, so its blocks
// are reserved and no more.
func (f *files) fill(file vfs.File, size int64) error {
	if err := file.Allocate(size); err != nil {
		return err
	}
	if size <= firstSegmentSize {
		if _, err := writeZeros(file, 0, size); err != nil {
			return err
		}
	}
	return file.SyncData()
}

// Delete implements types.VFS. The file goes away in the background: removing
// 64 MiB can take longer than an append, and raft-wal does it under its write
// lock. wal-meta.db no longer lists the segment, so one that a crash brings
// back is removed on open.
func (f *files) Delete(dir, name string) error {
	f.keeper.remove(filepath.Join(dir, name))
	return nil
}

// OpenReader implements types.VFS.
func (f *files) OpenReader(dir, name string) (types.ReadableFile, error) {
	return f.fs.Open(filepath.Join(dir, name))
}

// OpenWriter implements types.VFS.
func (f *files) OpenWriter(dir, name string) (types.WritableFile, error) {
	file, err := f.fs.OpenReadWrite(filepath.Join(dir, name))
	if err != nil {
		return nil, err
	}
	return segmentFile{file}, nil
}

// segmentFile is a segment that is being appended to.
type segmentFile struct{ vfs.File }

// Sync implements types.WritableFile. The name is durable since Create.
func (s segmentFile) Sync() error { return s.SyncData() }

// zeros is never written to.
var zeros [1 << 20]byte

// writeZeros writes zeros over [from, to) and returns how many it wrote.
func writeZeros(w vfs.File, from, to int64) (int64, error) {
	done := int64(0)
	for from+done < to {
		n, err := w.WriteAt(zeros[:min(to-from-done, int64(len(zeros)))], from+done)
		done += int64(n)
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// removeIfExists removes a file that may not be there.
func removeIfExists(fsys vfs.FS, path string) error {
	if err := fsys.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing left-over file: %w", err)
	}
	return nil
}
