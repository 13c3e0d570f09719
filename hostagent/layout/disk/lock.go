// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// LockName is the lock file's name in the state directory.
const LockName = "disk.lock"

// ErrBusy is returned while another run is at work on the disks, or a tool
// that a killed run had started.
var ErrBusy = errors.New("another run is at work on the disks of this machine")

// lock takes the machine's disks for one run. The lock belongs to the open
// file: tools that are handed it hold it too, until the last one has ended.
func lock(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("locking the disks: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, LockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking the disks: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		pid, _ := os.ReadFile(f.Name()) // only for the message
		_ = f.Close()                   // the error to tell is the lock's
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w: %s is held, process %s took it; wait until it is done", ErrBusy, f.Name(), bytes.TrimSpace(pid))
		}
		return nil, fmt.Errorf("locking %s: %w", f.Name(), err)
	}
	// For the message above; nobody relies on it.
	if err := errors.Join(f.Truncate(0), writeAt(f, strconv.Itoa(os.Getpid())+"\n")); err != nil {
		return nil, errors.Join(fmt.Errorf("locking %s: %w", f.Name(), err), f.Close())
	}
	return f, nil
}

func writeAt(f *os.File, s string) error {
	_, err := f.WriteAt([]byte(s), 0)
	return err
}
