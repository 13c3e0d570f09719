// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package failover

import "errors"

var (
	// ErrStalled is returned by a leader's StoreLogs alone: neither the primary
	// nor the side took the append in time. The append is undone; raft steps
	// down, and a node whose disks are well takes over.
	ErrStalled = errors.New("every disk of the log hangs")
	// ErrClosed is returned after Close.
	ErrClosed = errors.New("the log is closed")
	// ErrHung is returned by Open when a disk did not answer in time. The text
	// names the directory.
	ErrHung = errors.New("the disk hangs")
	// ErrSideMissing is returned by Open when a side that may hold acknowledged
	// writes is not there.
	ErrSideMissing = errors.New("an armed side is missing")
	// ErrSideUnknown is returned by Open when a side was armed that the
	// configuration does not name any more.
	ErrSideUnknown = errors.New("an armed side is not configured")
	// ErrSidePath is returned by ValidateSide, and by Open, for a side that would
	// hang together with the store.
	ErrSidePath = errors.New("the side and the store are one directory tree")
	// ErrSideUnusable is returned by OpenSide for a directory that is not there
	// or cannot be written.
	ErrSideUnusable = errors.New("the side cannot be used")
)
