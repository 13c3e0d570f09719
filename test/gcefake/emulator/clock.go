// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package emulator

import (
	"slices"
	"sync"
	"time"
)

// Clock is the time that operations and latency go by.
type Clock interface {
	Now() time.Time
	// AfterFunc calls f once, d from now, in a goroutine that may be a new one.
	AfterFunc(d time.Duration, f func())
}

type systemClock struct{}

func (systemClock) Now() time.Time                      { return time.Now() }
func (systemClock) AfterFunc(d time.Duration, f func()) { time.AfterFunc(d, f) }

// Manual is a clock that stands still until Advance is called.
type Manual struct {
	mu struct {
		sync.Mutex
		now    time.Time
		timers []timer // by time, then by the order in which they were set
	}
}

type timer struct {
	at time.Time
	f  func()
}

// NewManual returns a clock that stands at a time.
func NewManual(now time.Time) *Manual {
	m := &Manual{}
	m.mu.now = now
	return m
}

// Now implements Clock.
func (m *Manual) Now() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.mu.now
}

// AfterFunc implements Clock. Even with d = 0, f waits for the next Advance.
func (m *Manual) AfterFunc(d time.Duration, f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.timers = append(m.mu.timers, timer{m.mu.now.Add(d), f})
	slices.SortStableFunc(m.mu.timers, func(a, b timer) int { return a.at.Compare(b.at) })
}

// Advance moves the clock and calls what became due, in order, one after the
// other, also what these calls set for a time within d. It returns when all
// have returned.
func (m *Manual) Advance(d time.Duration) {
	m.mu.Lock()
	end := m.mu.now.Add(d)
	for len(m.mu.timers) > 0 && !m.mu.timers[0].at.After(end) {
		next := m.mu.timers[0]
		m.mu.timers = m.mu.timers[1:]
		m.mu.now = next.at
		m.mu.Unlock()
		next.f()
		m.mu.Lock()
	}
	m.mu.now = end
	m.mu.Unlock()
}
