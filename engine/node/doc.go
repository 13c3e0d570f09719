// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Package node assembles an engine: raft groups, their leadership, the way of
// a write, forwarding, reads, metrics and lifecycle. It is the only package
// that knows all of the others.
//
// # The way of a write
//
//	client ─HTTP→ any node: Apply numbers the command (origin, seq, floor) and encodes it once
//	   │ not the leader: link → one connection per peer and partition → serverConn
//	   ▼
//	leader: coalescer → log entry (1 MiB at most) → raft.Apply
//	   │ raft: own disk, then followers' disks, commit
//	   ▼
//	fsm.Apply: state machine, answers to every command of the entry
//	   │ serverConn → link
//	   ▼
//	the goroutine that waits in Apply
//
// The goroutine that serves the client's request hands the entry to raft
// itself, or writes to the leader's connection itself, where nobody else is
// doing so; raft's state machine goroutine answers, and hands raft the next
// entry. So the package adds no change of goroutine on the leader, and two
// (a reader at each end) for a write that is forwarded.
//
// An attempt ends without an answer when leadership or the connection is
// lost. The node then sends the same bytes again, to whoever leads by then,
// until Config.RetryWindow is over; the state machine knows the ID and gives
// the first result. A client sees a pause.
//
// # Reads
//
// Stale ones come from this node's memory. The others come from the leader's,
// after it has applied everything of earlier terms: consistent ones once a
// majority confirmed the leader after the read arrived, default ones under
// the lease (lease.go), which ends LeaderLeaseTimeout after the last request
// that a majority acknowledged was sent, whatever hangs. A default read can miss a write
// in one case: a follower restarts and, having forgotten that it heard the
// leader, helps to elect another within the lease. Use consistent where that
// must not be. Leadership that is handed over ends default reads first.
//
// # On disk
//
// Per store, beside the identity (package store): raft/<partition>/ with the
// log (package logstore), what the failover log keeps beside it (package
// failover) and snapshots/ (raft's FileSnapshotStore). On a side disk, or in
// another store: side/<store>/<partition>/ with the log's journal.
//
// # While a disk hangs
//
// The log of a partition writes to its side (package failover), so raft does
// not notice. Where no disk takes an append, or the leader's log has been on
// its side for a while, leadership goes to another node (handoff.go). A disk
// that hangs beyond storage.max_sync_duration ends the node: its sockets
// (conns.go) are closed first, since the process itself may be held in the
// kernel, and a client of a socket that it holds would wait for the disk.
//
// # Goroutines
//
// Node owns the HTTP server, the console, the mux, the disk watcher, the gauges
// and the cache of settings; a partition owns those named at its type, its log
// and its transport theirs, and raft its own. Node.Shutdown and
// partition.shutdown give the order in which they end.
//
// # What it does not do
//
// Addresses and members of a cluster are those that it was begun with. Without
// Config.Security there is no TLS, and so nothing listens beyond loopback; who
// has a certificate of the cluster may do everything. Snapshots are taken by
// number of entries, not by their size.
package node
