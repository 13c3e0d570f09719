// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package failover

import (
	"math/bits"
	"time"
)

const (
	// minHedge is the shortest time before an operation is written to the side as well.
	minHedge = 10 * time.Millisecond
	// window is how far back the latencies that the hedge is computed from go;
	// it moves by a half at a time.
	window = 10 * time.Second
	// assumedThroughput in bytes per second, until large writes were measured.
	assumedThroughput = 100 << 20
	// largeWrite is where a write's duration says something of the throughput.
	largeWrite = 256 << 10
)

// A hedge computes how long an operation may take before it is late:
//
//	H = clamp(4 × p99.9 of the last 10 s, 10 ms, threshold ÷ 2) + bytes ÷ throughput
//
// It is pure but for the times handed to it; the log's mutex guards it.
type hedge struct {
	now, before histogram
	turned      time.Time
	base        time.Duration // the clamped part, computed when the window moves and every recompute
	computed    time.Time
	throughput  float64 // bytes per second
}

// recompute bounds how often the percentile is computed.
const recompute = 100 * time.Millisecond

// observe notes that an operation of size bytes was durable on the primary
// after took. Operations later than threshold were hangs, not the disk's
// speed, and are left out: a hang must not make the next one wait longer.
func (h *hedge) observe(now time.Time, took time.Duration, size int, threshold time.Duration) {
	if now.Sub(h.turned) >= window/2 {
		h.before, h.now, h.turned = h.now, histogram{}, now
	}
	if took > threshold {
		return
	}
	h.now.add(took)
	if size >= largeWrite && took > 0 {
		rate := float64(size) / took.Seconds()
		if h.throughput == 0 {
			h.throughput = rate
		} else {
			h.throughput += (rate - h.throughput) / 8
		}
	}
}

// after returns H for an operation of size bytes.
func (h *hedge) after(now time.Time, size int, threshold time.Duration) time.Duration {
	if h.base == 0 || now.Sub(h.computed) >= recompute {
		p := h.now.merge(&h.before).percentile(0.999)
		h.base = max(min(4*p, threshold/2), min(minHedge, threshold/2))
		h.computed = now
	}
	rate := h.throughput
	if rate == 0 {
		rate = assumedThroughput
	}
	return min(h.base, threshold/2) + time.Duration(float64(size)/rate*float64(time.Second))
}

// A histogram counts durations in buckets of an eighth of a power of two,
// from a microsecond up.
type histogram struct {
	count [8 * 32]uint32
	total uint64
}

func bucket(d time.Duration) int {
	us := uint64(max(d.Microseconds(), 1)) //nolint:gosec // positive
	exp := bits.Len64(us) - 1
	sub := 0
	if exp >= 3 {
		sub = int(us>>(exp-3)) & 7 //nolint:gosec // three bits
	} else {
		sub = int(us<<(3-exp)) & 7 //nolint:gosec // three bits
	}
	return min(exp*8+sub, 8*32-1)
}

// upper is the longest duration of a bucket.
func upper(b int) time.Duration {
	exp, sub := b/8, b%8
	return time.Duration(float64(uint64(1)<<exp) * (1 + float64(sub+1)/8) * float64(time.Microsecond))
}

func (h *histogram) add(d time.Duration) {
	h.count[bucket(d)]++
	h.total++
}

func (h *histogram) merge(o *histogram) *histogram {
	m := *h
	for i, n := range o.count {
		m.count[i] += n
	}
	m.total += o.total
	return &m
}

// percentile returns the smallest duration that at least p of all are not
// above, 0 where there are none.
func (h *histogram) percentile(p float64) time.Duration {
	if h.total == 0 {
		return 0
	}
	want := uint64(p * float64(h.total))
	var seen uint64
	for b, n := range h.count {
		seen += uint64(n)
		if seen > want || seen == h.total {
			return upper(b)
		}
	}
	return 0
}
