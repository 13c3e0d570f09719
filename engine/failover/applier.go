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
// lands in its place. What is not an operation, a chore, runs when the queue is
// empty: compaction, and the record of armed sides.

const (
	// probeEvery is how often the fence is written while an epoch is open: it
	// shows how the primary is when there is nothing to apply, and lets journal
	// files be used again when there is.
	probeEvery = 100 * time.Millisecond
	// reopenAfter is how long the applier waits after an error of the primary,
	// doubling up to a maximum.
	reopenAfter    = 100 * time.Millisecond
	reopenAfterMax = 5 * time.Second
)

// A call is what the primary is busy with, from the first attempt on until one
// succeeds.
type call struct {
	since   time.Time // of the first attempt; zero while the primary is idle
	attempt inFlight  // in progress; none between two attempts
	chore   bool
	err     error // of the newest attempt
}

func (c call) age(now time.Time) time.Duration { return inFlight{since: c.since}.age(now) }

func (l *Log) runApplier() {
	defer close(l.drained)
	probe := time.NewTimer(probeEvery)
	probe.Stop()
	defer probe.Stop()
	for {
		select {
		case <-l.stop:
			return
		default:
		}
		switch l.step() {
		case worked:
			continue
		case finished:
			return
		case idle:
			if again := time.Until(l.compactAfter); again > 0 {
				probe.Reset(again)
			} else {
				probe.Stop()
			}
		case idleInEpoch:
			probe.Reset(probeEvery)
		}
		select {
		case <-l.wake:
		case <-probe.C:
			l.writeFence()
		case <-l.stop:
			return
		}
	}
}

type stepResult int

const (
	idle stepResult = iota
	idleInEpoch
	worked
	finished
)

// step does one piece of work: a fence that is owed, then operations, then a
// chore.
func (l *Log) step() stepResult {
	l.mu.Lock()
	if l.fenceDueLocked(time.Now()) {
		l.mu.Unlock()
		l.writeFence()
		return worked
	}
	batch, entries := l.batchLocked()
	if len(batch) > 0 {
		l.mu.Unlock()
		l.applyBatch(batch, entries)
		return worked
	}
	compactTo, arming := l.mu.compactTo, l.armingLocked()
	closed, open := l.mu.closed, l.mu.led.open
	l.mu.Unlock()
	switch {
	case closed:
		return finished
	case arming:
		l.writeArmed()
		return worked
	case compactTo > l.pFirst && l.pFirst != 0 && l.primary != nil && !time.Now().Before(l.compactAfter):
		l.compact(compactTo)
		return worked
	case open:
		return idleInEpoch
	}
	return idle
}

// fenceDueLocked reports whether the next call on the primary is a fence.
func (l *Log) fenceDueLocked(now time.Time) bool {
	led := &l.mu.led
	switch {
	case !led.open:
		return false
	case led.wantsFence(), l.mu.wantsFence:
		return true
	case len(l.mu.queue) == 0:
		return false
	}
	head := l.mu.queue[0]
	return head.kind != opAppend && !led.mayShorten(head.seq) ||
		led.applied > led.fenced && now.Sub(l.mu.fenced) > probeEvery
}

// batchLocked takes the head of the queue: one operation, or consecutive
// appends together with their entries. While the epoch is closing it ends with
// what was journaled, so that the fence comes next and, should the closing be
// called off, the journal goes on without a gap.
func (l *Log) batchLocked() (batch []*op, entries []*raft.Log) {
	if len(l.mu.queue) == 0 {
		return nil, nil
	}
	head := l.mu.queue[0]
	if head.kind != opAppend {
		return l.mu.queue[:1:1], nil
	}
	led := &l.mu.led
	n, size := 1, head.size
	for n < len(l.mu.queue) {
		o, before := l.mu.queue[n], l.mu.queue[n-1].logs
		if o.kind != opAppend || o.logs[0].Index != before[len(before)-1].Index+1 || size+o.size > maxOp {
			break
		}
		if led.open && led.closing && o.seq > led.closeAt && head.seq <= led.closeAt {
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

// begin starts the clock of a call on the primary.
func (l *Log) begin(chore bool) time.Time {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.call.since.IsZero() {
		l.mu.call.since = now
	}
	l.mu.call.chore, l.mu.call.attempt = chore, inFlight{since: now}
	return now
}

// endLocked notes that the primary did what it was told.
func (l *Log) endLocked(now time.Time) {
	if l.mu.call.chore {
		l.mu.choreEnd = now
	}
	l.mu.call, l.mu.primaryErr = call{}, nil
	l.backoff = 0
}

// callOver stops the clock of MaxSync: what the primary was told is given up. Its
// error stays in the status.
func (l *Log) callOver() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.call = call{}
	l.backoff = 0
}

// failed notes an error of the primary. The clock of MaxSync goes on.
func (l *Log) failed(err error) {
	l.cfg.Logger.Error("the primary log failed: it is tried again", "dir", l.cfg.Dir, "error", err)
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if l.mu.call.chore {
		l.mu.choreEnd = now
	}
	l.mu.call.attempt, l.mu.call.err, l.mu.primaryErr = inFlight{}, err, err
	l.mu.mode.primaryFailed(now)
	l.watchSoon()
}

// pause waits before the primary is tried again. False when the log is being
// stopped.
func (l *Log) pause() bool {
	if l.backoff == 0 {
		l.backoff = reopenAfter
	}
	t := time.NewTimer(l.backoff)
	defer t.Stop()
	l.backoff = min(2*l.backoff, reopenAfterMax)
	select {
	case <-t.C:
		return true
	case <-l.stop:
		return false
	}
}

// applyBatch brings a batch onto the primary, however long that takes and
// however often the primary has to be opened again for it.
func (l *Log) applyBatch(batch []*op, entries []*raft.Log) {
	keep := l.keeps(batch[0])
	for {
		start := l.begin(false)
		err := l.apply(batch[0], entries)
		l.cfg.Metrics.PrimarySync(time.Since(start))
		if err == nil {
			l.onApplied(batch, start)
			return
		}
		l.failed(err)
		if !l.reopen(keep) {
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
		// boltdb would leave a hole without a word.
		if l.pLast != 0 && entries[0].Index != l.pLast+1 {
			return fmt.Errorf("%w: an append at %d meets a log that ends at %d", ErrDamaged, entries[0].Index, l.pLast)
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

// keeps is the last index that the primary still has after o failed half way.
func (l *Log) keeps(o *op) uint64 {
	switch o.kind {
	case opAppend:
		return min(l.pLast, o.logs[0].Index-1)
	case opTruncate:
		return min(l.pLast, o.index-1)
	case opReset:
		return 0
	case opSet, opSetUint64:
	}
	return l.pLast
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

// onApplied takes a batch from the queue, acknowledges what may be, and decides
// whether the epoch is over.
func (l *Log) onApplied(batch []*op, start time.Time) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	size := 0
	for _, o := range batch {
		size += o.size
	}
	newest := batch[len(batch)-1].seq
	l.mu.queue = l.mu.queue[len(batch):]
	if len(l.mu.queue) == 0 {
		l.mu.queue = nil
	}
	l.mu.bytes -= int64(size)
	l.mu.led.onApplied(newest)
	l.mu.view.applied(newest)
	l.endLocked(now)
	l.mu.hedge.observe(now, now.Sub(start), size, l.mu.threshold)
	l.mu.mode.primaryAnswered(now, now.Sub(start), l.mu.threshold)
	l.failbackLocked(now, start)
	l.ackLocked()
}

// writeFence makes what is applied the fence. It is written while an epoch is
// open only. If it fails the epoch stays open.
func (l *Log) writeFence() {
	l.mu.Lock()
	open, v := l.mu.led.open, fence{epoch: l.mu.led.epoch, seq: l.mu.led.applied}
	l.mu.Unlock()
	if !open {
		l.callOver() // a fence that failed is not owed any more
		return
	}
	start := l.begin(false)
	err := l.fence.write(v)
	l.cfg.Metrics.PrimarySync(time.Since(start))
	if err != nil {
		l.failed(err)
		l.pause()
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	l.endLocked(now)
	l.mu.fenced, l.mu.wantsFence = now, false
	l.mu.mode.primaryAnswered(now, now.Sub(start), l.mu.threshold)
	l.mu.led.onFenced(v.seq)
	l.failbackLocked(now, start)
	l.ackLocked()
}

const (
	// A piece of compaction takes a few milliseconds: below quickPiece the next
	// one is larger, above slowPiece smaller.
	quickPiece = 3 * time.Millisecond
	slowPiece  = 6 * time.Millisecond
	minPiece   = 16
	maxPiece   = 1 << 20
	// compactRetry keeps a compaction that fails from closing and opening the
	// primary again and again.
	compactRetry = 10 * time.Second
)

// compact removes one piece of what left the front of the log. It hurries
// nobody: there is no deadline, and operations go first.
func (l *Log) compact(to uint64) {
	high := min(l.pFirst+l.piece-1, to-1, l.pLast)
	start := l.begin(true)
	err := l.primary.DeleteRange(l.pFirst, high)
	took := time.Since(start)
	l.cfg.Metrics.PrimarySync(took)
	if err != nil {
		l.compactAfter = start.Add(compactRetry)
		l.failed(fmt.Errorf("compacting: %w", err))
		if l.reopen(l.pLast) {
			l.callOver() // the piece is tried again later, and nobody waits for it
		}
		return
	}
	switch {
	case took < quickPiece && high == l.pFirst+l.piece-1:
		l.piece = min(2*l.piece, maxPiece)
	case took > slowPiece:
		l.piece = max(l.piece/2, min(minPiece, l.cfg.CompactionPiece))
	}
	if l.pFirst = high + 1; high == l.pLast {
		l.pFirst, l.pLast = 0, 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.endLocked(time.Now())
}

// reopen closes a primary that failed and opens it again: a failed handle is
// not safe to use. Readers are let out first, and wait meanwhile. keep is the
// last index that has to be there still. It goes on until it succeeds, and
// returns false when the log is being stopped.
func (l *Log) reopen(keep uint64) bool {
	for l.pause() {
		l.begin(false)
		err := l.reopenOnce(keep)
		if err == nil {
			return true
		}
		l.failed(fmt.Errorf("opening the primary in %s again: %w", l.cfg.Dir, err))
	}
	return false
}

func (l *Log) reopenOnce(keep uint64) error {
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
		return err
	}
	first, last, err := bounds(primary)
	if err == nil && last < keep {
		err = fmt.Errorf("%w: it ends at %d, and %d was durable", ErrDamaged, last, keep)
	}
	if err != nil {
		return errors.Join(err, primary.Close())
	}
	l.primary, l.pFirst, l.pLast = primary, first, last
	return nil
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
