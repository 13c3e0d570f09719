// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/test/bench/load"
)

// stallReport is what all scenarios came to.
type stallReport struct {
	Machine  machine    `json:"machine"`
	Setup    stallSetup `json:"setup"`
	Outcomes []outcome  `json:"outcomes"`
	Pairs    []pair     `json:"pairs,omitempty"` // of the healthy path

	scenarios []scenario
}

type stallSetup struct {
	Backend   string  `json:"backend"`
	Clients   int     `json:"clients"`
	Rate      float64 `json:"writes_per_second"`
	ValueSize int     `json:"value_size"`
}

// pair is two measurements of the healthy path, one right after the other.
type pair struct {
	On  cell `json:"on"`
	Off cell `json:"off"`
	// Hedges and Switches of the side with failover.
	Hedges   uint64 `json:"hedges"`
	Switches uint64 `json:"switches"`
}

func newStallReport(o options) *stallReport {
	return &stallReport{
		Machine: newReport(o, nil).Machine, Setup: stallSetup{o.backend, o.clients, o.rate, o.valueSize}, scenarios: o.scenarios,
	}
}

// healthy measures two systems in turn, each time as fast as the clients can.
func (r *stallReport) healthy(ctx context.Context, o options, s scenario, work string) error {
	on, off := failingOver(o), disabledSystem(o)
	for _, sys := range []*system{on, off} {
		defer sys.stop()
		if err := sys.start(ctx, o, work); err != nil {
			return err
		}
	}
	if err := on.awaitArmed(ctx); err != nil {
		return err
	}
	o.warmup, o.duration, o.target = s.window/5, s.window, "all"
	k := kind{Operation: load.Put, Clients: o.clients}
	for i := range s.pairs {
		p := pair{}
		var before, after outcome
		on.account(ctx, &before)
		for _, sys := range order([]*system{on, off}, i) {
			c, err := sys.run(ctx, o, spec(o, k, uint64(i)))
			if err != nil {
				return err
			}
			c.Round = i + 1
			if sys == on {
				p.On = c
			} else {
				p.Off = c
			}
		}
		on.account(ctx, &after)
		p.Hedges, p.Switches = after.Hedges-before.Hedges, after.Switches-before.Switches
		progress("healthy: pair %d of %d: on %.0f/s p99 %s, off %.0f/s p99 %s, %d hedges", i+1, s.pairs,
			p.On.Throughput, short(p.On.P99), p.Off.Throughput, short(p.Off.P99), p.Hedges)
		r.Pairs = append(r.Pairs, p)
	}
	return nil
}

func (r *stallReport) writeJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

func (r *stallReport) writeText(w io.Writer) error {
	fmt.Fprintf(w, "3 nodes, log store %s, each disk an ext4 on a loop device; %d clients, %v writes of %d bytes per second through all nodes\n",
		r.Setup.Backend, r.Setup.Clients, r.Setup.Rate, r.Setup.ValueSize)
	fmt.Fprintf(w, "A latency counts from when the write was due. Linux %s, %d processors and one disk for the nodes and the load alike.\n", r.Machine.Kernel, r.Machine.Processors)
	fmt.Fprintln(w, "The bare disk is one append and fdatasync every 50ms beside all that, on a disk that nobody hangs: what it shows is the machine's.")
	for _, s := range r.scenarios {
		fmt.Fprintf(w, "\n%s: %s\n", s.name, s.title)
		var err error
		if s.pairs > 0 {
			err = r.writePairs(w)
		} else {
			err = r.writeScenario(w, s)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// named is how a system is called in a table.
func named(system string) string {
	return map[string]string{ours: "holdfast", disabled: "holdfast, failover disabled", peers: "etcd"}[system]
}

func (r *stallReport) of(scenario string) (all []outcome) {
	for _, o := range r.Outcomes {
		if o.Scenario == scenario {
			all = append(all, o)
		}
	}
	return all
}

func (r *stallReport) writeScenario(w io.Writer, s scenario) error {
	all := r.of(s.name)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "system\tacknowledged\terrors\tunsent\tp50\tp99\tp99.9\tworst\tlongest pause\tlost\tswitches\thedges\tbare disk p99\tworst\t")
	for _, o := range all {
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%s\t%s\t%s\t%s\t%s\t%d\t%d\t%d\t%s\t%s\t\n", named(o.System), o.All.Acknowledged, o.All.Errors, o.Unsent,
			short(o.All.P50), short(o.All.P99), short(o.All.P999), short(o.All.Worst), short(o.Pause), o.lost(), o.Switches, o.Hedges,
			short(o.Control.P99), short(o.Control.Worst))
	}
	for _, o := range all[min(1, len(all)):] {
		if all[0].System == ours {
			fmt.Fprintf(t, "%s / holdfast\t\t\t\t%s\t%s\t%s\t%s\t%s\t\t\t\t\t\t\n", strings.TrimPrefix(named(o.System), "holdfast, failover "),
				ratio(o.All.P50, all[0].All.P50), ratio(o.All.P99, all[0].All.P99), ratio(o.All.P999, all[0].All.P999),
				ratio(o.All.Worst, all[0].All.Worst), ratio(o.Pause, all[0].Pause))
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, o := range all {
		for _, line := range o.remarks(s) {
			fmt.Fprintf(w, "  %s: %s\n", named(o.System), line)
		}
	}
	return nil
}

func ratio(a, b time.Duration) string {
	if b == 0 {
		return "-"
	}
	return fmt.Sprintf("x%.2f", float64(a)/float64(b))
}

// remarks are what the scenario is about, in words.
func (o outcome) remarks(s scenario) (lines []string) {
	say := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	if o.First != "" {
		say("first error: %s", o.First)
	}
	if n := len(o.Stalls); n > 1 {
		var worst []string
		for _, st := range o.Stalls {
			worst = append(worst, short(st.Worst))
		}
		say("worst latency by stall: %s; the last is %s the first", strings.Join(worst, " "), ratio(o.Stalls[n-1].Worst, o.Stalls[0].Worst))
	}
	if o.All.Acknowledged > 0 {
		say("the worst write was due at %s, the longest pause began at %s%s", short(o.WorstAt), short(o.PauseAt), o.stalledAt())
	}
	if len(o.Stalls) > 0 {
		var on []string
		for _, st := range o.Stalls {
			on = append(on, st.Node)
		}
		say("hung: %s, the %s; the leader was %s before and %s after", strings.Join(on, " "), s.victim, o.LeaderBefore, o.LeaderAfter)
	}
	if s.both && len(o.Stalls) == 1 {
		st := o.Stalls[0]
		say("the next commit came after %s; when the stall ended, the leader was %s; %s is %s at the end, with %s", short(st.Pause), st.Leader, st.Node, orBack(o.Victim), o.kept(st.Node))
	}
	if o.Restarts > 0 {
		say("nodes that ended by themselves and were started again: %d", o.Restarts)
	}
	if len(o.PerSecond) > 0 && s.name != "leader" && s.name != "both" {
		say("writes per second by their mean: lowest %.2f, highest %.2f", o.Lowest, o.Highest)
	}
	if s.name == "steady" && o.All.Acknowledged > 0 {
		say("%.2f hedges per 100,000 operations", float64(o.Hedges)*1e5/float64(o.All.Acknowledged))
	}
	return lines
}

// stalledAt says when the first stall was.
func (o outcome) stalledAt() string {
	if len(o.Stalls) == 0 {
		return ""
	}
	st := o.Stalls[0]
	return fmt.Sprintf("; the first stall was from %s to %s", short(st.At), short(st.At+st.Time))
}

// kept says what a node has of the acknowledged keys.
func (o outcome) kept(node string) string {
	for i, k := range o.Nodes {
		if nodeName(i) == node {
			return fmt.Sprintf("%d of %d acknowledged keys", k.Keys, o.All.Acknowledged)
		}
	}
	return "keys that nobody read"
}

func orBack(state string) string {
	if state == "" { // etcd is not asked
		return "back"
	}
	return strings.ToLower(state)
}

func (r *stallReport) writePairs(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "pair\tops/s on\toff\tratio\tp99 on\toff\tratio\tworst on\toff\thedges\tswitches\t")
	var hedges uint64
	var ops float64
	for i, p := range r.Pairs {
		fmt.Fprintf(t, "%d\t%.0f\t%.0f\tx%.3f\t%s\t%s\t%s\t%s\t%s\t%d\t%d\t\n", i+1, p.On.Throughput, p.Off.Throughput, p.throughput(),
			short(p.On.P99), short(p.Off.P99), ratio(p.On.P99, p.Off.P99), short(p.On.Max), short(p.Off.Max), p.Hedges, p.Switches)
		hedges += p.Hedges
		ops += float64(p.On.Operations)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "  medians of %d pairs' ratios: throughput x%.3f, p99 x%.3f; %.2f hedges per 100,000 operations\n", len(r.Pairs),
		median(r.Pairs, pair.throughput), median(r.Pairs, pair.p99), float64(hedges)*1e5/max(ops, 1))
	return err
}

func (p pair) throughput() float64 { return p.On.Throughput / max(p.Off.Throughput, 1) }
func (p pair) p99() float64        { return float64(p.On.P99) / float64(max(p.Off.P99, 1)) }
