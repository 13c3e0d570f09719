// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package failover

import (
	"time"

	"github.com/hashicorp/raft"
)

// opKind is what an operation does to the log. The values are on disk.
type opKind uint8

const (
	// opAppend makes the suffix from the first entry's index its entries:
	// what the log had from there on is replaced. So replay is idempotent (rule 4).
	opAppend opKind = 1
	// opTruncate removes the suffix from an index on.
	opTruncate opKind = 2
	// opReset removes everything; the next append may start anywhere.
	opReset opKind = 3
	// opSet and opSetUint64 write one value of the stable store.
	opSet       opKind = 4
	opSetUint64 opKind = 5
)

// An op is one mutation of a log. Nothing in it changes after it was
// submitted, but for the fields of the log's bookkeeping below.
type op struct {
	seq   seq
	kind  opKind
	logs  []*raft.Log // opAppend: contiguous, at least one
	index uint64      // opTruncate: the first index to go
	key   []byte      // opSet, opSetUint64
	value []byte      // opSet; opSetUint64: 8 bytes, big endian
	size  int         // bytes of its journal record, header included

	// done gets one value when the operation is acknowledged or given up;
	// depth 1, sent by whoever acknowledges, never closed, reused with the op.
	done  chan error
	since time.Time     // when it was submitted
	hedge time.Duration // H: when it is late
}

// shortens reports whether o may make the log shorter.
func (o *op) shortens() bool { return o.kind == opTruncate || o.kind == opReset }
