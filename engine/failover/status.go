// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package failover

import "time"

// Status is what a log shows of itself. Durations are cumulative since the
// log was opened.
type Status struct {
	Active     string        // "primary" or "secondary": where writes go
	Side       string        // the side's directory, "" without failover
	Armed      bool          // the side may be written
	SideHung   time.Duration // how long the side's current call has been going on
	Hung       time.Duration // how long the primary's current call has been going on
	Switches   uint64        // both ways
	Hedges     uint64        // operations that opened an epoch without a switch
	Primary    time.Duration
	Secondary  time.Duration
	Hedge      time.Duration // H for a small operation
	LastSwitch time.Time
	LastReason string
	Pending    int   // operations that the primary has not applied
	Bytes      int   // of entries that are in memory because the primary lacks them
	PrimaryErr error // the primary's newest error, nil once it answered again
	SideErr    error // why the open epoch's journal is of no use
}

// Status returns what the log knows; it never waits for a disk.
func (l *Log) Status() Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	m := &l.mu.mode
	s := Status{
		Active: "primary", Armed: l.mu.armed, Switches: m.switches, Hedges: m.hedges,
		Primary: m.primary, Secondary: m.secondary, LastSwitch: m.lastSwitch, LastReason: m.lastReason,
		Pending: l.mu.led.pending(), Bytes: l.mu.view.bytes, PrimaryErr: l.mu.primaryErr, SideErr: l.mu.sideErr,
		Hedge: l.mu.hedge.after(now, 0, l.mu.threshold),
	}
	if m.failedOver {
		s.Active = "secondary"
		s.Secondary += now.Sub(m.since)
	} else {
		s.Primary += now.Sub(m.since)
	}
	if l.side != nil {
		s.Side, s.SideHung = l.side.Dir(), l.side.Overdue()
	}
	if !l.mu.applyingSince.IsZero() {
		s.Hung = now.Sub(l.mu.applyingSince)
	}
	return s
}

// SetLimits changes Threshold and MaxSync of a running log. A threshold above
// maxSync turns failover off: an open epoch ends when the primary has caught up.
func (l *Log) SetLimits(threshold, maxSync time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.threshold, l.mu.maxSync = threshold, maxSync
	l.mu.hedge.base = 0
}
