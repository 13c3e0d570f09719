// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package vfstest

import (
	"fmt"
	"path/filepath"
	"strings"
)

// Kind is a set of methods of vfs.FS and vfs.File.
type Kind uint32

// The methods.
const (
	Create Kind = 1 << iota
	OpenReadWrite
	Open
	Rename
	Remove
	List
	SyncDir
	MkdirAll
	Lock
	Read
	Write
	Allocate
	SyncData
	Size
	Close
)

// Sets of methods.
const (
	Any Kind = 0
	// Syncs make things durable.
	Syncs = SyncData | SyncDir
	// Changes are what a power cut can fall between.
	Changes = Create | Rename | Remove | MkdirAll | Write | Allocate | Syncs
	// Disk is what waits for a disk that hangs. Opening, listing and closing
	// are served from caches as a rule.
	Disk = Changes
)

var kindNames = []string{
	"create", "open-rw", "open", "rename", "remove", "list", "sync-dir", "mkdir",
	"lock", "read", "write", "allocate", "sync", "size", "close",
}

// String names the methods as traces show them, joined with |.
func (k Kind) String() string {
	var names []string
	for i, name := range kindNames {
		if k&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, "|")
}

// Op is one call.
type Op struct {
	Kind Kind
	// Path is the file's present name: a rename of an open file is followed.
	Path string
	// To is the new name of a Rename.
	To string
	// Off and Len are those of a Read or a Write; Off is the size of an Allocate.
	Off int64
	Len int
}

// String is the line of a trace: "write /d/a 0+512".
func (o Op) String() string {
	switch o.Kind {
	case Rename:
		return fmt.Sprintf("%v %s -> %s", o.Kind, o.Path, o.To)
	case Read, Write:
		return fmt.Sprintf("%v %s %d+%d", o.Kind, o.Path, o.Off, o.Len)
	case Allocate:
		return fmt.Sprintf("%v %s %d", o.Kind, o.Path, o.Off)
	default:
		return fmt.Sprintf("%v %s", o.Kind, o.Path)
	}
}

// Match picks calls. The zero value picks all.
type Match struct {
	// Kind is the set of methods; Any: all.
	Kind Kind
	// Under is a directory or a file; empty: anywhere.
	Under string
	// Name is a pattern of filepath.Match for the last element; empty: any. The
	// new name of a Rename matches too.
	Name string
}

func (m Match) matches(o Op) bool {
	if m.Kind != Any && m.Kind&o.Kind == 0 {
		return false
	}
	return m.matchesPath(o.Path) || o.To != "" && m.matchesPath(o.To)
}

func (m Match) matchesPath(path string) bool {
	if m.Under != "" {
		rel, err := filepath.Rel(m.Under, path)
		if err != nil || rel == ".." || strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
			return false
		}
	}
	if m.Name == "" {
		return true
	}
	ok, err := filepath.Match(m.Name, filepath.Base(path))
	if err != nil {
		panic(fmt.Sprintf("vfstest: the pattern %q: %v", m.Name, err))
	}
	return ok
}
