// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// report is all that was measured.
type report struct {
	Machine machine `json:"machine"`
	Setup   setup   `json:"setup"`
	Raw     []raw   `json:"raw"` // by round
	Cells   []cell  `json:"cells"`
	kinds   []kind
}

type machine struct {
	Kernel     string `json:"kernel"`
	Processors int    `json:"processors"`
	Go         string `json:"go"`
}

type setup struct {
	Disks     string        `json:"disks"` // loop-mounted ext4 | directories
	Backend   string        `json:"backend"`
	Target    string        `json:"target"`
	ValueSize int           `json:"value_size"`
	Keys      int           `json:"keys"`
	Rounds    int           `json:"rounds"`
	Duration  time.Duration `json:"duration_ns"`
	Warmup    time.Duration `json:"warmup_ns"`
}

func newReport(o options, all []kind) *report {
	kernel, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		kernel = []byte("unknown")
	}
	r := &report{
		Machine: machine{Kernel: strings.TrimSpace(string(kernel)), Processors: runtime.NumCPU(), Go: runtime.Version()},
		Setup:   setup{"directories", o.backend, o.target, o.valueSize, o.keys, o.rounds, o.duration, o.warmup},
		kinds:   all,
	}
	if inNamespace() {
		r.Setup.Disks = "loop-mounted ext4"
	}
	return r
}

func (r *report) writeJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// median of an even number of values is the lower one of the middle: a
// measurement that happened.
func median[T any, V cmp.Ordered](all []T, value func(T) V) V {
	var values []V
	for _, v := range all {
		values = append(values, value(v))
	}
	if len(values) == 0 {
		var zero V
		return zero
	}
	slices.Sort(values)
	return values[(len(values)-1)/2]
}

// summary is one line of the table: medians over the rounds, the maximum of
// the maxima.
type summary struct {
	throughput          float64
	p50, p99, p999, max time.Duration
	nodeCPU, loadCPU    time.Duration
	errors              int64
	lowest, highest     float64 // throughput of a round
}

// of returns the cells of one kind and system, by round.
func (r *report) of(k kind, system string) []cell {
	var cells []cell
	for _, c := range r.Cells {
		if c.System == system && (kind{c.Operation, c.Consistency, c.Clients}) == k {
			cells = append(cells, c)
		}
	}
	return cells
}

func (r *report) summarize(k kind, system string) (summary, bool) {
	cells := r.of(k, system)
	if len(cells) == 0 {
		return summary{}, false
	}
	s := summary{
		throughput: median(cells, func(c cell) float64 { return c.Throughput }),
		p50:        median(cells, func(c cell) time.Duration { return c.P50 }),
		p99:        median(cells, func(c cell) time.Duration { return c.P99 }),
		p999:       median(cells, func(c cell) time.Duration { return c.P999 }),
		nodeCPU:    median(cells, func(c cell) time.Duration { return c.NodeCPU }),
		loadCPU:    median(cells, func(c cell) time.Duration { return c.LoadCPU }),
		lowest:     cells[0].Throughput,
	}
	for _, c := range cells {
		s.max = max(s.max, c.Max)
		s.errors += c.Errors
		s.lowest, s.highest = min(s.lowest, c.Throughput), max(s.highest, c.Throughput)
	}
	return s, true
}

const (
	ours     = "holdfast"
	disabled = "disabled" // holdfast without failover
	peers    = "etcd"
)

func (r *report) writeText(w io.Writer) error {
	zeroed := median(r.Raw, func(b raw) time.Duration { return b.Zeroed.P50 })
	allocated := median(r.Raw, func(b raw) time.Duration { return b.Allocated.P50 })
	fmt.Fprintf(w, "3 nodes, %s, %d-byte values, %d keys, log store %s, clients talk to %s\n",
		r.Setup.Disks, r.Setup.ValueSize, r.Setup.Keys, r.Setup.Backend, map[string]string{"all": "all nodes", "leader": "the leader"}[r.Setup.Target])
	fmt.Fprintf(w, "medians of %d rounds of %v after %v of warm-up, max the worst of them; ratios are medians of each round's ratio\n", r.Setup.Rounds, r.Setup.Duration, r.Setup.Warmup)
	fmt.Fprintf(w, "Linux %s, %d processors for the nodes and the load alike\n\n", r.Machine.Kernel, r.Machine.Processors)
	fmt.Fprintf(w, "bare disk, append %d bytes and fdatasync: p50 %s in a zeroed file, %s in an allocated one\n\n", r.Setup.ValueSize, short(zeroed), short(allocated))

	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "operation\tclients\tsystem\tops/s\t(min to max)\tp50\tp99\tp99.9\tmax\tCPU/op nodes\tload\terrors\t")
	for _, k := range r.kinds {
		name := strings.TrimSpace(k.Operation + " " + k.Consistency)
		if mine, ok := r.summarize(k, ours); ok {
			mine.line(t, name, k.Clients, ours)
		}
		if theirs, ok := r.summarize(k, peers); ok {
			theirs.line(t, "", 0, theirName(k))
			r.ratioLine(t, k)
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, system := range []string{ours, peers} {
		if one, ok := r.summarize(kind{Operation: "put", Clients: 1}, system); ok && zeroed > 0 && allocated > 0 {
			fmt.Fprintf(w, "\n%s: p50 of one client is %.1f times the bare append in a zeroed file, %.1f times in an allocated one",
				system, float64(one.p50)/float64(zeroed), float64(one.p50)/float64(allocated))
		}
	}
	if slices.ContainsFunc(r.Cells, func(c cell) bool { return c.System == peers && c.Operation == "get" }) {
		fmt.Fprint(w, "\nholdfast's default read is Consul's, from the leader under its lease; etcd has none like it: its linearizable one stands beside both")
	}
	_, err := fmt.Fprintln(w)
	return err
}

func (s summary) line(w io.Writer, name string, clients int, system string) {
	count := ""
	if clients > 0 {
		count = fmt.Sprint(clients)
	}
	fmt.Fprintf(w, "%s\t%s\t%s\t%.0f\t(%.0f to %.0f)\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t\n",
		name, count, system, s.throughput, s.lowest, s.highest, short(s.p50), short(s.p99), short(s.p999), short(s.max), short(s.nodeCPU), short(s.loadCPU), s.errors)
}

// theirName says how etcd was asked for the same.
func theirName(k kind) string {
	switch {
	case k.Operation == "put":
		return peers
	case k.Consistency == "stale":
		return peers + " serializable"
	}
	return peers + " linearizable"
}

// ratioLine is ours by theirs: the median of the rounds' ratios. Both cells
// of a pair ran one after the other; the rounds may be minutes apart, and what
// else the machine did then differs.
func (r *report) ratioLine(w io.Writer, k kind) {
	var pairs [][2]cell
	for _, mine := range r.of(k, ours) {
		for _, theirs := range r.of(k, peers) {
			if theirs.Round == mine.Round {
				pairs = append(pairs, [2]cell{mine, theirs})
			}
		}
	}
	ratio := func(value func(cell) float64) string {
		if slices.ContainsFunc(pairs, func(p [2]cell) bool { return value(p[1]) == 0 }) {
			return "-"
		}
		return fmt.Sprintf("x%.2f", median(pairs, func(p [2]cell) float64 { return value(p[0]) / value(p[1]) }))
	}
	duration := func(value func(cell) time.Duration) string {
		return ratio(func(c cell) float64 { return float64(value(c)) })
	}
	fmt.Fprintf(w, "\t\tratio\t%s\t\t%s\t%s\t%s\t%s\t%s\t%s\t\t\n",
		ratio(func(c cell) float64 { return c.Throughput }),
		duration(func(c cell) time.Duration { return c.P50 }), duration(func(c cell) time.Duration { return c.P99 }),
		duration(func(c cell) time.Duration { return c.P999 }), duration(func(c cell) time.Duration { return c.Max }),
		duration(func(c cell) time.Duration { return c.NodeCPU }), duration(func(c cell) time.Duration { return c.LoadCPU }))
}

// short prints a duration with three digits.
func short(d time.Duration) string {
	switch {
	case d >= 10*time.Second:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d >= time.Second:
		return fmt.Sprintf("%.2fs", d.Seconds())
	case d >= 100*time.Millisecond:
		return fmt.Sprintf("%.0fms", d.Seconds()*1e3)
	case d >= 10*time.Millisecond:
		return fmt.Sprintf("%.1fms", d.Seconds()*1e3)
	case d >= time.Millisecond:
		return fmt.Sprintf("%.2fms", d.Seconds()*1e3)
	}
	return fmt.Sprintf("%.0fµs", d.Seconds()*1e6)
}
