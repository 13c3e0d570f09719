// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package vfstest

import (
	"io"
	"sync"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs"
)

// all is the limit of a call that is made in full.
const all = -1

// A wrapper is an FS that hands each call to around, which may make it (do),
// never or once, early or late, or of a write the first limit bytes only. inner
// is the file that is called, nil for calls of the FS.
type wrapper struct {
	inner  vfs.FS
	around func(op Op, inner vfs.File, do func(limit int) error) error

	mu    sync.Mutex
	files map[*wrappedFile]struct{} // open ones
}

var _ vfs.FS = (*wrapper)(nil)

func (w *wrapper) call(op Op, do func() error) error {
	return w.around(op, nil, func(int) error { return do() })
}

func (w *wrapper) open(kind Kind, name string, open func(string) (vfs.File, error)) (vfs.File, error) {
	var opened vfs.File
	err := w.call(Op{Kind: kind, Path: name}, func() (err error) {
		opened, err = open(name)
		return err
	})
	if err != nil {
		if opened != nil { // the call was made, and fails all the same
			_ = opened.Close() // err says more
		}
		return nil, err
	}
	f := &wrappedFile{w: w, inner: opened, path: name}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.files == nil {
		w.files = map[*wrappedFile]struct{}{}
	}
	w.files[f] = struct{}{}
	return f, nil
}

// Create implements vfs.FS.
func (w *wrapper) Create(name string) (vfs.File, error) {
	return w.open(Create, name, w.inner.Create)
}

// OpenReadWrite implements vfs.FS.
func (w *wrapper) OpenReadWrite(name string) (vfs.File, error) {
	return w.open(OpenReadWrite, name, w.inner.OpenReadWrite)
}

// Open implements vfs.FS.
func (w *wrapper) Open(name string) (vfs.File, error) { return w.open(Open, name, w.inner.Open) }

// Rename implements vfs.FS.
func (w *wrapper) Rename(oldname, newname string) error {
	return w.call(Op{Kind: Rename, Path: oldname, To: newname}, func() error {
		if err := w.inner.Rename(oldname, newname); err != nil {
			return err
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		for f := range w.files {
			if f.path == oldname {
				f.path = newname
			}
		}
		return nil
	})
}

// Remove implements vfs.FS.
func (w *wrapper) Remove(name string) error {
	return w.call(Op{Kind: Remove, Path: name}, func() error { return w.inner.Remove(name) })
}

// List implements vfs.FS.
func (w *wrapper) List(dir string) (names []string, err error) {
	err = w.call(Op{Kind: List, Path: dir}, func() (err error) {
		names, err = w.inner.List(dir)
		return err
	})
	return names, err
}

// SyncDir implements vfs.FS.
func (w *wrapper) SyncDir(dir string) error {
	return w.call(Op{Kind: SyncDir, Path: dir}, func() error { return w.inner.SyncDir(dir) })
}

// MkdirAll implements vfs.FS.
func (w *wrapper) MkdirAll(dir string) error {
	return w.call(Op{Kind: MkdirAll, Path: dir}, func() error { return w.inner.MkdirAll(dir) })
}

// Lock implements vfs.FS.
func (w *wrapper) Lock(name string) (io.Closer, error) {
	var lock io.Closer
	err := w.call(Op{Kind: Lock, Path: name}, func() (err error) {
		lock, err = w.inner.Lock(name)
		return err
	})
	if err != nil {
		if lock != nil {
			_ = lock.Close() // err says more
		}
		return nil, err
	}
	return lock, nil
}

type wrappedFile struct {
	w     *wrapper
	inner vfs.File
	path  string // guarded by w.mu
}

func (f *wrappedFile) call(op Op, do func(limit int) error) error {
	f.w.mu.Lock()
	op.Path = f.path
	f.w.mu.Unlock()
	return f.w.around(op, f.inner, do)
}

func (f *wrappedFile) ReadAt(p []byte, off int64) (n int, err error) {
	err = f.call(Op{Kind: Read, Off: off, Len: len(p)}, func(int) (err error) {
		n, err = f.inner.ReadAt(p, off)
		return err
	})
	return n, err
}

func (f *wrappedFile) WriteAt(p []byte, off int64) (n int, err error) {
	err = f.call(Op{Kind: Write, Off: off, Len: len(p)}, func(limit int) (err error) {
		if limit != all {
			p = p[:min(limit, len(p))]
		}
		n, err = f.inner.WriteAt(p, off)
		return err
	})
	return n, err
}

func (f *wrappedFile) Allocate(size int64) error {
	return f.call(Op{Kind: Allocate, Off: size}, func(int) error { return f.inner.Allocate(size) })
}

func (f *wrappedFile) SyncData() error {
	return f.call(Op{Kind: SyncData}, func(int) error { return f.inner.SyncData() })
}

func (f *wrappedFile) Size() (size int64, err error) {
	err = f.call(Op{Kind: Size}, func(int) (err error) {
		size, err = f.inner.Size()
		return err
	})
	return size, err
}

func (f *wrappedFile) Close() error {
	return f.call(Op{Kind: Close}, func(int) error {
		f.w.mu.Lock()
		delete(f.w.files, f)
		f.w.mu.Unlock()
		return f.inner.Close()
	})
}

// loseUnsynced passes the call on to a Mem further down.
func (f *wrappedFile) loseUnsynced() { loseUnsynced(f.inner) }

func loseUnsynced(f vfs.File) {
	if l, ok := f.(interface{ loseUnsynced() }); ok {
		l.loseUnsynced()
	}
}
