// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/drill/pace"
	"github.com/holdfastdb/terraform-provider-holdfast/test/bench/load"
)

func TestScenarios(t *testing.T) {
	for _, short := range []bool{false, true} {
		var names []string
		for _, s := range scenarios(short) {
			names = append(names, s.name)
			if len(s.stalls) == 0 && s.window == 0 {
				t.Errorf("%s: neither stalls nor a window", s.name)
			}
			if s.victim != "leader" && s.victim != "follower" && len(s.stalls) > 0 {
				t.Errorf("%s hangs a disk of %q", s.name, s.victim)
			}
			for i, h := range s.stalls[min(1, len(s.stalls)):] {
				if before := s.stalls[i]; h.at < before.at+before.time+time.Second {
					t.Errorf("%s: a stall at %v, within a second of the last one", s.name, h.at)
				}
			}
			length := s.length()
			if s.pairs > 0 {
				length = time.Duration(2*s.pairs) * (s.window + s.window/5)
			}
			if short && length > time.Minute-15*time.Second {
				t.Errorf("%s takes %v in its short form", s.name, length)
			}
		}
		if slices.Sort(names); len(slices.Compact(names)) != len(scenarios(short)) {
			t.Errorf("names are there twice: %v", names)
		}
	}
	for list, want := range map[string]int{"": 0, "all": len(scenarios(false)), "leader": 1, "both, repeat": 2} {
		if got, err := chosen(list, false); err != nil || len(got) != want {
			t.Errorf("%q: %d scenarios, %v; want %d", list, len(got), err, want)
		}
	}
	for _, args := range [][]string{{"-scenario", "none"}, {"-scenario", "all", "-rate", "0"}, {"-scenario", "all", "-clients", "0"}, {"-list"}} {
		if _, err := parse(args, io.Discard); err == nil {
			t.Errorf("%v: no error", args)
		}
	}
}

// trace makes ten seconds of a hundred writes each, one every ten milliseconds.
// What is due in [4s, 6s) is answered at 6s, as in a stall; one write fails.
func trace(began time.Time) load.Result {
	tr := &load.Trace{Nodes: []load.Kept{{Keys: 999}, {Keys: 990, Missing: 9}, {Keys: 999}}, Unsent: 1}
	for i := range 1000 {
		due := began.Add(time.Duration(i) * 10 * time.Millisecond)
		ended := due.Add(2 * time.Millisecond)
		if back := began.Add(6 * time.Second); i >= 400 && i < 600 {
			ended = back
		}
		tr.Ops = append(tr.Ops, load.Op{Due: due.UnixNano(), Ended: ended.UnixNano(), Failed: i == 450})
	}
	return load.Result{Trace: tr, FirstError: "refused"}
}

func TestAnalyse(t *testing.T) {
	began := time.Unix(1000, 0)
	o := outcome{Stalls: []stallResult{
		{Node: "n1", began: began.Add(4 * time.Second), ended: began.Add(6 * time.Second)},
		{Node: "n2", began: began.Add(8 * time.Second), ended: began.Add(8100 * time.Millisecond)},
	}}
	o.analyse(trace(began))
	if o.All.Acknowledged != 999 || o.All.Errors != 1 || o.All.Worst != 2*time.Second || o.Unsent != 1 || o.First != "refused" {
		t.Errorf("all: %+v", o)
	}
	if o.WorstAt != 4*time.Second || o.PauseAt != 3992*time.Millisecond {
		t.Errorf("the worst at %v, the pause at %v", o.WorstAt, o.PauseAt)
	}
	if want := 2008 * time.Millisecond; o.Pause != want || o.Stalls[0].Pause != want || o.Stalls[0].Worst != 2*time.Second || o.Stalls[0].At != 4*time.Second {
		t.Errorf("the stall: %v, %+v; want a pause of %v", o.Pause, o.Stalls[0], want)
	}
	if o.Stalls[1].Worst != 2*time.Millisecond || o.Stalls[1].Pause != 10*time.Millisecond {
		t.Errorf("the second stall: %+v; want nothing that was slow in it", o.Stalls[1])
	}
	if o.During.Acknowledged != 199+10 {
		t.Errorf("during the stalls: %+v", o.During)
	}
	if diff := cmp.Diff([]int{100, 100, 100, 0, 0, 299, 100, 100}, o.PerSecond); diff != "" {
		t.Errorf("per second (-want +got):\n%s", diff)
	}
	if o.lost() != 9 || o.Lowest != 0 || o.Highest < 2.9 || o.Highest > 3 {
		t.Errorf("lost %d, lowest %v, highest %v", o.lost(), o.Lowest, o.Highest)
	}
	var empty outcome
	empty.analyse(load.Result{FirstError: "nothing"})
	if empty.First != "nothing" {
		t.Errorf("without a trace: %+v", empty)
	}
}

func TestWatchDisk(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	done, err := watchDisk(ctx, dir)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	<-done
	if _, err := watchDisk(ctx, filepath.Join(dir, "missing")); err == nil {
		t.Error("a disk that is not there is watched")
	}
	got := summarizeControl([]time.Duration{3, 1, 2})
	if got != (control{P50: 2, P99: 2, Worst: 3}) || summarizeControl(nil) != (control{}) {
		t.Errorf("%+v", got)
	}
}

func TestStallReport(t *testing.T) {
	const ms = time.Millisecond
	o := options{backend: "wal", clients: 16, rate: 200, valueSize: 256}
	for _, s := range scenarios(false) {
		if slices.Contains([]string{"leader", "repeat", "both", "healthy", "steady"}, s.name) {
			o.scenarios = append(o.scenarios, s)
		}
	}
	r := newStallReport(o)
	r.Machine = machine{Kernel: "6.1", Processors: 2, Go: "go1.26"}
	kept := []load.Kept{{Keys: 9000}, {Keys: 9000}, {Keys: 9000}}
	one := func(scenario, system string, by int, errors int) outcome {
		times := func(d time.Duration) time.Duration { return time.Duration(by) * d } //nolint:durationcheck // a number of times
		return outcome{
			Scenario: scenario, System: system, Nodes: kept, LeaderBefore: "n1", LeaderAfter: "n2",
			All:       pace.Summary{Acknowledged: 9000, Errors: errors, P50: times(2 * ms), P99: times(8 * ms), P999: times(20 * ms), Worst: times(60 * ms)},
			Pause:     times(50 * ms),
			Stalls:    []stallResult{{Node: "n1", Worst: times(60 * ms), Pause: times(50 * ms), Leader: "n2"}},
			PerSecond: []int{200}, Lowest: 0.9, Highest: 1.1, Control: control{P99: 3 * ms, Worst: 21 * ms},
		}
	}
	for _, name := range []string{"leader", "both"} {
		on := one(name, ours, 1, 0)
		on.Switches, on.Hedges, on.Victim = 2, 3, "Follower"
		etcd := one(name, peers, 70, 12)
		etcd.First = "etcdserver: request timed out"
		r.Outcomes = append(r.Outcomes, on, one(name, disabled, 500, 0), etcd)
	}
	ten := one("repeat", ours, 1, 0)
	for range 9 {
		ten.Stalls = append(ten.Stalls, stallResult{Node: "n2", Worst: 30 * ms})
	}
	steady := one("steady", ours, 1, 0)
	steady.Stalls, steady.Hedges = nil, 1
	r.Outcomes = append(r.Outcomes, ten, steady)
	for i := range 3 {
		p := pair{Hedges: uint64(i)}
		p.On.Throughput, p.On.P99, p.On.Operations, p.Off.Throughput, p.Off.P99 = 990, 11*ms, 5000, 1000+float64(i), 10*ms
		r.Pairs = append(r.Pairs, p)
	}
	var b bytes.Buffer
	if err := r.writeText(&b); err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "stalls.txt")
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(golden, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("the report is not that of %s (UPDATE_GOLDEN=1 rewrites it):\n%s", golden, diff)
	}
	b.Reset()
	if err := r.writeJSON(&b); err != nil || !strings.Contains(b.String(), `"longest_pause_ns": 50000000`) {
		t.Errorf("JSON: %v\n%s", err, b.String())
	}
}
