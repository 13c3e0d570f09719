// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs"
)

// LockName is the lock file's name in a store's directory.
const LockName = "holdfast.lock"

const tmpName = FileName + ".tmp"

// write replaces the identity file. A crash leaves the old one or the new
// one, and perhaps the temporary file, which the next write takes over.
func write(dir string, id Identity) error {
	data, err := encode(id)
	if err != nil {
		return err
	}
	tmp := filepath.Join(dir, tmpName)
	if err := writeSynced(tmp, data); err != nil {
		return err
	}
	if err := os.Rename(tmp, filepath.Join(dir, FileName)); err != nil {
		return err
	}
	return vfs.OS{}.SyncDir(dir)
}

func writeSynced(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// mkdirAll makes dir and the parents that are missing, and syncs the
// directory that each new name is in.
func mkdirAll(dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if err := mkdirAll(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return vfs.OS{}.SyncDir(parent)
}

// Lock keeps a second engine out of a store. It ends with Close or with the
// process, however that ends.
type Lock struct{ f *os.File }

// Open checks the identity as Check does and locks the store.
func Open(dir string, want Identity) (Identity, *Lock, error) {
	id, err := Check(dir, want)
	if err != nil {
		return Identity{}, nil, err
	}
	path := filepath.Join(dir, LockName)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return Identity{}, nil, fmt.Errorf("locking the store: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close() // the error to tell is the lock's
		if errors.Is(err, unix.EWOULDBLOCK) {
			return Identity{}, nil, fmt.Errorf("%s: %w: stop that one first", dir, ErrLocked)
		}
		return Identity{}, nil, fmt.Errorf("locking %s: %w", path, err)
	}
	return id, &Lock{f: f}, nil
}

// Close lets the store go.
func (l *Lock) Close() error { return l.f.Close() }
