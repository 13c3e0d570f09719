// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package drill

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/drill/pace"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-update rewrites it): %s", path, diff)
	}
}

// made is a drill that nobody made: a stall in which one write was lost and the
// log went to the side.
func made() (*Cluster, []Disk, Options, *Result) {
	const ms = time.Millisecond
	c := &Cluster{Name: "orders", Directory: "/srv/orders"}
	for i, name := range []string{"a", "b", "a-longer-name"} {
		n := Node{Name: name, Mode: "side-disk", state: "Follower"}
		if i == 0 {
			n.state = "Leader"
		}
		for j, d := range []string{"data1", "side"} {
			n.Disks = append(n.Disks, Disk{Name: d, Path: "/srv/orders/nodes/" + name + "/" + d, Mountpoint: "/srv/orders/nodes/" + name + "/" + d, Device: "/dev/loop" + string(rune('0'+2*i+j)), MajMin: "7:0"})
		}
		c.Nodes = append(c.Nodes, n)
	}
	o := Options{Clients: 16, Rate: 200, Warmup: 3 * time.Second, Duration: 5 * time.Second, After: 1500 * ms}
	disks := c.Nodes[0].Disks[:1]
	second := func(n int, phase string, s pace.Summary, waiting time.Duration, leader, log string, switches uint64) Second {
		return Second{Second: n, Phase: phase, Summary: s, Waiting: waiting, Leader: leader, Nodes: []NodeSecond{
			{Name: "a", Log: log, Switches: switches, Hedges: switches * 2}, {Name: "b", Log: logPrimary}, {Name: "a-longer-name"},
		}}
	}
	r := &Result{
		Cluster: "orders", Directory: c.Directory, Node: "a", Role: "leader", Disks: disks, Failover: "side-disk",
		StartedAt: time.Date(2025, 1, 2, 3, 4, 5, 0, time.UTC), Load: Load{Clients: 16, Rate: 200, ValueSize: valueSize},
		Hung: 5003 * ms, Freezing: 4 * ms,
		All:    pace.Summary{Acknowledged: 1899, Errors: 1, P50: 2 * ms, P99: 12 * ms, P999: 51 * ms, Worst: 61 * ms},
		Before: pace.Summary{Acknowledged: 600, P50: 2 * ms, P99: 9 * ms, P999: 11 * ms, Worst: 11 * ms},
		During: pace.Summary{Acknowledged: 1299, Errors: 1, P50: 3 * ms, P99: 20 * ms, P999: 60 * ms, Worst: 61 * ms},
		Unsent: 3, FirstError: "PUT /v1/kv/x: 500: No cluster leader", Pause: 1300 * ms, Idle: 1, LeaderChanges: 1, Leader: "b",
		Nodes: []NodeResult{
			{Name: "a", Switches: 2, Hedges: 4, Secondary: 7 * time.Second, Failback: 2100 * ms, Keys: 1899},
			{Name: "b", Failback: -1, Keys: 1897, Missing: 1, Wrong: 1},
			{Name: "a-longer-name", Error: "connection refused"},
		},
		Seconds: []Second{
			second(1, PhaseBefore, pace.Summary{Acknowledged: 200, P50: 2 * ms, Worst: 11 * ms}, 2*ms, "a", logPrimary, 0),
			second(2, PhaseStall, pace.Summary{Acknowledged: 198, Errors: 1, P50: 31 * ms, Worst: 61 * ms}, 31*ms, "a", logSecondary, 1),
			second(3, PhaseStall, pace.Summary{}, 950*ms, "", logSecondary, 1),
			second(4, PhaseAfter, pace.Summary{Acknowledged: 1000, P50: 812 * time.Microsecond, Worst: 12345 * ms}, 0, "b", logPrimary, 2),
		},
		Events: []Event{{At: 3100 * ms, Node: "a", What: logSecondary, Why: "slow"}},
	}
	return c, disks, o, r
}

func TestText(t *testing.T) {
	c, disks, o, r := made()
	var b bytes.Buffer
	text := &Text{W: &b}
	text.Begin(c, c.Nodes[0], disks, o)
	for _, s := range r.Seconds {
		text.Second(s)
	}
	text.Note("reading 1899 acknowledged keys from every node")
	if err := text.Summary(r); err != nil {
		t.Fatal(err)
	}
	golden(t, "text.golden", b.Bytes())

	b.Reset()
	r.Verified, r.FirstError, r.Unsent, r.Idle = true, "", 0, 0
	for i := range r.Nodes {
		r.Nodes[i] = NodeResult{Name: r.Nodes[i].Name, Keys: r.All.Acknowledged}
	}
	if err := text.Summary(r); err != nil {
		t.Fatal(err)
	}
	golden(t, "well.golden", b.Bytes())
}

func TestJSON(t *testing.T) {
	_, _, _, r := made()
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "result.json", append(b, '\n'))
	var back Result
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(*r, back); diff != "" {
		t.Error(diff)
	}
}

func TestPhase(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	for _, tc := range []struct {
		began, ended, from, until time.Time
		want                      string
	}{
		{time.Time{}, time.Time{}, at(1), at(2), PhaseBefore},
		{at(5), time.Time{}, at(1), at(2), PhaseBefore},
		{at(5), at(9), at(4), at(5), PhaseBefore},
		{at(5), time.Time{}, at(4), at(6), PhaseStall}, // due before the stall, answered in it
		{at(5), at(9), at(4), at(10), PhaseStall},
		{at(5), at(9), at(8), at(10), PhaseStall},
		{at(5), at(9), at(9), at(10), PhaseAfter},
	} {
		if got := phase(tc.began, tc.ended, tc.from, tc.until); got != tc.want {
			t.Errorf("%+v is %s", tc, got)
		}
	}
}

func TestShort(t *testing.T) {
	for d, want := range map[time.Duration]string{
		178 * time.Microsecond: "178µs", 2346 * time.Microsecond: "2.35ms", 23456 * time.Microsecond: "23.5ms",
		234 * time.Millisecond: "234ms", 2346 * time.Millisecond: "2.35s", 23 * time.Second: "23.0s", 4 * time.Minute: "240s",
	} {
		if got := Short(d); got != want {
			t.Errorf("Short(%v) = %q, want %q", d, got, want)
		}
	}
}

func TestValidate(t *testing.T) {
	well := Options{Directory: "d", Duration: 5 * time.Second, Warmup: time.Second, After: time.Second, Clients: 1, Rate: 1}
	if err := well.Validate(); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*Options){
		"-duration 11m0s": func(o *Options) { o.Duration = 11 * time.Minute },
		"-duration 0s":    func(o *Options) { o.Duration = 0 },
		"-warmup -1s":     func(o *Options) { o.Warmup = -time.Second },
		"-after 2h0m0s":   func(o *Options) { o.After = 2 * time.Hour },
		"-directory":      func(o *Options) { o.Directory = "" },
		"-clients 0":      func(o *Options) { o.Clients = 0 },
		"-rate -5":        func(o *Options) { o.Rate = -5 },
	} {
		o := well
		change(&o)
		if err := o.Validate(); err == nil || !bytes.Contains([]byte(err.Error()), []byte(want)) {
			t.Errorf("error %v, want one that names %s", err, want)
		}
	}
}
