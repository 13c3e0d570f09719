// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

//go:build linux

package main

import (
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/tools/txtar"
)

// record is everything that was read, by name in the archive.
type record struct {
	mu struct {
		sync.Mutex
		files map[string][]byte
	}
}

func newRecord() *record {
	r := &record{}
	r.mu.files = map[string][]byte{}
	return r
}

// put records a name; what was read once is not taken back by a stat.
func (r *record) put(name string, data []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.mu.files[name]; !ok || data != nil {
		r.mu.files[name] = data
	}
}

func (r *record) len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.mu.files)
}

func (r *record) archive() *txtar.Archive {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := &txtar.Archive{}
	for _, name := range slices.Sorted(maps.Keys(r.mu.files)) {
		data := r.mu.files[name]
		if len(data) > 0 && data[len(data)-1] != '\n' {
			data = append(slices.Clone(data), '\n')
		}
		a.Files = append(a.Files, txtar.File{Name: name, Data: data})
	}
	return a
}

// tree is a file system below root that records, below prefix, whatever is
// read through it: a discovery over it leaves exactly what it needs.
type tree struct {
	record *record
	prefix string
	root   string
	fs.FS
}

func (r *record) tree(prefix, root string) fs.FS {
	return tree{record: r, prefix: prefix, root: root, FS: os.DirFS(root)}
}

// real notes the symbolic links on the way to name and returns the name
// without them. The archive holds a file once, where it really is.
func (t tree) real(name string) string {
	done := "."
	rest := strings.Split(name, "/")
	for len(rest) > 0 {
		next := path.Join(done, rest[0])
		rest = rest[1:]
		target, err := os.Readlink(filepath.Join(t.root, next))
		if err != nil {
			done = next
			continue
		}
		t.link(next, target)
		if path.IsAbs(target) {
			return path.Join(next, path.Join(rest...)) // leaves the tree
		}
		rest = append(strings.Split(path.Join(done, target), "/"), rest...)
		done = "."
	}
	return done
}

func (t tree) link(name, target string) {
	t.record.put(path.Join(t.prefix, name)+" -> "+target, nil)
}

// ReadFile implements fs.ReadFileFS.
func (t tree) ReadFile(name string) ([]byte, error) {
	data, err := fs.ReadFile(t.FS, name)
	if err == nil {
		t.record.put(path.Join(t.prefix, t.real(name)), data)
	}
	return data, err
}

// ReadDir implements fs.ReadDirFS.
func (t tree) ReadDir(name string) ([]fs.DirEntry, error) {
	entries, err := fs.ReadDir(t.FS, name)
	for _, e := range entries {
		if e.Type()&fs.ModeSymlink == 0 {
			continue
		}
		if target, err := fs.ReadLink(t.FS, path.Join(name, e.Name())); err == nil {
			t.link(path.Join(t.real(name), e.Name()), target)
		}
	}
	return entries, err
}

// ReadLink implements fs.ReadLinkFS.
func (t tree) ReadLink(name string) (string, error) {
	target, err := fs.ReadLink(t.FS, name)
	if err == nil {
		t.link(path.Join(t.real(path.Dir(name)), path.Base(name)), target)
	}
	return target, err
}

// Lstat implements fs.ReadLinkFS.
func (t tree) Lstat(name string) (fs.FileInfo, error) { return fs.Lstat(t.FS, name) }

// Stat implements fs.StatFS.
func (t tree) Stat(name string) (fs.FileInfo, error) {
	info, err := fs.Stat(t.FS, name)
	if err == nil {
		where := path.Join(t.prefix, t.real(name))
		if info.IsDir() {
			where += "/"
		}
		t.record.put(where, nil)
	}
	return info, err
}
