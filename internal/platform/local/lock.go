// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

//go:build linux

package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
)

// lockWait is how long one run waits for another in the same directory.
const lockWait = 30 * time.Second

var errBusy = errors.New("another run works on it")

// lock keeps other runs out of the directory until the function it returns is
// called or this process ends: os.ErrNotExist where there is no directory. The
// function takes the lock and an empty directory away where they hold no cluster.
func (l *Local) lock(ctx context.Context, say say) (unlock func() error, err error) {
	deadline := time.Now().Add(lockWait)
	told := false
	for {
		f, holder, err := tryLock(l.lockPath())
		if err != nil {
			return nil, l.failed("lock "+l.dir, err)
		}
		if f != nil {
			return func() error { return errors.Join(l.tidy(), f.Close()) }, nil
		}
		if !told {
			told = true
			say("waiting for another run in %s (pid %s)", l.dir, holder)
		}
		if time.Now().After(deadline) {
			return nil, &platform.Error{What: "cannot work on " + l.dir, Err: fmt.Errorf("%w: pid %s, for %s and more", errBusy, holder, lockWait),
				Next: "Wait until it ends, or end it, and try again."}
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// tidy removes the lock and a directory that is empty without it where no cluster came
// to be, or the one that was has gone. The caller holds the lock.
func (l *Local) tidy() error {
	if _, err := os.Lstat(l.recordPath()); !errors.Is(err, os.ErrNotExist) {
		return nil // a cluster, or what cannot be told
	}
	if err := errors.Join(remove(l.recordPath()+".new"), remove(l.lockPath())); err != nil {
		return err
	}
	err := remove(l.dir)
	if errors.Is(err, os.ErrPermission) { // it was made for us where we may make none: it stays, empty
		return nil
	}
	if err != nil {
		return err
	}
	return syncDir(filepath.Dir(l.dir))
}

// tryLock returns the locked file, or nil and who holds it.
func tryLock(path string) (*os.File, string, error) {
	for {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return nil, "", err
		}
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			b, _ := io.ReadAll(io.LimitReader(f, 32)) // for the message only
			_ = f.Close()                             // nothing was written
			if !errors.Is(err, unix.EWOULDBLOCK) {
				return nil, "", fmt.Errorf("lock %s: %w", path, err)
			}
			return nil, strings.TrimSpace(string(b)), nil
		}
		// A run may remove the file that it holds: what we locked may be
		// another file than the one that is there by now.
		if same(f, path) {
			err = f.Truncate(0)
			if err == nil {
				_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
			}
			if err != nil {
				_ = f.Close() // the error before it is the one to tell
				return nil, "", err
			}
			return f, "", nil
		}
		_ = f.Close() // it is nobody's lock any more
	}
}

func same(f *os.File, path string) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := os.Stat(path)
	return err == nil && os.SameFile(a, b)
}
