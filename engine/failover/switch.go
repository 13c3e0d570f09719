// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package failover

import (
	"fmt"
	"time"
)

// canFailOverLocked reports whether the side may be written: it is recorded on
// the primary, failover is not turned off, and the side does not hang itself.
func (l *Log) canFailOverLocked() bool {
	return l.side != nil && l.mu.armed && l.mu.threshold <= l.mu.maxSync && !l.sideDownLocked()
}

// sideDownLocked reports whether the open epoch's journal is of no use: it
// failed, or the side has been hanging for longer than the threshold.
func (l *Log) sideDownLocked() bool {
	return l.mu.sideErr != nil || l.side.Overdue() > l.mu.threshold
}

// late hedges an operation that the primary has not taken within H: it goes to
// the side as well, with everything before it, and the first durable copy
// acknowledges it.
func (l *Log) late(o *op) {
	select {
	case l.watching <- struct{}{}:
	default:
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.canFailOverLocked() || l.mu.led.applied >= o.seq {
		return
	}
	if !l.mu.led.open {
		l.mu.mode.hedges++
		l.mu.sideErr = nil
	}
	l.mu.led.openEpoch()
	l.issueLocked()
}

// failbackLocked ends the epoch when its time has come. The applier calls it
// after each call on the primary.
func (l *Log) failbackLocked(now time.Time) {
	led := &l.mu.led
	if !led.open {
		if l.mu.mode.failedOver {
			l.mu.mode.failBack(now)
			l.mu.sideErr = nil
			l.cfg.Logger.Info("failing back: writes go to the primary", "dir", l.cfg.Dir)
		}
		return
	}
	// Drained: at most what arrived during the last call is left. With a side
	// that is of no use there is nothing to stay for: operations whose records
	// never became durable wait for the fence.
	drained := led.pending() <= 1
	if l.sideDownLocked() || drained && l.mu.mode.mayFailBack(now) {
		led.startClosing()
		if !led.open {
			l.failbackLocked(now)
		}
	}
}

// watchEvery is how often the watcher looks while something is late.
const watchEvery = 5 * time.Millisecond

// runWatcher makes it a failover when the primary is overdue, whoever waits for
// it or no longer does, and calls Fatal when it has been hanging for MaxSync. It
// sleeps while nothing is late.
func (l *Log) runWatcher() {
	t := time.NewTicker(watchEvery)
	t.Stop()
	defer t.Stop()
	for {
		select {
		case <-l.watching:
			t.Reset(watchEvery)
		case <-t.C:
			again, err := l.watch(time.Now())
			if err != nil {
				l.cfg.Fatal(err)
				return
			}
			if !again {
				t.Stop()
			}
		case <-l.stop:
			return
		}
	}
}

// watch looks once. again is false when there is nothing to watch any more.
func (l *Log) watch(now time.Time) (again bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.mu.queue) > 0 && l.mu.led.open {
		if waited := now.Sub(l.mu.queue[0].since); waited > l.mu.threshold {
			reason := fmt.Sprintf("the primary has not taken an operation for %s", waited.Round(time.Millisecond))
			if l.mu.mode.failOver(now, reason) {
				l.cfg.Logger.Warn("failing over: writes go to the side", "dir", l.cfg.Dir, "side", l.side.Dir(), "reason", reason)
			}
		}
	}
	if !l.mu.applyingSince.IsZero() {
		if hung := now.Sub(l.mu.applyingSince); hung > l.mu.maxSync {
			return false, fmt.Errorf("%w: a write to %s has been hanging for %s, longer than storage.max_sync_duration (%s)",
				ErrHung, l.cfg.Dir, hung.Round(time.Second), l.mu.maxSync)
		}
	}
	return len(l.mu.queue) > 0 || l.mu.led.open, nil
}
