// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package supervise

import (
	"testing"
	"time"
)

func TestDecide(t *testing.T) {
	t0 := time.Unix(1000, 0)
	const bound = 10 * time.Second
	for _, tc := range []struct {
		name string
		f    facts
		want action
		in   time.Duration // from t0; 0 is never
	}{
		{"first start", facts{wanted: true, ready: true}, launch, 0},
		{"no spec yet", facts{wanted: true}, rest, 0},
		{"stopped by somebody", facts{ready: true}, rest, 0},
		{"stopped by somebody after failures", facts{ready: true, failures: 3, exited: t0}, rest, 0},
		{"runs", facts{wanted: true, ready: true, present: true}, rest, 0},
		{"runs though its disk went away", facts{wanted: true, present: true}, rest, 0},
		{"killed by somebody, held by a disk: no second engine", facts{wanted: true, ready: true, present: true, killed: true}, rest, 0},
		{"just failed", facts{wanted: true, ready: true, failures: 1, exited: t0}, rest, FirstDelay},
		{"failed a while ago", facts{wanted: true, ready: true, failures: 1, exited: t0.Add(-FirstDelay)}, launch, 0},
		{"failed for the third time", facts{wanted: true, ready: true, failures: 3, exited: t0}, rest, 4 * FirstDelay},
		{"keeps failing", facts{wanted: true, ready: true, failures: 1000, exited: t0}, rest, LastDelay},
		{"stop", facts{present: true}, terminate, bound},
		{"stop under way", facts{present: true, terminated: t0.Add(-time.Second)}, rest, 9 * time.Second},
		{"stop overdue", facts{present: true, terminated: t0.Add(-bound)}, kill, 0},
		{"stop: killed and held", facts{present: true, terminated: t0.Add(-2 * bound), killed: true}, rest, 0},
		{"restart", facts{wanted: true, ready: true, present: true, replace: true}, terminate, bound},
		{"restart overdue", facts{wanted: true, ready: true, present: true, replace: true, terminated: t0.Add(-bound)}, kill, 0},
		{"restart: predecessor held", facts{wanted: true, ready: true, present: true, replace: true, terminated: t0.Add(-bound), killed: true}, rest, 0},
		{"restart: predecessor gone", facts{wanted: true, ready: true, replace: true}, launch, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.f.now, tc.f.stopBound = t0, bound
			got, at := decide(tc.f)
			var in time.Duration
			if !at.IsZero() {
				in = at.Sub(t0)
			}
			if got != tc.want || in != tc.in {
				t.Errorf("got %d in %v, want %d in %v", got, in, tc.want, tc.in)
			}
		})
	}
}
