// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package walstore

import (
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/segment"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/logstore/internal/guard"
)

// maxBatchBytes bounds a batch, because raft-wal counts offsets in 32 bits
// without a check. Raft's batches are far below.
const maxBatchBytes = 1 << 30

// Store is a raft-wal log. It implements the methods of logstore.Store under
// their contract.
//
// raft-wal does not survive every use that the contract allows: closing it
// races with its readers, an append that waits for a rotation while it is
// closed hangs, and a handle that failed once must not be used again. Store
// keeps those uses away from it.
type Store struct {
	*guard.Guard

	dir    string
	wal    *wal.WAL
	keeper *keeper

	// write orders mutations of the log, so that each can be checked against
	// the log that it will meet. Held during disk I/O.
	write sync.Mutex
}

// IsMonotonic implements raft.MonotonicLogStore.
func (s *Store) IsMonotonic() bool { return true }

// FirstIndex implements raft.LogStore.
func (s *Store) FirstIndex() (uint64, error) {
	if err := s.Enter(); err != nil {
		return 0, err
	}
	defer s.Leave()
	return s.wal.FirstIndex()
}

// LastIndex implements raft.LogStore.
func (s *Store) LastIndex() (uint64, error) {
	if err := s.Enter(); err != nil {
		return 0, err
	}
	defer s.Leave()
	return s.wal.LastIndex()
}

// GetLog implements raft.LogStore.
func (s *Store) GetLog(index uint64, log *raft.Log) error {
	if err := s.Enter(); err != nil {
		return err
	}
	defer s.Leave()
	// raft-wal still finds deleted entries in the segment that the log begins in
	// if that is also the last one.
	first, err := s.wal.FirstIndex()
	if err != nil {
		return err
	}
	if index < first || first == 0 {
		return raft.ErrLogNotFound
	}
	err = s.wal.GetLog(index, log)
	if errors.Is(err, fs.ErrClosed) {
		// raft-wal lets a truncation close a segment between the moment that a
		// reader picks the list of segments and the moment that it holds it.
		// The list that it picks now is a later one.
		err = s.wal.GetLog(index, log)
	}
	if err != nil && !errors.Is(err, raft.ErrLogNotFound) {
		return fmt.Errorf("reading entry %d of raft log %s: %w", index, s.dir, err)
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
	return s.mutate("appending to", func() error { return s.checkAppend(logs) }, func() error {
		return s.wal.StoreLogs(logs)
	})
}

// checkAppend refuses what raft-wal could only fail on after it has begun, or
// would write and never read again.
func (s *Store) checkAppend(logs []*raft.Log) error {
	last, err := s.wal.LastIndex()
	if err != nil {
		return err
	}
	first := logs[0].Index
	if first == 0 || last > 0 && first != last+1 {
		return fmt.Errorf("entry %d does not follow the last one, %d", first, last)
	}
	total := 0
	for i, l := range logs {
		if l.Index != first+uint64(i) {
			return fmt.Errorf("entry %d of the batch has index %d, not %d", i, l.Index, first+uint64(i))
		}
		// 1 KiB is more than the codec adds.
		size := len(l.Data) + len(l.Extensions) + 1024
		if size > segment.MaxEntrySize {
			return fmt.Errorf("entry %d: %w", l.Index, segment.ErrTooBig)
		}
		total += size
	}
	if total > maxBatchBytes {
		return fmt.Errorf("batch of %d bytes is over the limit of %d", total, maxBatchBytes)
	}
	return nil
}

// DeleteRange implements raft.LogStore.
func (s *Store) DeleteRange(first, last uint64) error {
	return s.mutate("truncating", func() error { return s.checkDelete(first, last) }, func() error {
		return s.wal.DeleteRange(first, last)
	})
}

func (s *Store) checkDelete(first, last uint64) error {
	logFirst, err := s.wal.FirstIndex()
	if err != nil {
		return err
	}
	logLast, err := s.wal.LastIndex()
	if err != nil {
		return err
	}
	if first <= last && first > logFirst && last < logLast {
		return fmt.Errorf("entries %d to %d are in the middle of %d to %d; only a prefix or a suffix can be deleted",
			first, last, logFirst, logLast)
	}
	return nil
}

// mutate runs one mutation of the log. What check refuses leaves the store
// usable, an error of do does not.
func (s *Store) mutate(what string, check, do func() error) error {
	if err := s.Enter(); err != nil {
		return err
	}
	defer s.Leave()
	s.write.Lock()
	defer s.write.Unlock()
	return s.Mutate(what, check, do)
}

// Set implements raft.StableStore. It does not wait for appends.
func (s *Store) Set(key, val []byte) error {
	return s.set(func() error { return s.wal.Set(key, val) })
}

// SetUint64 implements raft.StableStore.
func (s *Store) SetUint64(key []byte, val uint64) error {
	return s.set(func() error { return s.wal.SetUint64(key, val) })
}

func (s *Store) set(do func() error) error {
	if err := s.Enter(); err != nil {
		return err
	}
	defer s.Leave()
	return s.Mutate("storing a vote or term in", nil, do)
}

// Get implements raft.StableStore.
func (s *Store) Get(key []byte) ([]byte, error) {
	if err := s.Enter(); err != nil {
		return nil, err
	}
	defer s.Leave()
	val, err := s.wal.Get(key)
	if err == nil && len(val) == 0 {
		return nil, guard.ErrKeyNotFound
	}
	return val, err
}

// GetUint64 implements raft.StableStore.
func (s *Store) GetUint64(key []byte) (uint64, error) {
	if _, err := s.Get(key); err != nil {
		return 0, err
	}
	if err := s.Enter(); err != nil {
		return 0, err
	}
	defer s.Leave()
	return s.wal.GetUint64(key)
}

// Close implements io.Closer.
func (s *Store) Close() error {
	if !s.Guard.Close() {
		return nil
	}
	// raft-wal first: the segments that it drops last go to the keeper.
	err := s.wal.Close()
	s.keeper.close()
	return err
}
