// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package failover

import (
	"fmt"
	"time"
)

// Status is what a log shows of itself: a plain value. Counts and cumulative
// durations are since the log was opened.
type Status struct {
	Active string       // "primary" or "secondary": where writes go first
	Off    string       // why a hang of the primary would not be failed over now; "": it would be
	Sides  []SideStatus // none without a side

	Threshold time.Duration
	MaxSync   time.Duration // storage.max_sync_duration
	Hedge     time.Duration // H for a small operation

	Hung    time.Duration // how long the primary has been busy with one thing, repeated attempts included
	Stalled time.Duration // Log.Stalled

	Switches   uint64 // both ways
	Hedges     uint64 // epochs that ended without having become a failover
	EpochOpen  bool   // operations go to the side, by a hedge or a failover
	Primary    time.Duration
	Secondary  time.Duration
	LastSwitch time.Time
	LastReason string

	Replayed int // operations that were on the side alone when the log was opened
	Pending  int // operations that the primary has not applied
	Bytes    int // of entries that are in memory because the primary lacks them
	Budget   Budget

	PrimaryErr string // the primary's newest error, "" once it answered again
	SideErr    string // why the open epoch's journal is of no use
}

// Budget is what a log may hold back from the primary, in memory or on the side.
type Budget struct {
	Bytes int64
	Used  int64
	Alarm bool // 80 % are used; at 100 % the side counts as stalled
}

// SideStatus is one side directory as its log sees it.
type SideStatus struct {
	Path    string
	Healthy bool
	Armed   bool          // recorded on the primary: it may be written, and a start wants it back
	Free    int64         // bytes of the log's budget that are not used
	Err     string        // why it is not healthy or not armed, or what its journal met
	Hung    time.Duration // how long the disk's current call has been going on
}

// Status returns what the log knows; it never waits for a disk.
func (l *Log) Status() Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	m := &l.mu.mode
	s := Status{
		Active: "primary", Threshold: l.mu.threshold, MaxSync: l.mu.maxSync,
		Hedge: l.mu.hedge.after(now, 0, l.mu.threshold),
		Hung:  l.mu.call.age(now), Stalled: l.stalledLocked(now),
		Switches: m.switches, Hedges: m.hedges, EpochOpen: l.mu.led.open,
		LastSwitch: m.lastSwitch, LastReason: m.lastReason,
		Replayed: l.mu.replayed, Pending: l.mu.led.pending(), Bytes: l.mu.view.bytes,
		Budget:     Budget{Bytes: l.cfg.JournalBudget, Used: l.mu.bytes},
		PrimaryErr: text(l.mu.primaryErr), SideErr: text(l.mu.sideErr),
	}
	s.Primary, s.Secondary = m.spent(now)
	if m.failedOver {
		s.Active = "secondary"
	}
	if l.side != nil {
		s.Sides = []SideStatus{l.sideStatusLocked(&s.Budget)}
	}
	s.Budget.Alarm = s.Budget.Used >= s.Budget.Bytes/5*4
	s.Off = l.whyOffLocked()
	return s
}

func (l *Log) sideStatusLocked(b *Budget) SideStatus {
	a := &l.mu.side
	trouble := l.side.trouble(l.mu.threshold)
	if trouble == nil {
		trouble = l.elsewhereLocked(l.side.mounts())
	}
	s := SideStatus{Path: l.side.Dir(), Healthy: trouble == nil, Armed: a.armed, Hung: l.side.Overdue()}
	var makeErr error
	if a.journal != nil {
		var used int64
		used, makeErr = a.journal.bytesUsed(l.side, l.mu.led.fenced)
		b.Used = max(b.Used, used)
	}
	s.Free = max(b.Bytes-b.Used, 0)
	for _, err := range []error{trouble, a.err, l.mu.sideErr, makeErr} {
		if err != nil {
			s.Err = err.Error()
			break
		}
	}
	return s
}

// whyOffLocked is why a hang of the primary would not be failed over.
func (l *Log) whyOffLocked() string {
	a := &l.mu.side
	switch {
	case l.side == nil:
		return "no side is configured"
	case l.offLocked():
		return fmt.Sprintf("storage.wal_failover.unhealthy_op_threshold (%s) is above storage.max_sync_duration (%s)", l.mu.threshold, l.mu.maxSync)
	case l.mu.sideErr != nil:
		return l.mu.sideErr.Error()
	case a.armed && l.sideDownLocked():
		return fmt.Sprintf("the side %s has not answered for %s", l.side.Dir(), l.side.Overdue().Round(time.Millisecond))
	case a.armed:
		return ""
	case a.err != nil:
		return a.err.Error()
	}
	return fmt.Sprintf("the side %s is being armed", l.side.Dir())
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
