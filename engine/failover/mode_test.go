// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package failover

import (
	"testing"
	"time"
)

// What is cumulative never falls, although a switch was timed a moment before
// somebody asked. With the switch's own time it fell by that moment, and a rate
// over it showed a restart.
func TestSpentNeverFalls(t *testing.T) {
	at := func(ms int) time.Time { return time.Unix(0, 0).Add(time.Duration(ms) * time.Millisecond) }
	m := mode{since: at(0), hold: minHold}
	var primary, secondary time.Duration
	ask := func(ms int) {
		t.Helper()
		p, s := m.spent(at(ms))
		if p < primary || s < secondary {
			t.Errorf("at %d ms: %v and %v, after %v and %v", ms, p, s, primary, secondary)
		}
		primary, secondary = p, s
	}
	ask(100)
	m.failOver(at(90), "overdue")
	ask(95)
	ask(300)
	m.failBack(at(250))
	ask(260)
	ask(400)
	if primary != 200*time.Millisecond || secondary != 200*time.Millisecond {
		t.Errorf("%v on the primary, %v on the secondary; 200 ms each", primary, secondary)
	}
}
