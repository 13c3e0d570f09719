// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package console

import (
	"math"
	"math/bits"
	"sync/atomic"
	"time"
)

// Latency counts how long writes took. Add is on the way of every write: it
// takes no lock and allocates nothing. The sampler is its only reader.
//
// Buckets are linear within each power of two, so a value is known to one part
// in 16. Prometheus' histogram would do as well for counting; it keeps no
// maximum and can be read back only through its wire form.
type Latency struct {
	counts [buckets]atomic.Uint64 // since the start
	peak   atomic.Int64           // ns, the largest since it was last taken
}

const (
	subBits  = 4
	perPower = 1 << subBits
	// buckets reach from 1 µs to 134 s; what takes longer is in the last one.
	buckets = (27 - subBits + 1) * perPower
)

// Add records one write.
func (l *Latency) Add(d time.Duration) {
	l.counts[bucketOf(d)].Add(1)
	for {
		old := l.peak.Load()
		if int64(d) <= old || l.peak.CompareAndSwap(old, int64(d)) {
			return
		}
	}
}

func bucketOf(d time.Duration) int {
	us := uint64(max(d.Microseconds(), 0))
	if us < perPower {
		return int(us)
	}
	shift := bits.Len64(us) - subBits - 1
	return min(shift*perPower+int(us>>shift), buckets-1)
}

// upper is the end of a bucket.
func upper(bucket int) time.Duration {
	if bucket < perPower {
		return time.Duration(bucket+1) * time.Microsecond
	}
	shift := bucket/perPower - 1
	return time.Duration((bucket%perPower+perPower+1)<<shift) * time.Microsecond
}

// spread is the writes of one interval.
type spread struct {
	counts [buckets]uint64
	total  uint64
	peak   time.Duration
}

// take fills s with what was added since seen was, and brings seen up to date.
func (l *Latency) take(seen *[buckets]uint64, s *spread) {
	*s = spread{peak: time.Duration(l.peak.Swap(0))}
	for i := range l.counts {
		n := l.counts[i].Load()
		s.counts[i] = n - seen[i]
		s.total += s.counts[i]
		seen[i] = n
	}
}

func (s *spread) merge(o *spread) {
	for i, n := range o.counts {
		s.counts[i] += n
	}
	s.total += o.total
	s.peak = max(s.peak, o.peak)
}

// quantile is in milliseconds; NaN where nothing was written.
func (s *spread) quantile(q float64) float64 {
	if s.total == 0 {
		return math.NaN()
	}
	rank := uint64(math.Ceil(q * float64(s.total)))
	var seen uint64
	for i, n := range s.counts {
		if seen += n; seen >= max(rank, 1) {
			// A bucket ends above the values in it, but never above the largest.
			return min(milliseconds(upper(i)), s.max())
		}
	}
	return s.max()
}

// max is the largest in milliseconds. A write may be counted in one interval
// and its peak in the next, so the largest bucket has a say.
func (s *spread) max() float64 {
	if s.total == 0 {
		return math.NaN()
	}
	for i := buckets - 1; i > 0; i-- {
		if s.counts[i] > 0 {
			return max(milliseconds(s.peak), milliseconds(upper(i-1)))
		}
	}
	return milliseconds(s.peak)
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
