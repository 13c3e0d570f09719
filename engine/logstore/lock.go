// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package logstore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// lockName is the file that keeps a second process away from a log. bbolt
// locks its own files, but waits for ever (raft-wal sets no timeout).
const lockName = "LOCK"

// lock takes the lock of dir, or fails at once with ErrLocked. The kernel
// releases it when the process is gone, which a process held by a stalled disk
// is not.
func lock(dir string) (*os.File, error) {
	path := filepath.Join(dir, lockName)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		return f, nil
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = fmt.Errorf("%w: %s is held; stop the other engine (or wait for it, if a stalled disk holds it) and start again", ErrLocked, path)
	}
	return nil, errors.Join(err, f.Close())
}
