// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// dirPrefix begins the name of every machine's directory in the directory for
// temporary files.
const dirPrefix = "holdfast-vm-"

// lockName is the file in it that its process holds a lock on. The kernel
// takes the lock from a process that ends, however it ends: a directory whose
// lock is to be had is nobody's.
const lockName = "lock"

// lockFile waits for the lock on a file, which it makes. Closing gives it back.
func lockFile(ctx context.Context, path string) (*os.File, error) {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		f, err := tryLock(path)
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return f, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for the lock on %s: %w", path, context.Cause(ctx))
		}
	}
}

func tryLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	return f, nil
}

// claim makes the directory of a machine, locked.
func claim() (dir string, lock *os.File, err error) {
	if dir, err = os.MkdirTemp("", dirPrefix); err != nil {
		return "", nil, err
	}
	if lock, err = tryLock(filepath.Join(dir, lockName)); err != nil {
		_ = os.RemoveAll(dir)
		return "", nil, err
	}
	return dir, lock, nil
}

// sweep removes what killed tests left: their directories, and a QEMU that
// works in one, should there be any. A directory without a lock file is just
// being made, or it is not ours.
func sweep() error {
	dirs, err := filepath.Glob(filepath.Join(os.TempDir(), dirPrefix+"*"))
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		path := filepath.Join(dir, lockName)
		if _, err := os.Stat(path); err != nil {
			continue
		}
		lock, err := tryLock(path)
		if err != nil {
			continue // its process is alive, or it is another user's
		}
		err = errors.Join(killUsers(dir), os.RemoveAll(dir), lock.Close())
		if err != nil {
			return fmt.Errorf("removing what an earlier test left in %s: %w", dir, err)
		}
	}
	return nil
}

// killUsers ends each QEMU whose command line has files of the directory. A
// process is held by a descriptor before its command line is read, so that it
// is no other by the time of the signal.
func killUsers(dir string) error {
	found, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return err
	}
	for _, proc := range found {
		pid, err := strconv.Atoi(filepath.Base(proc))
		if err != nil {
			continue
		}
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			continue // ended meanwhile
		}
		line, err := os.ReadFile(filepath.Join(proc, "cmdline"))
		if err == nil && filepath.Base(first(line)) == program && strings.Contains(string(line), dir+"/") {
			err = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
		} else {
			err = nil
		}
		_ = unix.Close(fd)
		if err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("ending QEMU %d: %w", pid, err)
		}
	}
	return nil
}

func first(line []byte) string {
	word, _, _ := bytes.Cut(line, []byte{0})
	return string(word)
}
