// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package vfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// DropCache drops from the page cache what it has of the files in dir and below, but for what is
// dirty. Nothing else changes: it may run beside whoever reads and writes them, who read
// from the disk what they need again. It may hang for as long as the disk does.
func DropCache(dir string) error {
	var all []error
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			err = dropFile(path)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // a segment may be removed meanwhile
			all = append(all, err)
		}
		return nil
	})
	return errors.Join(append(all, err)...)
}

func dropFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	err = osFile{f}.control(func(fd int) error { return unix.Fadvise(fd, 0, 0, unix.FADV_DONTNEED) })
	if err != nil {
		err = fmt.Errorf("fadvise %s: %w", path, err)
	}
	return errors.Join(err, f.Close())
}
