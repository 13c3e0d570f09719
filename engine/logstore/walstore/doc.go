// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Package walstore keeps a raft log in raft-wal, with files of its own making:
// an append costs one pwrite and one fdatasync to blocks that are written
// already, which is the least that a durable append can cost.
//
// raft-wal by itself reserves a segment's blocks without writing them and calls
// fsync. On ext4 each fsync then commits the journal, because the file's times
// changed, and so does the first write to every reserved block: more than twice
// the latency of the write itself. This package hands raft-wal a file system
// (types.VFS) and a segment filer that
//
//   - sync with fdatasync,
//   - take the next segment from a spare whose blocks a background goroutine has
//     filled with zeros, renamed into place when a segment is full,
//   - begin a new log with a short segment, so that opening one does not wait for
//     64 MiB of zeros,
//   - remove the files of dropped segments in the background, off the append path.
//
// It also finishes what a crash left half done, before raft-wal sees it
// (repair.go): raft-wal 0.4.1 cannot append to a segment that was sealed when
// the process died, and keeps the remains of torn batches behind its tail.
//
// # On disk
//
//	wal-meta.db              raft-wal's list of segments; votes and terms (bbolt)
//	<base index>-<id>.wal    segments, raft-wal's format unchanged
//	spare                    zeros, one segment long, synced; becomes a segment
//	spare.tmp                a spare in the making
//
// A stock raft-wal opens the same directory, and this package opens one that a
// stock raft-wal has written.
//
// # Crash story
//
// spare.tmp is worth nothing and is removed on open. spare is renamed from it
// only after its zeros are synced, so one that has the right length is good
// whatever happened. Using it is one rename and one sync of the directory, after
// raft-wal has committed the new segment to wal-meta.db: a crash before leaves a
// listed segment without a file, which raft-wal makes on open; a crash after
// leaves an empty segment. Nothing is acknowledged in a segment before its name
// is durable.
//
// # Not here
//
// The store does not retry and does not reopen itself: after an error it refuses
// writes (the contract in package logstore says why). It keeps no cache of
// recent entries.
package walstore
