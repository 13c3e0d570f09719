// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package failover

import (
	"slices"
	"time"
)

// timer returns a stopped timer. They are reused: a wait that the primary
// answers in time costs one Reset.
func (l *Log) timer() *time.Timer {
	if t, ok := l.timers.Get().(*time.Timer); ok {
		return t
	}
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}

// wait returns when o is acknowledged. On the way it is hedged when it is late.
// undo is the index that an append of a stalled leader is taken back from; 0: o
// waits as long as it takes.
func (l *Log) wait(o *op, undo uint64) error {
	t := l.timer()
	defer func() { t.Stop(); l.timers.Put(t) }()
	for next := o.hedge; ; {
		t.Reset(next - time.Since(o.since))
		select {
		case err := <-o.done:
			l.cfg.Metrics.WriteAndSync(time.Since(o.since))
			return err
		case <-t.C:
		}
		stalled := false
		if next, stalled = l.late(o); stalled && undo != 0 && l.cfg.Leader() && l.takeBack(o, undo) {
			return ErrStalled
		}
	}
}

// stalledAfter is when a leader gives up on both disks.
func stalledAfter(threshold time.Duration, size int) time.Duration {
	return 3*threshold + perByte(size)
}

// late hedges an operation that the primary has not taken in time: it goes to
// the side as well, with everything before it, and the first durable copy
// acknowledges it. It returns how old the operation is to be when it is looked at
// again, and whether no disk can be expected to take it. Between those looks the
// watcher keeps an eye on it.
func (l *Log) late(o *op) (next time.Duration, stalled bool) {
	select {
	case l.watching <- struct{}{}:
	default:
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	l.hedgeLocked(o, now)
	waited, limit := now.Sub(o.since), stalledAfter(l.mu.threshold, o.size)
	if waited < limit {
		return limit, false
	}
	return waited + l.mu.threshold, l.side != nil && !l.offLocked() && !l.canFailOverLocked()
}

// hedgeLocked opens the epoch for o, or calls off its closing, where o is late
// and the side can help it.
func (l *Log) hedgeLocked(o *op, now time.Time) {
	led := &l.mu.led
	if led.open && !led.closing || led.ackable(o.seq) || !l.lateLocked(o, now) || !l.canFailOverLocked() {
		return
	}
	l.mu.hedging = l.mu.hedging || !led.open
	led.openEpoch()
	l.issueLocked()
}

// lateLocked reports whether an operation that is not acknowledged has waited
// for longer than the primary needs when it is well.
func (l *Log) lateLocked(o *op, now time.Time) bool {
	waited := now.Sub(o.since)
	busy := l.mu.call.attempt.age(now)
	switch {
	case waited < o.hedge:
		return false
	case l.mu.call.chore && busy > 0:
		// Compaction is slow and no sign of a hang until it takes very long.
		return busy >= l.mu.threshold/2
	case l.mu.choreEnd.After(o.since):
		return now.Sub(l.mu.choreEnd) >= o.hedge
	case l.mu.led.open && l.mu.led.closing:
		// It waits for three calls: what is under way, the fence, its own.
		return busy >= o.hedge || waited >= 3*o.hedge
	}
	return true
}

// takeBack undoes an append that no disk took, by an operation of its own: the
// hung call may still land. False where o was acknowledged meanwhile.
func (l *Log) takeBack(o *op, index uint64) bool {
	undo := newOp(opTruncate)
	undo.index = index
	l.mu.Lock()
	defer l.mu.Unlock()
	at := slices.Index(l.mu.unacked, o)
	if at < 0 || l.submitLocked(undo, false) != nil {
		return false
	}
	l.mu.unacked = slices.Delete(l.mu.unacked, at, at+1)
	return true
}

// Stalled is for how long the oldest operation that is durable nowhere, or
// cannot be acknowledged yet, has been waiting: milliseconds while a disk is
// well, and growing while every disk hangs, be somebody still waiting for it or
// told ErrStalled meanwhile. 0 when there is none. It never waits for a disk and costs
// one uncontended mutex.
func (l *Log) Stalled() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stalledLocked(time.Now())
}

func (l *Log) stalledLocked(now time.Time) time.Duration {
	var oldest time.Duration
	if len(l.mu.unacked) > 0 {
		oldest = now.Sub(l.mu.unacked[0].since)
	}
	if n := len(l.mu.queue); n > 0 {
		at := 0
		if led := &l.mu.led; led.open && led.durable >= l.mu.queue[0].seq {
			at = int(led.durable-l.mu.queue[0].seq) + 1 //nolint:gosec // within the queue
		}
		if at < n {
			oldest = max(oldest, now.Sub(l.mu.queue[at].since))
		}
	}
	return oldest
}
