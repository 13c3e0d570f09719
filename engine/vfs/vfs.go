// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package vfs

import (
	"errors"
	"io"
)

// FS opens, names and removes files. Paths are those of the operating system.
// All methods may be called from any goroutine, and each may hang for as long as
// the disk does. Errors wrap those of package io/fs where one applies.
type FS interface {
	// Create makes a new file, opened for reading and writing. It fails with
	// fs.ErrExist where there is one. The name is durable only after SyncDir.
	Create(name string) (File, error)

	// OpenReadWrite opens an existing file for reading and writing.
	OpenReadWrite(name string) (File, error)

	// Open opens an existing file for reading.
	Open(name string) (File, error)

	// Rename moves a file within its directory, over an existing one if need
	// be. After a crash either name is there, never both and never none; the
	// new one for certain only after SyncDir.
	Rename(oldname, newname string) error

	// Remove removes a file's name. After a crash it may be back until SyncDir.
	Remove(name string) error

	// List returns the names in dir that are not directories, sorted.
	List(dir string) ([]string, error)

	// SyncDir makes the names in dir durable.
	SyncDir(dir string) error

	// MkdirAll makes a directory and those above it, for its owner only. Durable
	// when it returns.
	MkdirAll(dir string) error

	// Lock takes the lock that a file of this name stands for, making the file
	// where there is none. It does not wait: ErrLocked while somebody holds it,
	// be it a process that is held in the kernel by a disk; the error names it
	// where it can. The end of the process gives it back, and so does Close.
	Lock(name string) (io.Closer, error)
}

// ErrLocked is returned by FS.Lock for a lock that somebody holds.
var ErrLocked = errors.New("locked by another process")

// File is an open file. ReadAt may run beside anything; the caller serialises
// the rest. After Close every method fails with fs.ErrClosed.
type File interface {
	io.ReaderAt
	// WriteAt reaches the page cache only. A write past the end grows the file,
	// and what lies between reads as zero.
	io.WriterAt
	io.Closer

	// Size returns the file's length in bytes.
	Size() (int64, error)

	// Allocate makes the file at least size bytes long and reserves its blocks,
	// so that writing them cannot fail for lack of space. They read as zero. A
	// file system that cannot reserve only grows the file. The first write to a
	// reserved block still costs the file system a journal commit when it is
	// synced; writing zeros ahead of time pays that in advance.
	Allocate(size int64) error

	// SyncData makes content and length durable. It is fdatasync: where neither
	// length nor blocks changed since the last sync, no metadata is written.
	SyncData() error
}
