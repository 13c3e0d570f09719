// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package failover

import (
	"testing"
	"time"
)

func TestHedge(t *testing.T) {
	const threshold = 100 * time.Millisecond
	start := time.Unix(1_000_000, 0)
	for name, tc := range map[string]struct {
		feed     func(h *hedge)
		size     int
		min, max time.Duration
	}{
		"nothing measured":         {func(*hedge) {}, 100, 10 * time.Millisecond, 10100 * time.Microsecond},
		"a fast disk: the minimum": {feed(start, 500*time.Microsecond, 1000), 100, 10 * time.Millisecond, 10100 * time.Microsecond},
		"4 × p99.9":                {feed(start, 5*time.Millisecond, 1000), 100, 20 * time.Millisecond, 23 * time.Millisecond},
		"always slow: half the threshold, above the latency itself": {feed(start, 45*time.Millisecond, 1000), 100, 50 * time.Millisecond, 51 * time.Millisecond},
		"a hang does not count": {func(h *hedge) {
			feed(start, 500*time.Microsecond, 1000)(h)
			h.observe(start, 30*time.Second, 100, threshold)
		}, 100, 10 * time.Millisecond, 10100 * time.Microsecond},
		"a large write has the time that it takes": {func(h *hedge) {
			for range 100 {
				h.observe(start, 10*time.Millisecond, 1<<20, threshold) // 100 MiB/s
			}
		}, 4 << 20, 80 * time.Millisecond, 90 * time.Millisecond},
		"what is older than the window is forgotten": {func(h *hedge) {
			feed(start, 40*time.Millisecond, 1000)(h)
			feed(start.Add(6*time.Second), time.Millisecond, 1000)(h)
			feed(start.Add(12*time.Second), time.Millisecond, 1000)(h)
		}, 100, 10 * time.Millisecond, 10100 * time.Microsecond},
	} {
		t.Run(name, func(t *testing.T) {
			var h hedge
			tc.feed(&h)
			if got := h.after(start.Add(15*time.Second), tc.size, threshold); got < tc.min || got > tc.max {
				t.Errorf("H = %v, want %v to %v", got, tc.min, tc.max)
			}
		})
	}
}

func feed(at time.Time, took time.Duration, n int) func(*hedge) {
	return func(h *hedge) {
		for range n {
			h.observe(at, took, 100, 100*time.Millisecond)
		}
	}
}

func TestHistogramBuckets(t *testing.T) {
	for d := time.Microsecond; d < 10*time.Second; d += d/7 + 1 {
		b := bucket(d)
		if up := upper(b); up+time.Microsecond < d || float64(up) > 1.15*float64(d)+float64(2*time.Microsecond) {
			t.Fatalf("%v falls into a bucket up to %v", d, up)
		}
	}
}
