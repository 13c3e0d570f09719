// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Package failover keeps a raft log writable while the disk that it lives on
// hangs. It is a layer over any log store of hashicorp/raft: a redo journal on
// a second, small disk (the side) takes over the writes, terms and votes
// included, and the primary catches up when it comes back.
//
//	raft ── StoreLogs, DeleteRange, Set ──▶ Log ──▶ applier ──▶ primary (raft-wal, raft-boltdb …)
//	                                         │                     └ fence: what is durable there
//	                                         └─ late? ─▶ Side ──▶ journal on the side disk
//
// On disk: beside the primary failover.lock, failover.json (the log's random id and the
// armed sides) and fence; on the side, side/<store>/<partition>/ with LOCK and
// journal files, and side/.probe. Each format is drawn next to its encoder.
//
// Guarantees: an operation is acknowledged only when a restart after a power
// cut at any later moment finds it. What a restart finds is what some prefix of
// the operations made, with every acknowledged one in it. ledger.go has the
// rules and model_test.go attacks them. While one of the two disks is well, no
// operation waits much longer than the hedge (hedge.go). README.md has the
// crash cases, the limits and which test is about what.
//
// Goroutines: a log owns its applier (the primary, applier.go), watcher
// (switch.go) and armer (arm.go), which Close ends in that order; a side owns
// its writer (side.go), maker (chain.go) and prober (probe.go), which Side.Close
// ends together, after every log on it.
//
// Not its business: reads of entries that only the primary has wait for the
// primary; elections and leadership are the caller's.
package failover
