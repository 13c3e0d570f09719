// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package logs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs"
)

// fileOutput writes one group's file and puts it aside when it is full.
type fileOutput struct {
	fsys vfs.FS
	File
	name string // without directory and ending

	file   vfs.File // nil where none is open
	size   int64
	again  bool      // the path is to be opened again
	last   time.Time // in the name of the last file that was put aside
	buffer []byte    // of the last write, to be used again
}

func newFileOutput(fsys vfs.FS, f File) *fileOutput {
	return &fileOutput{fsys: fsys, File: f, name: strings.TrimSuffix(filepath.Base(f.path()), ending)}
}

const (
	ending = ".log"
	// asideFormat names the files that were put aside; their order by name is
	// the order of their end.
	asideFormat = "20060102T150405.000000Z"
)

// open implements output. A file that is there is continued.
func (o *fileOutput) open(context.Context) error {
	if o.file != nil {
		return nil
	}
	if err := o.fsys.MkdirAll(o.Dir); err != nil {
		return fmt.Errorf("make the directory of the log: %w", err)
	}
	f, err := o.fsys.OpenReadWrite(o.path())
	if errors.Is(err, fs.ErrNotExist) {
		f, err = o.create()
	}
	if err != nil {
		return fmt.Errorf("open the log: %w", err)
	}
	size, err := f.Size()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	o.file, o.size = f, size
	return nil
}

func (o *fileOutput) create() (vfs.File, error) {
	f, err := o.fsys.Create(o.path())
	if err != nil {
		return nil, err
	}
	// Files of vfs are their owner's alone, which is what most groups want.
	if c, ok := f.(interface{ Chmod(os.FileMode) error }); ok && o.Permissions != 0o600 {
		if err := c.Chmod(o.Permissions); err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	return f, nil
}

// write implements output.
func (o *fileOutput) write(ctx context.Context, batch []record) (int, error) {
	if o.again {
		o.again = false
		if err := o.close(); err != nil {
			return 0, err
		}
	}
	if err := o.open(ctx); err != nil {
		return 0, err
	}
	// Somebody may have made it shorter; a hole of zeros would be left.
	if size, err := o.file.Size(); err == nil && size < o.size {
		o.size = size
	}
	done, n := 0, 0
	o.buffer = o.buffer[:0]
	put := func() error {
		if _, err := o.file.WriteAt(o.buffer, o.size); err != nil {
			return err // the next try writes at the same place
		}
		o.size += int64(len(o.buffer))
		o.buffer = o.buffer[:0]
		done += n
		n = 0
		return nil
	}
	for _, r := range batch {
		full := o.size + int64(len(o.buffer))
		if o.MaxFileSize > 0 && full > 0 && full+int64(len(r.line)) > o.MaxFileSize {
			if err := put(); err != nil {
				return done, err
			}
			if err := o.rotate(ctx); err != nil {
				return done, err
			}
		}
		o.buffer = append(o.buffer, r.line...)
		n++
	}
	err := put()
	return done, err
}

// rotate puts the file aside and begins a new one.
func (o *fileOutput) rotate(ctx context.Context) error {
	if err := o.close(); err != nil {
		return err
	}
	files, err := o.asides()
	if err != nil {
		return err
	}
	// Later than all others, also after a clock that was set back.
	at := time.Now().UTC().Truncate(time.Microsecond)
	if len(files) > 0 {
		last, _ := o.putAside(files[len(files)-1])
		o.last = later(o.last, last)
	}
	o.last = later(at, o.last.Add(time.Microsecond))
	aside := o.name + "." + o.last.Format(asideFormat) + ending
	if err := o.fsys.Rename(o.path(), filepath.Join(o.Dir, aside)); err != nil {
		return fmt.Errorf("put the log aside: %w", err)
	}
	if err := o.open(ctx); err != nil {
		return err
	}
	return o.prune(append(files, aside))
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// asides lists the files of the group that were put aside, the oldest first.
func (o *fileOutput) asides() ([]string, error) {
	names, err := o.fsys.List(o.Dir) // sorted
	return slices.DeleteFunc(names, func(name string) bool {
		_, ok := o.putAside(name)
		return !ok
	}), err
}

// putAside is when a file was put aside, if its name is one that rotate gives in
// this group.
func (o *fileOutput) putAside(name string) (time.Time, bool) {
	stem, ok := strings.CutSuffix(name, ending)
	stem, mine := strings.CutPrefix(stem, o.name+".")
	at, err := time.Parse(asideFormat, stem)
	return at, ok && mine && err == nil
}

// prune removes the oldest of the files while the group is too large.
func (o *fileOutput) prune(files []string) error {
	if o.MaxGroupSize == 0 {
		return nil
	}
	total := o.MaxFileSize // of the file that was begun
	sizes := make([]int64, len(files))
	for i, name := range files {
		var err error
		if sizes[i], err = o.sizeOf(name); err != nil {
			return err
		}
		total += sizes[i]
	}
	for i := 0; i < len(files) && total > o.MaxGroupSize; i++ {
		if err := o.fsys.Remove(filepath.Join(o.Dir, files[i])); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove an old log: %w", err)
		}
		total -= sizes[i]
	}
	return nil
}

func (o *fileOutput) sizeOf(name string) (int64, error) {
	f, err := o.fsys.Open(filepath.Join(o.Dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	size, err := f.Size()
	return size, errors.Join(err, f.Close())
}

// reopen implements output: the next write opens the path again.
func (o *fileOutput) reopen() { o.again = true }

// close implements output.
func (o *fileOutput) close() error {
	if o.file == nil {
		return nil
	}
	err := o.file.Close()
	o.file = nil
	return err
}
