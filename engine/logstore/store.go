// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package logstore

import (
	"io"

	"github.com/hashicorp/raft"
)

// Store keeps the raft log and the votes of one partition.
//
// Durability: when StoreLog, StoreLogs, DeleteRange, Set or SetUint64 returns
// nil, its effect survives a crash of process and machine. When one returns an
// error its effect may be there after a reopen, wholly or (StoreLogs on wal,
// batch torn by a crash) not at all; never in part.
//
// Concurrency: every method may be called from any goroutine. Mutations of the
// log run one at a time, in the order in which they got in. Reads do not wait
// for a mutation in flight and see the log before it or after it.
//
// Errors: a mutation refused for what it asks (see below) changes nothing and
// the store stays usable. Any other error of a mutation, one of background
// work included, is sticky: the page cache can no longer be trusted to match
// the disk, so each later mutation returns the same error at once, without
// touching the disk, until the store is closed and opened again. Reads go on.
// Err and Failed report it.
//
// No method has a deadline: while the disk hangs, the call hangs.
type Store interface {
	// FirstIndex and LastIndex return 0 for an empty log. They touch no disk on
	// wal; on boltdb they read a memory-mapped page.
	//
	// GetLog returns raft.ErrLogNotFound, unwrapped (raft compares with ==),
	// below the first and above the last index. Data and Extensions are copies.
	//
	// StoreLogs appends a batch, all or nothing, with one sync. The indexes of
	// a batch are consecutive. On a monotonic store the first must follow
	// LastIndex, or the log be empty, in which case it may be any index above
	// 0; anything else is refused with an error and the store stays usable. On
	// boltdb gaps are allowed and an existing index is overwritten. An empty
	// batch does nothing. The entries are not kept after the call.
	//
	// DeleteRange deletes min..max inclusive. wal refuses a range that is
	// neither prefix nor suffix of the log; boltdb deletes any. A range outside
	// of the log, or one with min > max, does nothing. On wal a prefix costs
	// one commit of the meta database, plus files to remove for each segment
	// left behind; on boltdb it costs time in proportion to the entries.
	raft.LogStore

	// Get and GetUint64 return ErrKeyNotFound for a key that is not set. An
	// empty value counts as not set. Set costs one commit of a B+tree on both
	// backends (two syncs), so it is for votes and terms, not for the write path.
	raft.StableStore

	// IsMonotonic says whether gaps in the log are refused; raft then removes
	// all old entries after it has restored a snapshot.
	raft.MonotonicLogStore

	// Close waits for a mutation in flight and for background work, then
	// releases files and lock. It does not sync: nothing acknowledged needs it.
	// A second Close does nothing. While the disk hangs, so does Close.
	io.Closer

	// Backend names the implementation: the effective backend.
	Backend() Backend

	// Err returns the sticky error, nil while the store is usable.
	Err() error

	// Failed is closed when the sticky error is set. Nothing is ever sent.
	Failed() <-chan struct{}
}
