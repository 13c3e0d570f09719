// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package failover

import "time"

// How an epoch goes. A late operation opens one, a hedge: operations go to
// both disks, and it ends as soon as the primary has caught up. An operation
// that is overdue makes it a failover, which ends only when the primary has
// been well for a while.
//
//	          late                    overdue
//	primary ───────▶ hedged ────────────────────────▶ failed over
//	   ▲               │ drained and fenced                │
//	   └───────────────┴──────────────────── drained, fenced, well for hold

const (
	// minHold is how long a primary has to be well before a failover ends. It
	// doubles, up to maxHold, when the primary relapses within relapseAfter.
	minHold      = 2 * time.Second
	maxHold      = time.Minute
	relapseAfter = time.Minute
)

// A mode is where a log writes, and since when. It is pure; the log's mutex
// guards it.
type mode struct {
	failedOver bool
	since      time.Time // of the current active directory
	wellSince  time.Time // the primary has answered in time since then; zero: it has not
	hold       time.Duration
	back       time.Time // when the newest failover ended
	why        string    // why the epoch is closing, for the next reason

	switches  uint64 // both ways, as CockroachDB counts
	hedges    uint64
	primary   time.Duration // spent there, without the current stretch
	secondary time.Duration
	// shown is the latest moment that spent was asked for. A switch is not
	// before it, so that what is cumulative never falls: whoever computes a rate
	// would take that for a restart.
	shown      time.Time
	lastSwitch time.Time
	lastReason string
}

// failOver notes that an operation was overdue. It reports whether that changed anything.
func (m *mode) failOver(now time.Time, reason string) bool {
	m.wellSince = time.Time{}
	if m.failedOver {
		return false
	}
	if !m.back.IsZero() && now.Sub(m.back) < relapseAfter {
		m.hold = min(2*m.hold, maxHold)
	} else {
		m.hold = minHold
	}
	m.primary, _ = m.spent(now)
	m.turn(now, true, reason)
	return true
}

// failBack notes that the log writes to the primary again.
func (m *mode) failBack(now time.Time) {
	if !m.failedOver {
		return
	}
	_, m.secondary = m.spent(now)
	m.back = now
	m.turn(now, false, m.why)
}

// spent is how long writes went to each disk. It never falls.
func (m *mode) spent(now time.Time) (primary, secondary time.Duration) {
	if now.After(m.shown) {
		m.shown = now
	}
	primary, secondary = m.primary, m.secondary
	if m.failedOver {
		secondary += m.shown.Sub(m.since)
	} else {
		primary += m.shown.Sub(m.since)
	}
	return primary, secondary
}

func (m *mode) turn(now time.Time, over bool, reason string) {
	m.failedOver, m.since = over, m.shown
	m.switches++
	m.lastSwitch, m.lastReason = now, reason
}

// primaryAnswered notes a completed call on the primary.
func (m *mode) primaryAnswered(now time.Time, took, threshold time.Duration) {
	switch {
	case took > threshold/2:
		m.wellSince = time.Time{}
	case m.wellSince.IsZero():
		m.wellSince = now
	}
}

// primaryFailed notes an error of the primary.
func (m *mode) primaryFailed(time.Time) { m.wellSince = time.Time{} }

// mayFailBack reports whether a drained primary has been well for long enough.
func (m *mode) mayFailBack(now time.Time) bool {
	return !m.failedOver || (!m.wellSince.IsZero() && now.Sub(m.wellSince) >= m.hold)
}
