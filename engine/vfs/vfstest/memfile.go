// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package vfstest

import (
	"bytes"
	"io"
	"io/fs"
	"syscall"
)

// memFile is an open file of a Mem.
type memFile struct {
	m        *Mem
	node     *inode
	name     string
	writable bool
	closed   bool
}

// usableLocked fails a call that the file is not open for.
func (f *memFile) usableLocked(op string, write bool, off int64) error {
	switch {
	case f.closed:
		return pathError(op, f.name, fs.ErrClosed)
	case write && !f.writable:
		return pathError(op, f.name, syscall.EBADF)
	case off < 0:
		return pathError(op, f.name, syscall.EINVAL)
	}
	return nil
}

func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.usableLocked("read", false, off); err != nil {
		return 0, err
	}
	if off >= int64(len(f.node.now)) && len(p) > 0 {
		return 0, io.EOF
	}
	n := copy(p, f.node.now[min(off, int64(len(f.node.now))):])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.usableLocked("write", true, off); err != nil {
		return 0, err
	}
	if len(p) > 0 {
		f.node.change(contentChange{off: off, data: bytes.Clone(p)})
	}
	return len(p), nil
}

func (f *memFile) Allocate(size int64) error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.usableLocked("fallocate", true, size); err != nil {
		return err
	}
	if size > int64(len(f.node.now)) {
		f.node.change(contentChange{off: size})
	}
	return nil
}

func (f *memFile) Size() (int64, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.usableLocked("stat", false, 0); err != nil {
		return 0, err
	}
	return int64(len(f.node.now)), nil
}

func (f *memFile) SyncData() error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.usableLocked("fdatasync", false, 0); err != nil {
		return err
	}
	for _, c := range f.node.changes {
		f.node.durable = c.apply(f.node.durable)
	}
	f.node.changes = nil
	return nil
}

func (f *memFile) Close() error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.usableLocked("close", false, 0); err != nil {
		return err
	}
	f.closed = true
	return nil
}

// loseUnsynced makes what is written and not synced read as written and never
// be durable.
func (f *memFile) loseUnsynced() {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	f.node.changes = nil
}
