// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Package scratch gives a program directories that are found and removed when it is killed.
//
// Whose a directory is, the lock on a file in it says. The kernel takes the lock from a program that ends, however
// it ends: a directory whose lock is to be had is nobody's. The file gets its name when it is locked, not
// before, so nobody meets a directory that is just being made and takes it for one that was left.
//
//	<temporary files>/
//	  <prefix><random>/
//	    lock           held as long as the program has the directory
//	    ...            the program's
package scratch

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Of the file that is locked.
const (
	lockName = "lock"
	newLock  = "lock.new"
)

// Kind is one kind of directories. Its methods may be called from several goroutines, and from several programs at once.
type Kind struct {
	// Prefix begins their names, in the directory for temporary files.
	Prefix string
	// Release, where it is not nil, ends what belongs to a directory and lies outside of it. It is called before
	// the directory is removed, and again where that failed.
	Release func(dir string) error
}

// Dir is a directory that this program has.
type Dir struct {
	Path string
	kind Kind
	lock *os.File
}

// Make makes a directory, whose path leads through no symbolic link. A program that is killed while it does may
// leave an empty one.
func (k Kind) Make() (*Dir, error) {
	place, err := filepath.EvalSymlinks(os.TempDir())
	if err != nil {
		return nil, err
	}
	path, err := os.MkdirTemp(place, k.Prefix)
	if err != nil {
		return nil, err
	}
	d := &Dir{Path: path, kind: k}
	if d.lock, err = lockNew(path); err != nil {
		return nil, errors.Join(fmt.Errorf("locking %s: %w", path, err), os.RemoveAll(path))
	}
	return d, nil
}

func lockNew(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, newLock), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, lockName))
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Remove removes the directory, with what belongs to it. What could not be removed, the next Sweep finds.
func (d *Dir) Remove() error {
	return errors.Join(d.kind.remove(d.Path), d.lock.Close())
}

// remove takes a directory away whose lock is held. The lock goes last: with it, what cannot be removed now is found again.
func (k Kind) remove(dir string) error {
	if k.Release != nil {
		if err := k.Release(dir); err != nil {
			return err
		}
	}
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if e.Name() != lockName {
			err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
		}
	}
	if err != nil {
		return err
	}
	return os.RemoveAll(dir)
}

// Sweep removes what programs of this user left that were killed.
func (k Kind) Sweep() error {
	place, err := filepath.EvalSymlinks(os.TempDir())
	if err != nil {
		return err
	}
	dirs, err := filepath.Glob(filepath.Join(place, k.Prefix+"*"))
	for _, dir := range dirs {
		held, lockErr := lockLeft(dir)
		if lockErr != nil {
			continue // its program lives, it is just being made, another sweeps it, or it is not ours
		}
		err = errors.Join(err, k.remove(dir), held.Close())
	}
	if err != nil {
		return fmt.Errorf("removing what an earlier run left: %w", err)
	}
	return nil
}

// lockLeft takes the lock of a directory that is nobody's.
func lockLeft(dir string) (*os.File, error) {
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return nil, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || st.Uid != uint32(os.Geteuid()) {
		return nil, os.ErrPermission
	}
	path := filepath.Join(dir, lockName)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		_, err = os.Stat(path) // who held it meanwhile may have removed all
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
