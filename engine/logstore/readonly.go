// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package logstore

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/logstore/boltstore"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/logstore/walstore"
)

// ReadOnly is the log of a stopped engine, looked at. No engine starts on it
// before Close, and nothing on disk is made, changed or removed.
//
// What a crash left half done stays so: the log ends with the last batch that was
// written whole, as it will after the next start. What is only on a side disk is
// not in it (package failover).
type ReadOnly struct {
	reader
	backend Backend
	lock    *os.File // nil where no engine ever opened the directory
}

// reader is a backend that is only read.
type reader interface {
	// FirstIndex, LastIndex and GetLog are those of Store.
	FirstIndex() (uint64, error)
	LastIndex() (uint64, error)
	GetLog(index uint64, log *raft.Log) error
	io.Closer
}

// OpenReadOnly opens the log in dir, one partition's directory, for reading. It
// returns ErrNoLog where there is none and ErrLocked while an engine has it open.
func OpenReadOnly(dir string) (_ *ReadOnly, err error) {
	b, found, err := Detect(dir)
	if err != nil {
		return nil, fmt.Errorf("opening raft log: %w", err)
	}
	if !found {
		return nil, fmt.Errorf("%w in %s", ErrNoLog, dir)
	}
	held, err := lockShared(dir)
	if err != nil {
		return nil, fmt.Errorf("opening raft log: %w", err)
	}
	r := &ReadOnly{backend: b, lock: held}
	if b == BoltDB {
		r.reader, err = boltstore.OpenReadOnly(dir)
	} else {
		r.reader, err = walstore.OpenReadOnly(filepath.Join(dir, walstore.DirName))
	}
	if errors.Is(err, bbolt.ErrTimeout) {
		err = fmt.Errorf("%w: a process has its database open: %w", ErrLocked, err)
	}
	if err != nil {
		err = fmt.Errorf("opening raft log %s (%s): %w", dir, b, err)
		if held != nil {
			err = errors.Join(err, held.Close())
		}
		return nil, err
	}
	return r, nil
}

// lockShared keeps engines away from dir while others may look too.
func lockShared(dir string) (*os.File, error) {
	path := filepath.Join(dir, lockName)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // a copy of a log has no lock, and gets none
	}
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	if err == nil {
		return f, nil
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = fmt.Errorf("%w: %s is held by an engine", ErrLocked, path)
	}
	return nil, errors.Join(err, f.Close())
}

// Backend names the implementation.
func (r *ReadOnly) Backend() Backend { return r.backend }

// Scan checks the log against the checksums that its backend keeps, where it
// keeps any (wal): see walstore.ReadOnly.Scan.
func (r *ReadOnly) Scan() (damage []error, torn int64, err error) {
	if w, ok := r.reader.(*walstore.ReadOnly); ok {
		return w.Scan()
	}
	return nil, 0, nil
}

// Close implements io.Closer.
func (r *ReadOnly) Close() error {
	err := r.reader.Close()
	if r.lock != nil {
		err = errors.Join(err, r.lock.Close())
	}
	return err
}
