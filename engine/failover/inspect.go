// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package failover

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs"
)

// Settled tells whether a read of the entry is answered by the primary: false
// while it is in memory, because the primary does not have it yet, and while the
// primary is not open. It is for whoever wants to know what the primary's disk
// says. It waits for no disk.
func (l *Log) Settled(index uint64) bool {
	l.mu.Lock()
	below := l.mu.view.empty() || index < l.mu.view.base
	l.mu.Unlock()
	if !below || !l.primaryM.TryRLock() {
		return false
	}
	defer l.primaryM.RUnlock()
	return l.primary != nil
}

// Armed returns the side directories that may hold operations which the log in
// dir does not have, as recorded beside it: none after a clean stop, and none
// where no failover log ever ran. It changes nothing, and is for tools that look
// at the log of a stopped engine: while one has it, the error is vfs.ErrLocked.
func Armed(dir string) ([]string, error) {
	if err := quiet(filepath.Join(dir, lockName)); err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(dir, recordName)); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		return nil, err
	}
	rec, err := readRecord(vfs.OS{}, dir)
	return rec.Armed, err
}

// quiet says whether somebody holds a lock, and makes no file.
func quiet(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB) // until the file is closed
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = fmt.Errorf("%s: %w", path, vfs.ErrLocked)
	}
	return errors.Join(err, f.Close())
}
