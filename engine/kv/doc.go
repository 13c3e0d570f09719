// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Package kv is the key-value state machine of one partition: what a raft
// log entry means, and what the keys are once it is applied.
//
// Commands travel as bytes from the node that a client wrote to, to the
// leader, into a log entry and into every replica; they are encoded once,
// where they are born ([AppendCommand]), and a log entry is their
// concatenation behind a header ([AppendBatchHeader]).
//
// # What it guarantees
//
//   - Determinism. There is no clock, no randomness, no I/O and no map whose
//     order matters: replicas that apply the same entries have the same state,
//     and write the same snapshot byte for byte.
//   - An index of its own. The partition's index takes one step per command,
//     never one per log entry: two puts of one key that share an entry have
//     different ModifyIndexes, and a check-and-set on the first one fails.
//   - Exactly once, within a window. A command is known by its [ID]; one that
//     the node retried across an election returns its first result and
//     changes nothing (dedup.go).
//   - Reads never wait. A batch is applied to a private copy-on-write
//     transaction and published whole through one atomic pointer, so a
//     reader sees all of a log entry or none of it, without a lock.
//   - A snapshot is taken in the time it takes to copy the dedup window, and
//     written out while later entries are applied.
//
// # What it puts on disk
//
// Nothing by itself. Its two formats, the batch (command.go) and the
// snapshot (snapshot.go), end up in raft's log and snapshot store.
//
// # What it does not do
//
// It does not check authority, limits ([Command.Validate] is for the node
// that accepts a command) or leadership, and holds no sessions, locks or
// transactions yet.
package kv
