// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package vfs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const dirMode = 0o700

// MkdirAll implements FS. A directory that is there already is taken as durable.
func (fsys OS) MkdirAll(dir string) error {
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		return nil
	}
	parent := filepath.Dir(dir)
	if err := fsys.MkdirAll(parent); err != nil {
		return err
	}
	if err := os.Mkdir(dir, dirMode); err != nil {
		// Somebody else may have made it just now. Anything but a directory stays an error.
		if info, serr := os.Stat(dir); serr != nil || !info.IsDir() {
			return err
		}
	}
	return fsys.SyncDir(parent)
}

// Lock implements FS with flock(2), which belongs to the open file: a second
// Lock fails in the same process too, and a child that inherited nothing holds
// nothing.
func (OS) Lock(name string) (io.Closer, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, fileMode)
	if err != nil {
		return nil, err
	}
	err = (osFile{f}).control(func(fd int) error { return unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) })
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, errors.Join(fmt.Errorf("%s: %w", name, lockedBy(f)), f.Close())
	}
	if err != nil {
		return nil, errors.Join(&os.PathError{Op: "flock", Path: name, Err: err}, f.Close())
	}
	return f, nil
}
