// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Package logstore is the contract of a partition's raft log: log entries,
// votes and terms, kept by one of two backends.
//
// On disk, in the directory of one partition (raft/<partition>/):
//
//	wal/          backend wal (package walstore)
//	  wal-meta.db   list of segments, votes and terms (bbolt)
//	  <base>-<id>.wal  segments
//	raft.db       backend boltdb (package boltstore), everything in one file
//
// Only one of the two is ever there. Whatever backend the log already has
// stays in use, whichever is configured: an empty log beside an old one would
// forget votes and acknowledged entries. Open follows that rule in both
// directions and hands back a warning; only a conversion changes the backend.
//
// Detect tells what is there from names and sizes alone. It takes no lock and
// opens no database, so it may be asked about a log that another process has
// open.
//
// OpenReadOnly is for tools that look at the log of a stopped engine, and leaves
// every file as it is.
//
// Not here: the cache of recent entries (raft.NewLogCache, unless
// raft_logstore.disable_log_cache is set), verification of checksums and the
// failover to a side disk are layers above, put there by their users. A Store
// is opened again after an error by its user, not by itself.
package logstore
