// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Package verify finds silent corruption of a raft log: what a server wrote
// differs from what its leader wrote, or what it reads back from what it wrote.
//
// A Log is a layer over a raft.LogStore. It stands below raft's log cache, so
// that it reads what the store has, and above everything that writes.
//
//	leader                                     every server
//	Checkpoint → raft.ApplyLog                 StoreLogs sees the same entry
//	StoreLogs: sum of what was written         sum of what was written = in it?   no: in-flight corruption
//	since the last checkpoint goes into        in the background: sum of what
//	the entry, and with it to the followers    is read back = what was written?   no: storage corruption
//
// # Sums that follow the log
//
// A range's sum is the sum, modulo 2^64, of its entries' xxHash64, each over
// the index too, so that order counts. Sums of prefixes can then be subtracted
// and cut short: after a conflict the log is truncated to some index, and the
// running sum is truncated with it (window.go). It never holds an entry that the
// log no longer has.
//
// A range is compared only with what is known of it. Where this server did not
// see all of it written (it was restarted, a snapshot took the place of
// entries), what is read back is compared with the leader's sum alone. Where it
// cannot be read whole, because it was compacted or truncated, or the one before
// it still is being read, it is skipped, and counted under the reason.
//
// # On disk and on the wire
//
// The checkpoint, in the Extensions of a log entry (checkpoint.go). The entry's
// Data is the caller's, and must mean nothing to the state machine.
//
// # What it does not do
//
// It mends nothing and stops nobody: it says which server's log is damaged, where
// it can which entry, and what to do. It reads through the page cache, as raft
// does: a sector that went bad below a cached page is found once the page is
// gone. An entry is compared once, soon after it was written; a bit that flips
// later is found by Check, which reads a whole log while the server is stopped.
package verify
