// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package failover

import (
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

// The applier is the one goroutine that writes to the primary. It runs the
// operations in order, merging consecutive appends; a hung call is the head of
// its queue and nothing runs beside it. A write that lands late therefore
// lands in its place.

// probeEvery is how often the applier writes the fence while an epoch is open
// and there is nothing to apply: a write that shows how the primary is.
const probeEvery = 100 * time.Millisecond

// reopenAfter is how long the applier waits before it opens a failed primary
// again, doubling up to a maximum.
const (
	reopenAfter    = 100 * time.Millisecond
	reopenAfterMax = 5 * time.Second
)

func (l *Log) runApplier() {
	defer close(l.mu.closing)
	probe := time.NewTimer(probeEvery)
	defer probe.Stop()
	for {
		switch l.step() {
		case worked:
			continue
		case finished:
			return
		case idle:
		}
		probe.Reset(probeEvery)
		select {
		case <-l.wake:
		case <-probe.C:
			l.probe()
		}
	}
}

type stepResult int

const (
	idle stepResult = iota
	worked
	finished
)

// step does one piece of work: a fence that is owed, then operations, then a
// piece of compaction.
func (l *Log) step() stepResult {
	l.mu.Lock()
	if l.mu.led.wantsFence() || l.shortensLocked() {
		l.mu.Unlock()
		l.writeFence()
		return worked
	}
	batch, entries := l.batchLocked()
	if len(batch) > 0 {
		l.mu.applyingSince = time.Now()
		l.mu.Unlock()
		l.applyBatch(batch, entries)
		return worked
	}
	compactTo, closed := l.mu.compactTo, l.mu.closed
	l.mu.Unlock()
	if closed {
		return finished
	}
	if compactTo > l.pFirst && l.pFirst != 0 {
		l.compact(compactTo)
		return worked
	}
	return idle
}

// shortensLocked reports whether the next operation has to wait for a fence.
func (l *Log) shortensLocked() bool {
	if len(l.mu.queue) == 0 {
		return false
	}
	head := l.mu.queue[0]
	return head.kind != opAppend && !l.mu.led.mayShorten(head.seq)
}

// batchLocked takes the head of the queue: one operation, or consecutive
// appends together with their entries.
func (l *Log) batchLocked() (batch []*op, entries []*raft.Log) {
	if len(l.mu.queue) == 0 {
		return nil, nil
	}
	head := l.mu.queue[0]
	if head.kind != opAppend {
		return l.mu.queue[:1:1], nil
	}
	n, size := 1, head.size
	for n < len(l.mu.queue) {
		o, before := l.mu.queue[n], l.mu.queue[n-1].logs
		if o.kind != opAppend || o.logs[0].Index != before[len(before)-1].Index+1 || size+o.size > maxOp {
			break
		}
		size += o.size
		n++
	}
	if n == 1 {
		return l.mu.queue[:1:1], head.logs
	}
	for _, o := range l.mu.queue[:n] {
		entries = append(entries, o.logs...)
	}
	return l.mu.queue[:n:n], entries
}

// applyBatch brings a batch onto the primary, however long that takes and
// however often the primary has to be opened again for it.
func (l *Log) applyBatch(batch []*op, entries []*raft.Log) {
	wait := reopenAfter
	for {
		start := time.Now()
		err := l.apply(batch[0], entries)
		if err == nil {
			l.applied(batch, start)
			return
		}
		l.primaryFailed(err)
		if !l.reopen(&wait) {
			return
		}
	}
}

// apply runs one operation on the primary. It may run again after an error:
// each makes the log what it says, whatever was there.
func (l *Log) apply(o *op, entries []*raft.Log) error {
	if l.primary == nil {
		return errors.New("the primary is not open")
	}
	switch o.kind {
	case opAppend:
		if err := l.removeFrom(entries[0].Index); err != nil {
			return err
		}
		if err := l.primary.StoreLogs(entries); err != nil {
			return err
		}
		if l.pFirst == 0 {
			l.pFirst = entries[0].Index
		}
		l.pLast = entries[len(entries)-1].Index
		return nil
	case opTruncate:
		return l.removeFrom(o.index)
	case opReset:
		return l.removeFrom(0)
	case opSet:
		return l.primary.Set(o.key, o.value)
	case opSetUint64:
		return l.primary.SetUint64(o.key, beUint64(o.value))
	}
	return fmt.Errorf("operation %d has the unknown kind %d", o.seq, o.kind)
}

// removeFrom removes the primary's suffix from index on.
func (l *Log) removeFrom(index uint64) error {
	if l.pLast == 0 || index > l.pLast {
		return nil
	}
	low := max(index, l.pFirst)
	if err := l.primary.DeleteRange(low, l.pLast); err != nil {
		return err
	}
	if low == l.pFirst {
		l.pFirst, l.pLast = 0, 0
	} else {
		l.pLast = low - 1
	}
	return nil
}

// applied takes a batch from the queue, acknowledges what may be, and decides
// whether an epoch that only hedged is over.
func (l *Log) applied(batch []*op, start time.Time) {
	now := time.Now()
	size := 0
	for _, o := range batch {
		size += o.size
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	newest := batch[len(batch)-1].seq
	l.mu.queue = l.mu.queue[len(batch):]
	if len(l.mu.queue) == 0 {
		l.mu.queue = nil
	}
	l.mu.led.onApplied(newest)
	l.mu.view.applied(newest)
	l.mu.applyingSince = time.Time{}
	l.mu.primaryErr = nil
	l.mu.hedge.observe(now, now.Sub(start), size, l.mu.threshold)
	l.mu.mode.primaryAnswered(now, now.Sub(start), l.mu.threshold)
	l.failbackLocked(now)
	l.ackLocked()
}

// writeFence makes what is applied the fence.
func (l *Log) writeFence() {
	l.mu.Lock()
	v := fence{epoch: l.mu.led.epoch, seq: l.mu.led.applied}
	start := time.Now()
	l.mu.applyingSince = start
	l.mu.Unlock()

	err := l.fence.write(v)

	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	l.mu.applyingSince = time.Time{}
	if err != nil {
		// The next one writes the other slot. Until one succeeds the epoch stays open.
		l.mu.primaryErr = err
		l.mu.mode.primaryFailed(now)
		return
	}
	l.mu.mode.primaryAnswered(now, now.Sub(start), l.mu.threshold)
	l.mu.led.onFenced(v.seq)
	l.failbackLocked(now)
	l.ackLocked()
}

// probe writes the fence of an open epoch that has nothing to apply, so that
// the primary's health is known.
func (l *Log) probe() {
	l.mu.Lock()
	open := l.mu.led.open
	l.mu.Unlock()
	if open {
		l.writeFence()
	}
}

// compact removes one piece of what left the front of the log. It hurries
// nobody: there is no deadline, and operations go first.
func (l *Log) compact(to uint64) {
	if l.primary == nil {
		return
	}
	high := min(l.pFirst+l.cfg.CompactionPiece-1, to-1, l.pLast)
	if err := l.primary.DeleteRange(l.pFirst, high); err != nil {
		l.primaryFailed(err)
		wait := reopenAfter
		l.reopen(&wait)
		return
	}
	if high == l.pLast {
		l.pFirst, l.pLast = 0, 0
		return
	}
	l.pFirst = high + 1
}

func (l *Log) primaryFailed(err error) {
	l.cfg.Logger.Error("the primary log failed: closing it and opening it again", "dir", l.cfg.Dir, "error", err)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.primaryErr = err
	l.mu.mode.primaryFailed(time.Now())
}

// reopen closes a primary that failed and opens it again: a failed handle is
// not safe to use. Readers are let out first, and wait meanwhile. It waits
// before it tries, and returns false when the log is being closed.
func (l *Log) reopen(wait *time.Duration) bool {
	t := time.NewTimer(*wait)
	defer t.Stop()
	*wait = min(2**wait, reopenAfterMax)
	select {
	case <-t.C:
	case <-l.stop:
		return false
	}
	l.primaryM.Lock()
	defer l.primaryM.Unlock()
	if l.primary != nil {
		if err := l.primary.Close(); err != nil {
			l.cfg.Logger.Warn("closing the failed primary log", "dir", l.cfg.Dir, "error", err)
		}
		l.primary = nil
	}
	primary, err := l.cfg.Open()
	if err != nil {
		l.cfg.Logger.Error("opening the primary log again", "dir", l.cfg.Dir, "error", err)
		return true
	}
	first, last, err := bounds(primary)
	if err != nil {
		l.cfg.Logger.Error("reading the reopened primary log", "dir", l.cfg.Dir, "error", errors.Join(err, primary.Close()))
		return true
	}
	l.primary, l.pFirst, l.pLast = primary, first, last
	return true
}

// bounds are a store's first and last index.
func bounds(s raft.LogStore) (first, last uint64, err error) {
	if first, err = s.FirstIndex(); err != nil {
		return 0, 0, err
	}
	if last, err = s.LastIndex(); err != nil {
		return 0, 0, err
	}
	return first, last, nil
}
