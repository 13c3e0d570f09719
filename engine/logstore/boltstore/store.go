// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package boltstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/logstore/internal/guard"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs"
)

const (
	// FileName is the name of the database in the partition's directory.
	FileName = "raft.db"

	newFileName = FileName + ".new"

	// lockTimeout is for somebody's tool that has the file open: without one
	// bbolt waits for ever.
	lockTimeout = time.Second
)

// ErrTimeout is returned by Open when another process holds the file.
var ErrTimeout = bbolt.ErrTimeout

// Options say how to open a log. The zero value is usable.
type Options struct {
	// NoFreelistSync leaves the list of free pages out of every commit; the
	// next open then finds them by reading the whole file.
	NoFreelistSync bool
}

// Store is a raft-boltdb log. It implements the methods of logstore.Store under
// their contract.
type Store struct {
	*guard.Guard

	path string
	bolt *raftboltdb.BoltStore
}

// Open opens raft.db in dir, which exists, and makes an empty one where there
// is none or one of no length.
func Open(dir string, o Options) (*Store, error) {
	path := filepath.Join(dir, FileName)
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0 {
		err = create(dir, o)
	}
	if err != nil {
		return nil, err
	}
	b, err := openBolt(path, o)
	if err != nil {
		return nil, err
	}
	return &Store{Guard: guard.New(path), path: path, bolt: b}, nil
}

// create makes an empty raft.db.
func create(dir string, o Options) error {
	path := filepath.Join(dir, newFileName)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	b, err := openBolt(path, o)
	if err != nil {
		return err
	}
	// raft-boltdb has committed its buckets, and with them synced the file.
	if err := b.Close(); err != nil {
		return err
	}
	if err := os.Rename(path, filepath.Join(dir, FileName)); err != nil {
		return err
	}
	return vfs.OS{}.SyncDir(dir)
}

func openBolt(path string, o Options) (*raftboltdb.BoltStore, error) {
	b, err := raftboltdb.New(raftboltdb.Options{
		Path: path,
		BoltOptions: &bbolt.Options{
			Timeout:        lockTimeout,
			NoFreelistSync: o.NoFreelistSync,
			FreelistType:   bbolt.FreelistMapType,
		},
	})
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", path, err)
	}
	return b, nil
}

// IsMonotonic implements raft.MonotonicLogStore.
func (s *Store) IsMonotonic() bool { return false }

// FirstIndex implements raft.LogStore.
func (s *Store) FirstIndex() (uint64, error) {
	if err := s.Enter(); err != nil {
		return 0, err
	}
	defer s.Leave()
	return s.bolt.FirstIndex()
}

// LastIndex implements raft.LogStore.
func (s *Store) LastIndex() (uint64, error) {
	if err := s.Enter(); err != nil {
		return 0, err
	}
	defer s.Leave()
	return s.bolt.LastIndex()
}

// GetLog implements raft.LogStore.
func (s *Store) GetLog(index uint64, log *raft.Log) error {
	if err := s.Enter(); err != nil {
		return err
	}
	defer s.Leave()
	err := s.bolt.GetLog(index, log)
	if err != nil && !errors.Is(err, raft.ErrLogNotFound) {
		return fmt.Errorf("reading entry %d of raft log %s: %w", index, s.path, err)
	}
	return err
}

// StoreLog implements raft.LogStore.
func (s *Store) StoreLog(log *raft.Log) error { return s.StoreLogs([]*raft.Log{log}) }

// StoreLogs implements raft.LogStore.
func (s *Store) StoreLogs(logs []*raft.Log) error {
	if len(logs) == 0 {
		return nil
	}
	return s.mutate("appending to", func() error { return s.bolt.StoreLogs(logs) })
}

// DeleteRange implements raft.LogStore.
func (s *Store) DeleteRange(first, last uint64) error {
	if first > last {
		return nil
	}
	return s.mutate("truncating", func() error { return s.bolt.DeleteRange(first, last) })
}

// Set implements raft.StableStore.
func (s *Store) Set(key, val []byte) error {
	return s.mutate("storing a vote or term in", func() error { return s.bolt.Set(key, val) })
}

// SetUint64 implements raft.StableStore.
func (s *Store) SetUint64(key []byte, val uint64) error {
	return s.mutate("storing a vote or term in", func() error { return s.bolt.SetUint64(key, val) })
}

// mutate runs one mutation; bbolt orders them.
func (s *Store) mutate(what string, do func() error) error {
	if err := s.Enter(); err != nil {
		return err
	}
	defer s.Leave()
	return s.Mutate(what, nil, do)
}

// Get implements raft.StableStore.
func (s *Store) Get(key []byte) ([]byte, error) {
	if err := s.Enter(); err != nil {
		return nil, err
	}
	defer s.Leave()
	val, err := s.bolt.Get(key)
	if errors.Is(err, raftboltdb.ErrKeyNotFound) || err == nil && len(val) == 0 {
		return nil, guard.ErrKeyNotFound
	}
	return val, err
}

// GetUint64 implements raft.StableStore.
func (s *Store) GetUint64(key []byte) (uint64, error) {
	if err := s.Enter(); err != nil {
		return 0, err
	}
	defer s.Leave()
	val, err := s.bolt.GetUint64(key)
	if errors.Is(err, raftboltdb.ErrKeyNotFound) {
		return 0, guard.ErrKeyNotFound
	}
	return val, err
}

// Close implements io.Closer.
func (s *Store) Close() error {
	if !s.Guard.Close() {
		return nil
	}
	return s.bolt.Close()
}
