// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Package boltstore keeps a raft log in raft-boltdb: one bbolt file, raft.db,
// with log entries, votes and terms.
//
// An append is a commit of a B+tree: two fdatasyncs and, as the file grows or
// its free list changes, journal commits of the file system. It is the slower
// backend, kept because logs of it exist and because its file is understood by
// every tool for Consul.
//
// A new raft.db is made whole under the name raft.db.new, synced and renamed: a
// crash leaves no file or one that opens. (bbolt makes a file in several
// steps, and one that is cut short in between does not open again.) A commit is
// atomic by bbolt's two meta pages.
//
// The store does not retry and does not reopen itself: after an error it refuses
// writes (the contract in package logstore says why).
package boltstore
