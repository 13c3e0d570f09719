// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package vfstest

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"syscall"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs"
)

// Mem is a disk in memory that keeps what is durable apart from what is
// written. It promises as little as POSIX does: a synced file is durable, its
// name is not before SyncDir; names in a directory become durable out of order,
// but a rename is one step; sectors of a file become durable out of order, but
// are never torn. Directories are durable at once, as vfs.FS.MkdirAll says.
// Safe for concurrent use.
type Mem struct {
	mu    sync.Mutex
	dirs  map[string]*dir
	locks map[string]*memLock
}

var _ vfs.FS = (*Mem)(nil)

// dir is a directory. Invariant: now is durable with changes made to it in order.
type dir struct {
	now, durable map[string]*inode
	changes      []entryChange // since the last SyncDir
}

// entryChange is a create (put), a remove (drop) or a rename (both).
type entryChange struct {
	drop, put string
	node      *inode
}

func (c entryChange) apply(names map[string]*inode) {
	if c.drop != "" {
		delete(names, c.drop)
	}
	if c.put != "" {
		names[c.put] = c.node
	}
}

func (d *dir) change(c entryChange) {
	c.apply(d.now)
	d.changes = append(d.changes, c)
}

// inode is a file's content. Invariant: now is durable with changes made to it
// in order, but for what loseUnsynced has dropped.
type inode struct {
	now, durable []byte
	changes      []contentChange // since the last SyncData
}

// contentChange writes data at off, or (data nil) makes the file off bytes long.
type contentChange struct {
	off  int64
	data []byte
}

func (c contentChange) end() int64 { return c.off + int64(len(c.data)) }

func (c contentChange) apply(b []byte) []byte {
	b = grow(b, c.end())
	copy(b[c.off:], c.data)
	return b
}

func grow(b []byte, size int64) []byte {
	if n := int(size) - len(b); n > 0 {
		return append(b, make([]byte, n)...)
	}
	return b
}

func (n *inode) change(c contentChange) {
	n.now = c.apply(n.now)
	n.changes = append(n.changes, c)
}

// NewMem returns an empty disk with the directories given.
func NewMem(dirs ...string) *Mem {
	m := &Mem{dirs: map[string]*dir{}, locks: map[string]*memLock{}}
	for _, d := range append(dirs, string(filepath.Separator)) {
		m.mkdirAllLocked(filepath.Clean(d))
	}
	return m
}

func pathError(op, path string, err error) error {
	return &fs.PathError{Op: op, Path: path, Err: err}
}

// findLocked returns the directory that name lies in, and name's last element.
func (m *Mem) findLocked(op, name string) (*dir, string, error) {
	name = filepath.Clean(name)
	if m.dirs[name] != nil {
		return nil, "", pathError(op, name, syscall.EISDIR)
	}
	d := m.dirs[filepath.Dir(name)]
	if d == nil {
		return nil, "", pathError(op, name, syscall.ENOENT)
	}
	return d, filepath.Base(name), nil
}

// Create implements vfs.FS.
func (m *Mem) Create(name string) (vfs.File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, base, err := m.findLocked("open", name)
	if err != nil {
		return nil, err
	}
	if d.now[base] != nil {
		return nil, pathError("open", name, syscall.EEXIST)
	}
	n := &inode{}
	d.change(entryChange{put: base, node: n})
	return &memFile{m: m, node: n, name: name, writable: true}, nil
}

// OpenReadWrite implements vfs.FS.
func (m *Mem) OpenReadWrite(name string) (vfs.File, error) { return m.open(name, true) }

// Open implements vfs.FS.
func (m *Mem) Open(name string) (vfs.File, error) { return m.open(name, false) }

func (m *Mem) open(name string, writable bool) (vfs.File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, base, err := m.findLocked("open", name)
	if err != nil {
		return nil, err
	}
	n := d.now[base]
	if n == nil {
		return nil, pathError("open", name, syscall.ENOENT)
	}
	return &memFile{m: m, node: n, name: name, writable: writable}, nil
}

// Rename implements vfs.FS.
func (m *Mem) Rename(oldname, newname string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if filepath.Dir(filepath.Clean(oldname)) != filepath.Dir(filepath.Clean(newname)) {
		return pathError("rename", newname, errors.New("vfs.FS renames within one directory"))
	}
	d, from, err := m.findLocked("rename", oldname)
	if err != nil {
		return err
	}
	_, to, err := m.findLocked("rename", newname)
	if err != nil {
		return err
	}
	n := d.now[from]
	if n == nil {
		return pathError("rename", oldname, syscall.ENOENT)
	}
	if from != to {
		d.change(entryChange{drop: from, put: to, node: n})
	}
	return nil
}

// Remove implements vfs.FS.
func (m *Mem) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, base, err := m.findLocked("remove", name)
	if err != nil {
		return err
	}
	if d.now[base] == nil {
		return pathError("remove", name, syscall.ENOENT)
	}
	d.change(entryChange{drop: base})
	return nil
}

// List implements vfs.FS.
func (m *Mem) List(name string) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.dirs[filepath.Clean(name)]
	if d == nil {
		return nil, pathError("open", name, syscall.ENOENT)
	}
	return slices.Sorted(maps.Keys(d.now)), nil
}

// SyncDir implements vfs.FS.
func (m *Mem) SyncDir(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.dirs[filepath.Clean(name)]
	if d == nil {
		return pathError("sync", name, syscall.ENOENT)
	}
	d.durable, d.changes = maps.Clone(d.now), nil
	return nil
}

// MkdirAll implements vfs.FS.
func (m *Mem) MkdirAll(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for at := filepath.Clean(name); ; at = filepath.Dir(at) {
		if d := m.dirs[filepath.Dir(at)]; d != nil && d.now[filepath.Base(at)] != nil {
			return pathError("mkdir", at, syscall.ENOTDIR)
		}
		if at == filepath.Dir(at) {
			break
		}
	}
	m.mkdirAllLocked(filepath.Clean(name))
	return nil
}

func (m *Mem) mkdirAllLocked(name string) {
	for m.dirs[name] == nil {
		m.dirs[name] = &dir{now: map[string]*inode{}, durable: map[string]*inode{}}
		name = filepath.Dir(name)
	}
}

// Lock implements vfs.FS. A process that hangs is one that keeps its lock.
func (m *Mem) Lock(name string) (io.Closer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, base, err := m.findLocked("open", name)
	if err != nil {
		return nil, err
	}
	path := filepath.Clean(name)
	if m.locks[path] != nil {
		return nil, pathError("lock", name, vfs.ErrLocked)
	}
	if d.now[base] == nil {
		d.change(entryChange{put: base, node: &inode{}})
	}
	m.locks[path] = &memLock{m: m, path: path}
	return m.locks[path], nil
}

type memLock struct {
	m    *Mem
	path string
}

func (l *memLock) Close() error {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	if l.m.locks[l.path] != l {
		return pathError("close", l.path, fs.ErrClosed)
	}
	delete(l.m.locks, l.path)
	return nil
}

// Unsynced returns what a power cut could take, sorted: the paths of files with
// content that is not durable, and of names that are not, or that could come back.
func (m *Mem) Unsynced() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	paths := map[string]bool{}
	for path, d := range m.dirs {
		for _, c := range d.changes {
			for _, name := range []string{c.drop, c.put} {
				if name != "" {
					paths[filepath.Join(path, name)] = true
				}
			}
		}
		for name, n := range d.now {
			if len(n.changes) > 0 {
				paths[filepath.Join(path, name)] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(paths))
}
