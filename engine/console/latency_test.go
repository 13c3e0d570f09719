// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package console

import (
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestQuantile: what the buckets say is within one part in 16 (or 1 µs) of
// what sorting says, and never above the largest.
func TestQuantile(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		durations := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) time.Duration {
			// As many small ones as large ones.
			return time.Duration(math.Exp(rapid.Float64Range(0, math.Log(float64(100*time.Second))).Draw(t, "log")))
		}), 1, 200).Draw(t, "durations")
		var l Latency
		for _, d := range durations {
			l.Add(d)
		}
		var seen [buckets]uint64
		var s spread
		l.take(&seen, &s)
		slices.Sort(durations)
		largest := milliseconds(durations[len(durations)-1])
		if got := s.max(); got < largest || got > largest*1.0001+0.001 {
			t.Fatalf("max is %v ms, want %v", got, largest)
		}
		for _, q := range []float64{0.01, 0.5, 0.99, 1} {
			want := milliseconds(durations[max(int(math.Ceil(q*float64(len(durations)))), 1)-1])
			if got := s.quantile(q); got < want-0.001 || got > want*17/16+0.001 || got > s.max() {
				t.Fatalf("p%v is %v ms, want %v", 100*q, got, want)
			}
		}
		l.take(&seen, &s)
		if s.total != 0 || !math.IsNaN(s.quantile(0.5)) || !math.IsNaN(s.max()) {
			t.Fatalf("an interval without writes has %d", s.total)
		}
	})
}

func TestLatencyBeyondScale(t *testing.T) {
	var l Latency
	l.Add(-time.Second)
	l.Add(time.Hour)
	var seen [buckets]uint64
	var s spread
	l.take(&seen, &s)
	if s.total != 2 || s.max() != milliseconds(time.Hour) {
		t.Errorf("%d writes, max %v ms", s.total, s.max())
	}
}

// TestLatencyConcurrent: no write is lost or counted twice while the sampler
// takes; for the race detector, too.
func TestLatencyConcurrent(t *testing.T) {
	var l Latency
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for n := range 5000 {
				l.Add(time.Duration(i*n) * time.Microsecond)
			}
		})
	}
	var seen [buckets]uint64
	var s spread
	var total uint64
	for range 100 {
		l.take(&seen, &s)
		total += s.total
	}
	wg.Wait()
	l.take(&seen, &s)
	if total += s.total; total != 20000 {
		t.Errorf("%d writes were counted, 20000 made", total)
	}
}

// TestLatencyNoAllocation: it is on the way of every write.
func TestLatencyNoAllocation(t *testing.T) {
	var l Latency
	if n := testing.AllocsPerRun(100, func() { l.Add(time.Millisecond) }); n != 0 {
		t.Errorf("%v allocations per write", n)
	}
}

func BenchmarkLatency(b *testing.B) {
	var l Latency
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			l.Add(1234567)
		}
	})
}
