// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package failover

import (
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs"
)

// A rootFS is a machine's disks: paths begin at a directory of its own. A
// clone has the same paths and nothing else in common, so that what a dead
// process still writes never reaches its successor.
type rootFS struct {
	root  string
	power *sync.RWMutex // held alone while the machine is being cloned
	os    vfs.OS
}

func newRootFS(t testing.TB, power *sync.RWMutex) *rootFS {
	return &rootFS{root: t.TempDir(), power: power}
}

// clone copies everything as it is now: a kill at this moment. (A power cut
// that loses what was not synced is for the tests over a crashable file system.)
func (f *rootFS) clone(t testing.TB) *rootFS {
	t.Helper()
	to := newRootFS(t, f.power)
	if err := os.CopyFS(to.root, os.DirFS(f.root)); err != nil {
		t.Fatal(err)
	}
	return to
}

func (f *rootFS) at(name string) string { return filepath.Join(f.root, name) }

// change runs one change of the disks, not while they are being cloned.
func (f *rootFS) change(do func() error) error {
	f.power.RLock()
	defer f.power.RUnlock()
	return do()
}

func (f *rootFS) Create(name string) (file vfs.File, err error) {
	err = f.change(func() error { file, err = f.os.Create(f.at(name)); return err })
	return rootFile{file, f}, err
}

func (f *rootFS) OpenReadWrite(name string) (vfs.File, error) {
	file, err := f.os.OpenReadWrite(f.at(name))
	return rootFile{file, f}, err
}

func (f *rootFS) Rename(from, to string) error {
	return f.change(func() error { return f.os.Rename(f.at(from), f.at(to)) })
}

func (f *rootFS) Remove(name string) error {
	return f.change(func() error { return f.os.Remove(f.at(name)) })
}

func (f *rootFS) Open(name string) (vfs.File, error)  { return f.os.Open(f.at(name)) }
func (f *rootFS) List(dir string) ([]string, error)   { return f.os.List(f.at(dir)) }
func (f *rootFS) SyncDir(dir string) error            { return f.os.SyncDir(f.at(dir)) }
func (f *rootFS) MkdirAll(dir string) error           { return f.os.MkdirAll(f.at(dir)) }
func (f *rootFS) Lock(name string) (io.Closer, error) { return f.os.Lock(f.at(name)) }

type rootFile struct {
	vfs.File
	fs *rootFS
}

func (f rootFile) WriteAt(p []byte, off int64) (n int, err error) {
	err = f.fs.change(func() error { n, err = f.File.WriteAt(p, off); return err })
	return n, err
}
