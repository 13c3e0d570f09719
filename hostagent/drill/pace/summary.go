// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package pace

import (
	"slices"
	"time"
)

// Summary is what the clients saw of some operations. Latencies are of those
// that succeeded.
type Summary struct {
	Acknowledged int           `json:"acknowledged"`
	Errors       int           `json:"errors"`
	P50          time.Duration `json:"p50_ns"`
	P99          time.Duration `json:"p99_ns"`
	P999         time.Duration `json:"p999_ns"`
	Worst        time.Duration `json:"worst_ns"`
}

// Summarize summarizes operations in any order.
func Summarize(ops []Op) Summary {
	var s Summary
	latencies := make([]time.Duration, 0, len(ops))
	for _, o := range ops {
		if o.Err != nil {
			s.Errors++
			continue
		}
		latencies = append(latencies, o.Latency())
	}
	s.Acknowledged = len(latencies)
	if s.Acknowledged == 0 {
		return s
	}
	slices.Sort(latencies)
	s.P50, s.P99, s.P999 = quantile(latencies, 500), quantile(latencies, 990), quantile(latencies, 999)
	s.Worst = latencies[len(latencies)-1]
	return s
}

// quantile is the smallest latency that so many of a thousand do not exceed.
func quantile(sorted []time.Duration, perMille int) time.Duration {
	rank := (len(sorted)*perMille + 999) / 1000
	return sorted[max(rank, 1)-1]
}

// Pause returns the longest time within [from, until) in which no operation
// succeeded, and when it began.
func Pause(ops []Op, from, until time.Time) (began time.Time, longest time.Duration) {
	var ends []time.Time
	for _, o := range ops {
		if o.Err == nil && !o.Ended.Before(from) && o.Ended.Before(until) {
			ends = append(ends, o.Ended)
		}
	}
	slices.SortFunc(ends, time.Time.Compare)
	last := from
	for _, e := range append(ends, until) {
		if gap := e.Sub(last); gap > longest {
			began, longest = last, gap
		}
		last = e
	}
	return began, longest
}
