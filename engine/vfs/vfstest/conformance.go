// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package vfstest

import (
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs"
)

// Conformance holds an implementation of vfs.FS against the contract, as far as
// it shows without a power cut. dir exists and is empty.
func Conformance(t *testing.T, fsys vfs.FS, dir string) {
	for name, test := range map[string]func(conformance){
		"files":       conformance.files,
		"names":       conformance.names,
		"directories": conformance.directories,
		"locks":       conformance.locks,
	} {
		t.Run(name, func(t *testing.T) {
			sub := filepath.Join(dir, name)
			if err := fsys.MkdirAll(sub); err != nil {
				t.Fatal(err)
			}
			test(conformance{t, fsys, sub})
		})
	}
}

type conformance struct {
	*testing.T
	fs  vfs.FS
	dir string
}

func (c conformance) path(elem ...string) string {
	return filepath.Join(append([]string{c.dir}, elem...)...)
}

func (c conformance) ok(errs ...error) {
	c.Helper()
	if err := errors.Join(errs...); err != nil {
		c.Fatal(err)
	}
}

func (c conformance) is(err, want error) {
	c.Helper()
	if !errors.Is(err, want) {
		c.Errorf("got the error %v, want %v", err, want)
	}
}

func (c conformance) create(name, content string) {
	c.Helper()
	f, err := c.fs.Create(c.path(name))
	c.ok(err)
	_, err = f.WriteAt([]byte(content), 0)
	c.ok(err, f.SyncData(), f.Close(), c.fs.SyncDir(c.dir))
}

func (c conformance) content(name, want string) {
	c.Helper()
	f, err := c.fs.Open(c.path(name))
	c.ok(err)
	size, err := f.Size()
	c.ok(err)
	b := make([]byte, size)
	_, err = f.ReadAt(b, 0)
	c.ok(err, f.Close())
	if string(b) != want {
		c.Errorf("%s is %q, want %q", name, b, want)
	}
}

func (c conformance) list(want ...string) {
	c.Helper()
	got, err := c.fs.List(c.dir)
	c.ok(err)
	if diff := cmp.Diff(append([]string{}, want...), append([]string{}, got...)); diff != "" {
		c.Errorf("names (-want +got):\n%s", diff)
	}
}

func (c conformance) files() {
	f, err := c.fs.Create(c.path("a"))
	c.ok(err)
	_, err = f.WriteAt([]byte("xyz"), 5)
	c.ok(err)
	c.ok(f.Allocate(10), f.Allocate(2))
	size, err := f.Size()
	c.ok(err, f.SyncData())
	if size != 10 {
		c.Errorf("the file is %d bytes long, want 10", size)
	}
	c.content("a", "\x00\x00\x00\x00\x00xyz\x00\x00")

	b := make([]byte, 4)
	if n, err := f.ReadAt(b, 8); n != 2 || !errors.Is(err, io.EOF) {
		c.Errorf("reading over the end: %d, %v", n, err)
	}
	if n, err := f.ReadAt(b, 10); n != 0 || !errors.Is(err, io.EOF) {
		c.Errorf("reading behind the end: %d, %v", n, err)
	}
	if n, err := f.ReadAt(b, 4); n != 4 || err != nil {
		c.Errorf("reading within: %d, %v", n, err)
	}

	reader, err := c.fs.Open(c.path("a"))
	c.ok(err)
	if _, err := reader.WriteAt(b, 0); err == nil {
		c.Error("a file that was opened for reading was written")
	}
	_, err = f.WriteAt([]byte("new"), 0)
	c.ok(err)
	_, err = reader.ReadAt(b[:3], 0)
	c.ok(err)
	if string(b[:3]) != "new" {
		c.Errorf("another handle reads %q", b[:3])
	}
	c.ok(reader.Close(), f.Close())

	_, err = f.ReadAt(b, 0)
	c.is(err, fs.ErrClosed)
	_, err = f.WriteAt(b, 0)
	c.is(err, fs.ErrClosed)
	_, err = f.Size()
	c.is(err, fs.ErrClosed)
	c.is(f.SyncData(), fs.ErrClosed)
	c.is(f.Allocate(1), fs.ErrClosed)
	c.is(f.Close(), fs.ErrClosed)
}

func (c conformance) names() {
	c.list()
	c.create("b", "1")
	c.create("a", "2")
	c.list("a", "b")
	_, err := c.fs.Create(c.path("a"))
	c.is(err, fs.ErrExist)
	c.content("a", "2")

	f, err := c.fs.OpenReadWrite(c.path("b"))
	c.ok(err)
	c.ok(c.fs.Rename(c.path("a"), c.path("b")))
	c.list("b")
	c.content("b", "2")
	_, err = f.WriteAt([]byte("3"), 0) // the file that b was: it lives on without a name
	c.ok(err, f.Close())
	c.content("b", "2")
	c.is(c.fs.Rename(c.path("a"), c.path("c")), fs.ErrNotExist)

	c.ok(c.fs.Remove(c.path("b")))
	c.list()
	c.is(c.fs.Remove(c.path("b")), fs.ErrNotExist)
	_, err = c.fs.Open(c.path("b"))
	c.is(err, fs.ErrNotExist)
	_, err = c.fs.OpenReadWrite(c.path("b"))
	c.is(err, fs.ErrNotExist)
}

func (c conformance) directories() {
	deep := c.path("x", "y", "z")
	_, err := c.fs.Create(filepath.Join(deep, "a"))
	c.is(err, fs.ErrNotExist)
	_, err = c.fs.List(deep)
	c.is(err, fs.ErrNotExist)
	c.is(c.fs.SyncDir(deep), fs.ErrNotExist)
	c.ok(c.fs.MkdirAll(deep), c.fs.MkdirAll(deep))
	c.list() // directories are not listed
	f, err := c.fs.Create(filepath.Join(deep, "a"))
	c.ok(err)
	c.ok(f.Close(), c.fs.SyncDir(deep))
	if err := c.fs.MkdirAll(filepath.Join(deep, "a")); err == nil {
		c.Error("a directory was made where there is a file")
	}
	if err := c.fs.MkdirAll(filepath.Join(deep, "a", "b")); err == nil {
		c.Error("a directory was made below a file")
	}
}

func (c conformance) locks() {
	lock, err := c.fs.Lock(c.path("LOCK"))
	c.ok(err)
	_, err = c.fs.Lock(c.path("LOCK"))
	c.is(err, vfs.ErrLocked)
	other, err := c.fs.Lock(c.path("OTHER"))
	c.ok(err)
	c.ok(other.Close(), lock.Close())
	c.is(lock.Close(), fs.ErrClosed)
	lock, err = c.fs.Lock(c.path("LOCK"))
	c.ok(err)
	c.ok(lock.Close())
	c.list("LOCK", "OTHER")
}
