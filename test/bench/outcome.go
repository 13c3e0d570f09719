// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"slices"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/drill/pace"
	"github.com/holdfastdb/terraform-provider-holdfast/test/bench/load"
)

// outcome is what one system made of one scenario.
type outcome struct {
	Scenario string       `json:"scenario"`
	System   string       `json:"system"`
	All      pace.Summary `json:"all"`
	During   pace.Summary `json:"during"` // of what some part of lay in a stall
	Unsent   int          `json:"unsent"`
	First    string       `json:"first_error,omitempty"`
	// WorstAt is when the write of the worst latency was due, since the load began.
	WorstAt time.Duration `json:"worst_at_ns"`
	// Pause is the longest time without an acknowledged write, from PauseAt on.
	Pause   time.Duration `json:"longest_pause_ns"`
	PauseAt time.Duration `json:"longest_pause_at_ns"`
	Stalls  []stallResult `json:"stalls,omitempty"`
	// PerSecond counts what was acknowledged in each whole second; Lowest and
	// Highest are its extremes by its mean.
	PerSecond []int       `json:"per_second"`
	Lowest    float64     `json:"lowest_second_by_mean"`
	Highest   float64     `json:"highest_second_by_mean"`
	Nodes     []load.Kept `json:"nodes"`
	// Of the failover logs of all nodes; zero for etcd.
	Switches uint64 `json:"switches"`
	Hedges   uint64 `json:"hedges"`
	// Leader is the leader's node before the first stall and after the last.
	LeaderBefore string  `json:"leader_before"`
	LeaderAfter  string  `json:"leader_after"`
	Restarts     int     `json:"restarts"` // of nodes that ended by themselves
	Control      control `json:"bare_disk"`
	// Victim is what the first stall's node is at the end: leader, follower …
	Victim string `json:"victim_after,omitempty"`
}

// stallResult is one stall.
type stallResult struct {
	Node  string        `json:"node"`
	Role  string        `json:"role"`
	At    time.Duration `json:"at_ns"` // since the load began
	Time  time.Duration `json:"time_ns"`
	Worst time.Duration `json:"worst_ns"` // latency of what some part of lay in it
	// Next is the longest time without an acknowledged write that overlaps it:
	// how long the cluster stood still.
	Pause  time.Duration `json:"pause_ns"`
	Leader string        `json:"leader"` // when it was over
	began  time.Time
	ended  time.Time
}

// lost is the number of acknowledged keys that are not on some node as written.
func (o outcome) lost() (n int) {
	for _, k := range o.Nodes {
		n += o.All.Acknowledged - k.Keys
	}
	return n
}

// analyse fills in what follows from the operations and the stalls' times.
func (o *outcome) analyse(r load.Result) {
	o.First = r.FirstError
	if r.Trace == nil || len(r.Trace.Ops) == 0 {
		return
	}
	o.Unsent, o.Nodes = r.Trace.Unsent, r.Trace.Nodes
	var ops []pace.Op
	for _, t := range r.Trace.Ops {
		op := pace.Op{Due: time.Unix(0, t.Due), Ended: time.Unix(0, t.Ended)}
		if t.Failed {
			op.Err = errFailed
		}
		ops = append(ops, op)
	}
	o.All = pace.Summarize(ops)
	began := slices.MinFunc(ops, func(a, b pace.Op) int { return a.Due.Compare(b.Due) }).Due
	ended := slices.MaxFunc(ops, func(a, b pace.Op) int { return a.Ended.Compare(b.Ended) }).Ended
	var from time.Time
	from, o.Pause = pace.Pause(ops, began, ended)
	o.PauseAt = from.Sub(began)
	for _, op := range ops {
		if op.Err == nil && op.Latency() == o.All.Worst {
			o.WorstAt = op.Due.Sub(began)
		}
	}
	var during []pace.Op
	for i := range o.Stalls {
		s := &o.Stalls[i]
		var mine []pace.Op
		for _, op := range ops {
			if op.Due.Before(s.ended) && op.Ended.After(s.began) {
				mine = append(mine, op)
			}
		}
		during = append(during, mine...)
		s.At, s.Time = s.began.Sub(began), s.ended.Sub(s.began)
		s.Worst = pace.Summarize(mine).Worst
		s.Pause = pauseAround(ops, s.began, s.ended, ended)
	}
	o.During = pace.Summarize(during)
	o.seconds(ops, began)
}

// pauseAround is the longest time without an acknowledgement of which some part
// lies in [from, until).
func pauseAround(ops []pace.Op, from, until, end time.Time) (longest time.Duration) {
	last := time.Time{}
	var ends []time.Time
	for _, op := range ops {
		if op.Err == nil {
			ends = append(ends, op.Ended)
		}
	}
	slices.SortFunc(ends, time.Time.Compare)
	for _, e := range append(ends, end) {
		if !last.IsZero() && last.Before(until) && e.After(from) {
			longest = max(longest, e.Sub(last))
		}
		last = e
	}
	return longest
}

// seconds counts the acknowledgements of the load's whole seconds, the first
// left out, in which connections are made, and the last, which is cut.
func (o *outcome) seconds(ops []pace.Op, began time.Time) {
	var last time.Time
	for _, op := range ops {
		if op.Due.After(last) {
			last = op.Due
		}
	}
	n := int(last.Sub(began)/time.Second) - 1
	if n < 1 {
		return
	}
	counts := make([]int, n)
	for _, op := range ops {
		if i := int(op.Ended.Sub(began)/time.Second) - 1; op.Err == nil && i >= 0 && i < n {
			counts[i]++
		}
	}
	sum := 0
	for _, c := range counts {
		sum += c
	}
	if sum == 0 {
		return
	}
	mean := float64(sum) / float64(n)
	o.PerSecond, o.Lowest, o.Highest = counts, float64(slices.Min(counts))/mean, float64(slices.Max(counts))/mean
}
