// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Package vfs is the file system as the engine's log stores see it: a contract
// small enough to be implemented by a disk that stalls, fails or loses power,
// and the implementation on the operating system.
//
// The contract keeps apart what a log has to keep apart: the content of a file
// (SyncData), its place in a directory (SyncDir), and blocks that are only
// reserved (Allocate) from blocks that were written. It knows nothing of what
// the files mean. Databases that map their file into memory (bbolt) cannot be
// put on it.
package vfs
