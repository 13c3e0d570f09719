// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/test/bench/load"
)

func TestParse(t *testing.T) {
	o, err := parse([]string{"-writers", "1, 8", "-readers", "", "-peers", "-duration", "2s"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(o.writers, []int{1, 8}) || len(o.readers) != 0 || !o.peers || o.duration != 2*time.Second {
		t.Errorf("options %+v", o)
	}
	if got := kinds(o); len(got) != 2 || got[1] != (kind{Operation: load.Put, Clients: 8}) {
		t.Errorf("cells %v", got)
	}
	for _, args := range [][]string{
		{"-writers", "0"}, {"-writers", "x"}, {"-target", "some"}, {"-rounds", "0"}, {"-duration", "0s"},
		{"-keys", "0"}, {"-writers", "", "-readers", ""}, {"extra"},
	} {
		if _, err := parse(args, io.Discard); err == nil {
			t.Errorf("%v: no error", args)
		}
	}
	if _, err := parse([]string{"-unknown"}, io.Discard); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("unknown flag: %v", err)
	}
}

// The systems take turns in going first, within a round and from round to round.
func TestOrder(t *testing.T) {
	a, b := &system{name: ours}, &system{name: peers}
	first := 0
	for i := range 10 {
		o := order([]*system{a, b}, i)
		if len(o) != 2 || o[0] == o[1] {
			t.Fatalf("pair %d is %v", i, o)
		}
		if o[0] == a {
			first++
		}
	}
	if first != 5 {
		t.Errorf("%s goes first %d times of 10, want 5", ours, first)
	}
}

func TestReport(t *testing.T) {
	o := options{backend: "wal", target: "all", valueSize: 256, keys: 10, rounds: 3, duration: time.Second, writers: []int{1}, readers: []int{64}}
	r := newReport(o, kinds(o))
	r.Setup.Disks = "directories"
	r.Machine = machine{Kernel: "6.1", Processors: 2, Go: "go1.26"}
	for i := range 3 {
		n := time.Duration(i + 1)
		r.Raw = append(r.Raw, raw{Zeroed: rawResult{P50: n * 100 * time.Microsecond}, Allocated: rawResult{P50: n * 200 * time.Microsecond}})
		for _, k := range r.kinds {
			for factor, name := range []string{ours, peers} {
				f := time.Duration(factor + 1)
				c := cell{Round: i + 1, System: name, Operation: k.Operation, Consistency: k.Consistency, Clients: k.Clients, NodeCPU: f * 100 * time.Microsecond}
				c.Throughput = float64(i+1) * 1000 / float64(f)
				c.P50, c.P99, c.P999, c.Max = f*n*time.Millisecond/4, f*n*time.Millisecond, f*n*10*time.Millisecond, f*n*time.Second
				if name == peers && i == 1 {
					c.Errors = 7
				}
				r.Cells = append(r.Cells, c)
			}
		}
	}
	var b bytes.Buffer
	if err := r.writeText(&b); err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "report.txt")
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(golden, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("the report is not that of %s (UPDATE_GOLDEN=1 rewrites it):\n%s", golden, b.String())
	}
	b.Reset()
	if err := r.writeJSON(&b); err != nil || !strings.Contains(b.String(), `"ops_per_second": 2000`) {
		t.Errorf("JSON: %v\n%s", err, b.String())
	}
}

func TestRawLoop(t *testing.T) {
	dir := t.TempDir()
	r, err := measureRaw(t.Context(), dir, 256, 100*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string]rawResult{"zeroed": r.Zeroed, "allocated": r.Allocated} {
		if got.Appends == 0 || got.P50 <= 0 || got.P50 > got.P99 || got.P99 > got.Max {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := measureRaw(ctx, dir, 256, time.Minute); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// A node that ends is noticed, with the end of its log; stopping ends the others.
func TestProcesses(t *testing.T) {
	dir := t.TempDir()
	s := &system{name: "shell"}
	start := func(script string) {
		p, err := launch([]string{"sh", "-c", script}, filepath.Join(dir, nodeName(len(s.processes))+".log"), false)
		if err != nil {
			t.Fatal(err)
		}
		s.processes = append(s.processes, p)
	}
	start("exec sleep 60")
	if _, err := s.cpu(); err != nil {
		t.Errorf("processor time: %v", err)
	}
	start("echo some last words; exit 3")
	<-s.processes[1].done
	if err := s.check(); err == nil || !strings.Contains(err.Error(), "n2") || !strings.Contains(err.Error(), "some last words") {
		t.Errorf("a node that ended: %v", err)
	}
	s.stop()
	select {
	case <-s.processes[0].done:
	default:
		t.Error("stop left a process running")
	}
	if _, err := launch([]string{filepath.Join(dir, "missing")}, filepath.Join(dir, "x.log"), true); err == nil {
		t.Error("a program that is not there was started")
	}
}

// A node that is kept is started again until it is to end.
func TestKeptProcess(t *testing.T) {
	dir := t.TempDir()
	p, err := launch([]string{"sh", "-c", "if test -e " + dir + "/second; then exec sleep 60; fi; touch " + dir + "/second"}, filepath.Join(dir, "log"), true)
	if err != nil {
		t.Fatal(err)
	}
	first := p.pid()
	for end := time.Now().Add(20 * time.Second); p.restarts() == 0 || p.pid() == first; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it was not started again")
		}
	}
	p.end()
	<-p.done
	if p.restarts() != 1 {
		t.Errorf("%d restarts, want one", p.restarts())
	}
}

func TestPosition(t *testing.T) {
	endpoints := []string{"127.0.35.1:8500", "127.0.35.2:8500"}
	if i, err := position(endpoints, "127.0.35.2:8300"); i != 1 || err != nil {
		t.Errorf("%d, %v; want 1", i, err)
	}
	for _, bad := range []string{"", "127.0.35.3:8300"} {
		if _, err := position(endpoints, bad); err == nil {
			t.Errorf("%q is the leader, and no error", bad)
		}
	}
}

func TestShort(t *testing.T) {
	for d, want := range map[time.Duration]string{
		178 * time.Microsecond: "178µs", 2346 * time.Microsecond: "2.35ms", 23456 * time.Microsecond: "23.5ms",
		234 * time.Millisecond: "234ms", 2346 * time.Millisecond: "2.35s", 23 * time.Second: "23.0s",
	} {
		if got := short(d); got != want {
			t.Errorf("short(%v) = %q, want %q", d, got, want)
		}
	}
}
