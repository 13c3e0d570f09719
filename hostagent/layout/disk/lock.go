// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

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

// deviceMax is how long a step waits for a device that somebody else has locked. udev does that
// while it looks at what a tool has just written (systemd's BLOCK_DEVICE_LOCKING), on a
// slow machine for seconds.
const deviceMax = 30 * time.Second

// lockDevice takes a device for one tool, until f is closed.
func lockDevice(ctx context.Context, f *os.File) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for give := time.Now().Add(deviceMax); ; {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, unix.EWOULDBLOCK):
			return fmt.Errorf("locking %s: %w", f.Name(), err)
		case time.Now().After(give):
			return fmt.Errorf("%w: %s has been locked for %s; lslocks names who does it", ErrBusy, f.Name(), deviceMax)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("waiting for the lock on %s: %w", f.Name(), context.Cause(ctx))
		}
	}
}
