// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package walstore

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"
)

// meta is raft-wal's meta database with the repair of the tail in front of it.
type meta struct {
	types.MetaStore
	files       *files
	segmentSize uint32
	fail        func(error)
}

// Load implements types.MetaStore. raft-wal calls it once, before it looks at
// any segment.
func (m *meta) Load(dir string) (types.PersistentState, error) {
	state, err := m.MetaStore.Load(dir)
	if err != nil {
		return state, err
	}
	repaired, changed, err := m.files.repair(state, m.segmentSize)
	if err != nil || !changed {
		return state, err
	}
	if err := m.MetaStore.CommitState(repaired); err != nil {
		return state, err
	}
	return repaired, nil
}

// CommitState implements types.MetaStore.
func (m *meta) CommitState(state types.PersistentState) error {
	err := m.MetaStore.CommitState(state)
	if err != nil {
		// raft-wal only logs it when it happens in its rotation.
		m.fail(fmt.Errorf("list of segments: %w", err))
	}
	return err
}

// repair finishes what a crash interrupted in the tail segment of state.
//
// What follows the last commit is the torn remains of one batch that was never
// acknowledged. raft-wal would only step over it; a later, shorter batch would
// then be followed by frames of the old one. It is overwritten with zeros.
//
// A tail that ends in a committed index was sealed, and the crash came before
// wal-meta.db knew. raft-wal 0.4.1 opens it as a tail and then refuses every
// append ("segment is sealed"). Here the seal is entered into the state with a
// new tail behind it, as the interrupted rotation would have done; raft-wal
// makes the file.
func (f *files) repair(state types.PersistentState, segmentSize uint32) (_ types.PersistentState, changed bool, err error) {
	last := len(state.Segments) - 1
	if last < 0 || !state.Segments[last].SealTime.IsZero() {
		return state, false, nil
	}
	tail := state.Segments[last]
	path := f.path(segment.FileName(tail))
	file, err := f.fs.OpenReadWrite(path)
	if errors.Is(err, fs.ErrNotExist) {
		return state, false, nil // raft-wal makes it
	}
	if err != nil {
		return state, false, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()

	size, err := file.Size()
	if err != nil {
		return state, false, err
	}
	scan, err := scanTail(file, size)
	if err != nil {
		return state, false, fmt.Errorf("segment %s: %w", path, err)
	}
	cleared, err := clearFrom(file, scan.end, size)
	if err != nil {
		return state, false, fmt.Errorf("clearing a torn write in segment %s: %w", path, err)
	}
	if cleared > 0 {
		if err := file.SyncData(); err != nil {
			return state, false, err
		}
		f.log.Info("removed the remains of a write that a crash cut short; it was never acknowledged",
			"path", path, "offset", scan.end, "bytes", cleared)
	}
	if scan.indexStart == 0 {
		return state, false, nil
	}
	now := time.Now()
	tail.SealTime = now
	tail.MaxIndex = tail.BaseIndex + scan.entries - 1
	tail.IndexStart = scan.indexStart
	next := types.SegmentInfo{
		ID:         state.NextSegmentID,
		BaseIndex:  tail.MaxIndex + 1,
		MinIndex:   tail.MaxIndex + 1,
		SizeLimit:  segmentSize,
		Codec:      tail.Codec,
		CreateTime: now,
	}
	f.log.Info("finished a segment rotation that a crash cut short", "path", path, "next_index", next.BaseIndex)
	return types.PersistentState{
		NextSegmentID: state.NextSegmentID + 1,
		Segments:      append(append([]types.SegmentInfo(nil), state.Segments[:last]...), tail, next),
	}, true, nil
}
