// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package logstore

import (
	"errors"
	"io/fs"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/logstore/internal/guard"
)

var (
	// ErrUnknownBackend is returned by Parse and Open for a name that is none
	// of Backends.
	ErrUnknownBackend = errors.New("unknown raft log backend")

	// ErrBothBackends is returned by Detect and Open when raft.db and a log in
	// wal/ lie in the same directory. Which of them is newer cannot be told
	// from outside, so a person has to decide.
	ErrBothBackends = errors.New("two raft logs in one directory")

	// ErrIncomplete is returned by Detect and Open when a part of a log is
	// missing or has a size that it can never have had: log segments without
	// the database that lists them, for example. Starting with an empty log
	// instead would forget votes and acknowledged entries.
	ErrIncomplete = errors.New("incomplete raft log")

	// ErrNoLog is returned by OpenReadOnly for a directory without a log.
	ErrNoLog = errors.New("no raft log")

	// ErrLocked is returned by Open while another process has the log open, and by
	// OpenReadOnly while an engine has.
	ErrLocked = errors.New("raft log is in use by another process")

	// ErrClosed is returned by every method after Close.
	ErrClosed = fs.ErrClosed

	// ErrKeyNotFound is returned by Get and GetUint64 for a key that was never
	// set. Raft compares the text, so it must stay "not found".
	ErrKeyNotFound = guard.ErrKeyNotFound
)
