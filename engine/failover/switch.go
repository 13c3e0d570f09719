// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package failover

import (
	"fmt"
	"time"
)

// offLocked reports whether failover is turned off by its limits.
func (l *Log) offLocked() bool { return l.mu.threshold > l.mu.maxSync }

// canFailOverLocked reports whether the side may be written: it is recorded on
// the primary, failover is not turned off, and the side does not hang itself.
func (l *Log) canFailOverLocked() bool {
	return l.side != nil && l.mu.side.armed && !l.offLocked() && !l.sideDownLocked()
}

// sideDownLocked reports whether the open epoch's journal is of no use: it
// failed, or the side has been hanging for longer than the threshold.
func (l *Log) sideDownLocked() bool {
	return l.mu.sideErr != nil || l.mu.bytes > l.cfg.JournalBudget || l.side.hangs(l.mu.threshold)
}

// failbackLocked ends the epoch when its time has come. The applier calls it
// after each call on the primary; start is when that began.
func (l *Log) failbackLocked(now, start time.Time) {
	led := &l.mu.led
	if !led.open {
		l.epochEndedLocked(now)
		return
	}
	// Drained: at most what arrived during the last call is left. With a side
	// that is of no use there is nothing to stay for: operations whose records
	// never became durable wait for the fence.
	drained := len(l.mu.queue) == 0 || !l.mu.queue[0].since.Before(start)
	switch {
	case l.offLocked():
		l.mu.mode.why = "failover was turned off"
	case l.sideDownLocked():
		l.mu.mode.why = "the side does not take writes any more"
	case drained && l.mu.mode.mayFailBack(now):
		l.mu.mode.why = "the primary has been well for " + l.mu.mode.hold.String()
	default:
		return
	}
	led.startClosing()
	if !led.open {
		l.epochEndedLocked(now)
	}
}

// epochEndedLocked notes that nothing on the side is needed any more.
func (l *Log) epochEndedLocked(now time.Time) {
	l.mu.wantsFence = false
	if l.mu.hedging {
		l.mu.hedging = false
		l.mu.mode.hedges++
	}
	if l.mu.sideErr != nil {
		l.sideBrokenLocked(l.mu.sideErr)
		l.mu.sideErr = nil
	}
	if l.mu.mode.failedOver {
		l.mu.mode.failBack(now)
		l.cfg.Logger.Info("failing back: writes go to the primary", "dir", l.cfg.Dir)
	}
}

// SetLimits changes Threshold and MaxSync of a running log; what is not
// positive stays as it is. A threshold above maxSync turns failover off: no
// operation is written to the side any more, and an open epoch ends when the
// primary has caught up; a threshold of maxSync or less turns it on again, for operations
// that wait already too. MaxSync holds either way.
func (l *Log) SetLimits(threshold, maxSync time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if threshold > 0 {
		l.mu.threshold = threshold
	}
	if maxSync > 0 {
		l.mu.maxSync = maxSync
	}
	l.mu.hedge.base = 0
	if l.offLocked() {
		l.mu.mode.why = "failover was turned off"
		if l.mu.led.startClosing(); !l.mu.led.open {
			l.epochEndedLocked(time.Now())
		}
	}
	l.poke()
	l.watchSoon()
}

// watchSoon has the watcher look often while something is late.
func (l *Log) watchSoon() {
	select {
	case l.watching <- struct{}{}:
	default:
	}
}

const (
	// watchEvery is how often the watcher looks while something is late, and
	// watchIdle while nothing is known to be: often enough for MaxSync.
	watchEvery = 5 * time.Millisecond
	watchIdle  = 250 * time.Millisecond
)

// runWatcher makes it a failover when the primary is overdue, whoever waits for
// it or no longer does, hedges what could not be hedged at its time, and calls
// Fatal when the primary has been hanging or failing for MaxSync.
func (l *Log) runWatcher() {
	t := time.NewTimer(watchIdle)
	defer t.Stop()
	for {
		select {
		case <-l.watching:
		case <-t.C:
		case <-l.stop:
			return
		}
		again, err := l.watch(time.Now())
		if err != nil {
			l.cfg.Fatal(err)
			return
		}
		if again {
			t.Reset(watchEvery)
		} else {
			t.Reset(watchIdle)
		}
	}
}

// watch looks once. again is whether to look again soon.
func (l *Log) watch(now time.Time) (again bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, o := range l.mu.unacked {
		l.hedgeLocked(o, now)
	}
	if len(l.mu.unacked) > 0 && l.mu.led.open {
		// On the primary already, and the side does not answer: a fence answers it.
		o := l.mu.unacked[0]
		if o.seq <= l.mu.led.applied && now.Sub(o.since) > o.hedge && !l.mu.wantsFence {
			l.mu.wantsFence = true
			l.poke()
		}
	}
	if len(l.mu.queue) > 0 && l.mu.led.open {
		l.overdueLocked(l.mu.queue[0], now)
	}
	if busy := l.mu.call.age(now); busy > l.mu.maxSync {
		if l.mu.call.err != nil {
			return false, fmt.Errorf("%w: every write to %s has been failing for %s, longer than storage.max_sync_duration (%s): %w",
				ErrHung, l.cfg.Dir, busy.Round(time.Second), l.mu.maxSync, l.mu.call.err)
		}
		return false, fmt.Errorf("%w: a write to %s has been hanging for %s, longer than storage.max_sync_duration (%s)",
			ErrHung, l.cfg.Dir, busy.Round(time.Second), l.mu.maxSync)
	}
	return len(l.mu.queue) > 0 || len(l.mu.unacked) > 0 || l.mu.led.open, nil
}

// overdueLocked makes it a failover when the head of the queue has been waiting
// for longer than the threshold.
func (l *Log) overdueLocked(head *op, now time.Time) {
	waited := now.Sub(head.since)
	if waited <= l.mu.threshold {
		return
	}
	reason := fmt.Sprintf("the primary has not taken an operation for %s", waited.Round(time.Millisecond))
	if err := l.mu.call.err; err != nil {
		reason = fmt.Sprintf("the primary has been failing for %s: %v", waited.Round(time.Millisecond), err)
	}
	if l.mu.mode.failOver(now, reason) {
		l.mu.hedging = false
		l.cfg.Logger.Warn("failing over: writes go to the side", "dir", l.cfg.Dir, "side", l.side.Dir(), "reason", reason)
	}
}
