// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package vfs

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// lockedBy is ErrLocked with the process that holds the flock of f, where the
// kernel says: for the person who is to look for it.
func lockedBy(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return ErrLocked
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return ErrLocked
	}
	locks, err := os.Open("/proc/locks")
	if err != nil {
		return ErrLocked
	}
	pid := findHolder(locks, st.Ino)
	_ = locks.Close() // was open for reading only
	if pid == 0 {
		return ErrLocked
	}
	return fmt.Errorf("%w: process %d", ErrLocked, pid)
}

// findHolder reads /proc/locks and returns the process that holds a flock on
// the inode, 0 where none does that can be named. Devices are not compared: a file
// system such as btrfs shows another number here than stat does.
//
//	2: FLOCK  ADVISORY  WRITE 4711 08:01:42 0 EOF
func findHolder(locks io.Reader, inode uint64) int {
	lines := bufio.NewScanner(locks)
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 6 || f[1] != "FLOCK" { // a waiter has an arrow there
			continue
		}
		at := f[5][strings.LastIndexByte(f[5], ':')+1:]
		if n, err := strconv.ParseUint(at, 10, 64); err != nil || n != inode {
			continue
		}
		if pid, err := strconv.Atoi(f[4]); err == nil && pid > 0 {
			return pid
		}
	}
	return 0
}
