// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// A scenario is a steady load and disks that hang meanwhile, or, without any, two
// systems side by side on disks that are well.
type scenario struct {
	name  string
	title string
	// after is the load's time after the last stall.
	stalls []hold
	after  time.Duration
	// Of whose disks.
	victim string // leader | follower, when the stall begins
	both   bool   // the side disk, too
	// pairs, for the healthy path, and the time of each measurement.
	pairs  int
	window time.Duration
	// variants are the systems; without -peers there is no etcd.
	variants []string
}

// hold is one stall.
type hold struct {
	at   time.Duration // since the load began
	time time.Duration
}

// lead is the load's time before the first stall.
const lead = 5 * time.Second

// every makes n stalls.
func every(n int, interval, each time.Duration) (all []hold) {
	for i := range n {
		all = append(all, hold{at: lead + time.Duration(i)*interval, time: each})
	}
	return all
}

// length is the load's time.
func (s scenario) length() time.Duration {
	if len(s.stalls) == 0 {
		return s.window
	}
	last := s.stalls[len(s.stalls)-1]
	return last.at + last.time + s.after
}

// longest is the longest stall.
func (s scenario) longest() (d time.Duration) {
	for _, h := range s.stalls {
		d = max(d, h.time)
	}
	return d
}

// scenarios are all that there are, in the order in which they run; in their
// short form each one takes less than a minute for a system.
func scenarios(short bool) []scenario {
	pick := func(long, brief time.Duration) time.Duration {
		if short {
			return brief
		}
		return long
	}
	count := func(long, brief int) int {
		if short {
			return brief
		}
		return long
	}
	all := []string{ours, disabled, peers}
	hang := pick(30*time.Second, 5*time.Second)
	return []scenario{
		{name: "leader", title: fmt.Sprintf("the leader's data disk hangs for %v", hang),
			stalls: every(1, 0, hang), after: 10 * time.Second, victim: "leader", variants: all},
		{name: "follower", title: fmt.Sprintf("a follower's data disk hangs for %v", hang),
			stalls: every(1, 0, hang), after: 10 * time.Second, victim: "follower", variants: all},
		{name: "repeat", title: fmt.Sprintf("ten stalls of the leader's data disk, %v each", pick(2*time.Second, time.Second)),
			stalls: every(10, pick(6*time.Second, 3*time.Second), pick(2*time.Second, time.Second)), after: 5 * time.Second, victim: "leader", variants: []string{ours}},
		{name: "blinks", title: "the leader's data disk hangs for 200ms every 5s",
			stalls: every(count(12, 5), 5*time.Second, 200*time.Millisecond), after: 5 * time.Second, victim: "leader", variants: []string{ours, disabled}},
		{name: "both", title: fmt.Sprintf("both disks of the leader hang for %v (the one disk, where there is no side disk)", pick(15*time.Second, 5*time.Second)),
			stalls: every(1, 0, pick(15*time.Second, 5*time.Second)), after: 10 * time.Second, victim: "leader", both: true, variants: all},
		{name: "healthy", title: "disks that are well, with failover and without, in turn",
			pairs: count(12, 3), window: pick(5*time.Second, 2*time.Second), variants: []string{ours, disabled}},
		{name: "steady", title: "a steady load on disks that are well: hedges",
			window: pick(10*time.Minute, 20*time.Second), variants: []string{ours}},
	}
}

// chosen are the scenarios that -scenario names, nil without it.
func chosen(list string, short bool) ([]scenario, error) {
	if list == "" {
		return nil, nil
	}
	all := scenarios(short)
	var names []string
	for _, s := range all {
		names = append(names, s.name)
	}
	if list == "all" {
		return all, nil
	}
	var out []scenario
	for word := range strings.SplitSeq(list, ",") {
		i := slices.Index(names, strings.TrimSpace(word))
		if i < 0 {
			return nil, fmt.Errorf("-scenario: %q is none of all, %s", word, strings.Join(names, ", "))
		}
		out = append(out, all[i])
	}
	return out, nil
}
