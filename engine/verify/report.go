// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package verify

import (
	"fmt"
	"maps"
	"time"
)

// Result is what came of the comparison of a range.
type Result string

const (
	// OK: everything that is known of the range agrees.
	OK Result = "ok"
	// InFlight: what this server wrote is not what the leader wrote.
	InFlight Result = "in_flight_corruption"
	// Storage: what this server reads is not what it wrote, or, where that is not
	// known any more, not what the leader wrote.
	Storage Result = "storage_corruption"
)

// Reason is why entries were not compared.
type Reason string

const (
	// Busy: the range before was still being read, and another one waited.
	Busy Reason = "busy"
	// Compacted: the log begins above the range's first entry.
	Compacted Reason = "compacted"
	// Truncated: the range's entries were cut off after a conflict.
	Truncated Reason = "truncated"
	// Snapshot: entries of the range never were in this log: they came as a part
	// of a snapshot.
	Snapshot Reason = "in_snapshot"
	// Uncovered: no checkpoint covers the entries, because the leader that wrote
	// the next one had not seen them written.
	Uncovered Reason = "uncovered"
	// Version: the checkpoint was written by a newer version.
	Version Reason = "newer_version"
)

// Sum is a checksum that may not be known.
type Sum struct {
	Value uint64
	Known bool
}

// String is the sum as reports have it.
func (s Sum) String() string {
	if !s.Known {
		return "unknown"
	}
	return fmt.Sprintf("%016x", s.Value)
}

// Report is one comparison: the entries Start ≤ i < End.
type Report struct {
	At         time.Time // when it was finished
	Result     Result
	Start, End uint64
	// Leader is the sum in the checkpoint, Written that of what this server was
	// given to write, Read that of what its store answers.
	Leader, Written, Read Sum
	// Entry is the first entry that is known to be damaged; 0: not known.
	Entry uint64
	// Err says why the range or its checkpoint could not be read.
	Err     error
	Elapsed time.Duration
}

// compare sets the result from what is known, and tells which comparisons failed.
func (r *Report) compare() (writeFailed, readFailed bool) {
	writeFailed = r.Written.Known && r.Leader.Known && r.Written != r.Leader || !r.Leader.Known
	expected := r.Leader
	if r.Written.Known {
		expected = r.Written
	}
	readFailed = expected.Known && r.Read != expected
	switch {
	case writeFailed:
		r.Result = InFlight
	case readFailed:
		r.Result = Storage
	default:
		r.Result = OK
	}
	return writeFailed, readFailed
}

// Counters count since the Log was opened.
type Counters struct {
	CheckpointsWritten    uint64 // checkpoints stored, on the leader and on followers
	RangesVerified        uint64 // compared to the end, with whatever result
	ReadChecksumFailures  uint64
	WriteChecksumFailures uint64
	DroppedReports        uint64 // ranges skipped because the one before was still being read
	// Skipped counts ranges that were not compared, by reason.
	Skipped map[Reason]uint64
}

func (c Counters) clone() Counters {
	c.Skipped = maps.Clone(c.Skipped)
	return c
}

// Status is what is known of a Log's verification.
type Status struct {
	// Last is the newest report, LastFailure the newest that was not OK; nil where
	// there was none since the Log was opened.
	Last, LastFailure *Report
	Counters          Counters
}

// Metrics receives the counters of a Log as they grow: checkpoints_written,
// ranges_verified, read_checksum_failures, write_checksum_failures,
// dropped_reports and skipped_ranges. The caller adds its prefix.
type Metrics interface {
	IncrementCounter(name string, delta uint64)
}

type noMetrics struct{}

func (noMetrics) IncrementCounter(string, uint64) {}

const (
	checkpointsWritten = "checkpoints_written"
	rangesVerified     = "ranges_verified"
	readFailures       = "read_checksum_failures"
	writeFailures      = "write_checksum_failures"
	droppedReports     = "dropped_reports"
	skippedRanges      = "skipped_ranges"
)

// What an operator does about a failure.
const (
	storageAdvice = "Do not trust this server's disk. Keep a quorum of the others; stop this engine, look at the log with `holdfast debug log verify` and at the disk " +
		"with its own tools. Then remove this server from the cluster, and only after that move its raft directory away (it holds its vote) and let it join anew with an empty one."
	inFlightAdvice = "See which servers report the same range. If it is this one alone, entries were damaged on their way to it: check its memory and network, remove it from the " +
		"cluster, move its raft directory away and let it join anew with an empty one. If several do, suspect the server that led then: hand leadership over and check that one's memory."
)
