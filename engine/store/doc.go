// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Package store keeps the identity of a store: which cluster, node and store
// a directory belongs to.
//
// On disk, in the store's directory:
//
//	holdfast-store.json   the identity; written to a temporary name, synced,
//	                      renamed, and the directory synced
//	holdfast.lock         locked (flock) while an engine has the store open
//
// A server's raft directory is its vote. A directory that another server
// wrote, or that lost its raft log, must never be started as if it were this
// server's: it could vote twice in one term, or forget what it acknowledged.
// So [Check] and [Open] refuse what does not match, with both values, and
// change nothing; and the identity lists the partitions that were bootstrapped, so that
// an empty log in place of an old one shows.
//
// It knows nothing of what a partition's directory holds.
package store
