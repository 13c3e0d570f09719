// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package logs

import (
	"time"

	"github.com/hashicorp/go-hclog"
)

// record is one line, its newline included. Sinks share the bytes: nobody changes them.
type record struct {
	level hclog.Level
	at    time.Time
	line  []byte
}

// queue holds what a sink has not written. It knows no lock and no clock.
// Invariant: queued + inFlight <= MaxBufferSize; a note of dropped lines does not count.
type queue struct {
	Buffering
	records  []record
	queued   int64 // bytes of records
	inFlight int64 // bytes that were taken and are not settled
	untold   int64 // lines that were dropped since a note of it was written
}

// put adds a line and returns how many were dropped for it, itself perhaps.
func (q *queue) put(r record) (dropped int64) {
	size := int64(len(r.line))
	for len(q.records) > 0 && q.queued+q.inFlight+size > q.MaxBufferSize {
		q.queued -= int64(len(q.records[0].line))
		q.records[0] = record{} // for the garbage collector
		q.records = q.records[1:]
		dropped++
	}
	if q.inFlight+size > q.MaxBufferSize {
		dropped++ // nothing can make room for it
	} else {
		q.records = append(q.records, r)
		q.queued += size
	}
	q.untold += dropped
	return dropped
}

// due reports whether lines are to be written now, and else when, 0 for not at all.
func (q *queue) due(now time.Time) (bool, time.Duration) {
	if len(q.records) == 0 {
		return false, 0
	}
	wait := q.MaxStaleness - now.Sub(q.records[0].at)
	return q.queued >= q.FlushTriggerSize || wait <= 0, wait
}

// take removes the lines of one write: about as many bytes as trigger one, so
// that the end of a long hang is not one write of everything, and half of what
// may be kept at most, so that there is room for new lines while it hangs.
func (q *queue) take() []record {
	most := min(max(q.FlushTriggerSize, 64*kib), q.MaxBufferSize/2)
	n, bytes := 0, int64(0)
	for n < len(q.records) && (n == 0 || bytes+int64(len(q.records[n].line)) <= most) {
		bytes += int64(len(q.records[n].line))
		n++
	}
	batch := append([]record(nil), q.records[:n]...)
	clear(q.records[:n])
	q.records = q.records[n:]
	q.queued -= bytes
	q.inFlight += bytes
	return batch
}

// settle forgets lines that were taken.
func (q *queue) settle(batch []record) {
	for _, r := range batch {
		q.inFlight -= int64(len(r.line))
	}
}
