// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package vfstest

import (
	"os"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Cached is how many pages of a file are in the page cache, and how many it has. The test is skipped
// where the file is on a file system that is nothing but page cache.
func Cached(t *testing.T, path string) (cached, all int) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }() // nothing was written
	var stat unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &stat); err != nil {
		t.Fatal(err)
	}
	if stat.Type == unix.TMPFS_MAGIC {
		t.Skip("a file of tmpfs is nowhere but in the page cache")
	}
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	b, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Munmap(b) }() // it was mapped
	pages := make([]byte, (len(b)+os.Getpagesize()-1)/os.Getpagesize())
	//nolint:gosec // x/sys has no mincore
	if _, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), uintptr(unsafe.Pointer(&pages[0]))); errno != 0 {
		t.Fatal(errno)
	}
	for _, p := range pages {
		cached += int(p & 1)
	}
	return cached, len(pages)
}
