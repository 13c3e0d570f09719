// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/test/bench/load"
)

// cell is one measurement.
type cell struct {
	Round       int    `json:"round"`
	System      string `json:"system"`
	Operation   string `json:"operation"`
	Consistency string `json:"consistency,omitempty"`
	Clients     int    `json:"clients"`
	load.Result
	// Processor time per operation of all nodes and of the load generator.
	NodeCPU time.Duration `json:"node_cpu_per_op_ns"`
	LoadCPU time.Duration `json:"load_cpu_per_op_ns"`
}

// kind is what cells of several rounds and systems are compared by.
type kind struct {
	Operation, Consistency string
	Clients                int
}

func (k kind) String() string {
	name := k.Operation
	if k.Consistency != "" {
		name += " " + k.Consistency
	}
	return fmt.Sprintf("%s, %d clients", name, k.Clients)
}

// kinds are what one round measures, in its order.
func kinds(o options) []kind {
	var all []kind
	for _, n := range o.writers {
		all = append(all, kind{Operation: load.Put, Clients: n})
	}
	for _, n := range o.readers {
		for _, c := range []string{load.Default, load.Consistent, load.Stale} {
			all = append(all, kind{load.Get, c, n})
		}
	}
	return all
}

// order is the systems' order in the i-th pair: they take turns in going
// first, so that neither always meets what the other one left behind.
func order(systems []*system, i int) []*system {
	turned := slices.Clone(systems)
	if i%2 == 1 {
		slices.Reverse(turned)
	}
	return turned
}

// rawDuration is spent on the bare disk in every round.
const rawDuration = 2 * time.Second

// measure does all of it.
func measure(ctx context.Context, o options) (*report, error) {
	systems := []*system{holdfastSystem(o)}
	if o.peers {
		systems = append(systems, etcdSystem(o))
	}
	all := kinds(o)
	perRound := rawDuration + time.Duration(len(all)*len(systems))*(o.warmup+o.duration+500*time.Millisecond)
	expected := time.Duration(o.rounds)*perRound + 15*time.Second
	ctx, cancel := context.WithTimeoutCause(ctx, 2*expected+time.Minute, fmt.Errorf("it took more than twice the %v that it should", expected))
	defer cancel()
	progress("%d rounds of %d cells for %d systems: about %v", o.rounds, len(all), len(systems), expected.Round(time.Second))

	work, remove, err := makeWork()
	if err != nil {
		return nil, err
	}
	defer remove()
	for _, s := range systems {
		defer s.stop()
		progress("starting three nodes of %s", s.name)
		if err := s.start(ctx, o, work); err != nil {
			return nil, err
		}
	}
	r := newReport(o, all)
	for _, s := range systems {
		progress("%s: writing %d keys", s.name, o.keys)
		c, err := s.run(ctx, o, spec(o, kind{Operation: load.Fill, Clients: 64}, 0))
		if err != nil {
			return nil, interrupted(ctx, err)
		}
		if c.Errors > 0 {
			return nil, fmt.Errorf("%s: %d of %d keys were not written, first: %s", s.name, c.Errors, o.keys, c.FirstError)
		}
	}
	for round := range o.rounds {
		bare, err := measureRaw(ctx, systems[0].disks[0], o.valueSize, rawDuration)
		if err != nil {
			return nil, interrupted(ctx, err)
		}
		progress("round %d of %d: bare disk: p50 %v zeroed, %v allocated", round+1, o.rounds, bare.Zeroed.P50.Round(time.Microsecond), bare.Allocated.P50.Round(time.Microsecond))
		r.Raw = append(r.Raw, bare)
		for i, k := range all {
			for _, s := range order(systems, round+i) {
				c, err := s.run(ctx, o, spec(o, k, uint64(round)))
				if err != nil {
					return nil, interrupted(ctx, fmt.Errorf("%s, %v: %w", s.name, k, err))
				}
				c.Round = round + 1
				progress("round %d of %d: %-8s %-26v %8.0f/s  p50 %v  p99 %v%s", round+1, o.rounds, s.name, k, c.Throughput, short(c.P50), short(c.P99), errorNote(c))
				r.Cells = append(r.Cells, c)
			}
		}
	}
	return r, nil
}

// interrupted says why, where the context knows better.
func interrupted(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return fmt.Errorf("given up: %w", cause)
	}
	return err
}

func spec(o options, k kind, seed uint64) load.Spec {
	return load.Spec{
		Operation: k.Operation, Consistency: k.Consistency, Clients: k.Clients,
		Connections: o.connections, ValueSize: o.valueSize, Keys: o.keys, Seed: seed,
		Warmup: o.warmup, Duration: o.duration, Timeout: 30 * time.Second,
	}
}

func errorNote(c cell) string {
	if c.Errors == 0 {
		return ""
	}
	return fmt.Sprintf("  %d ERRORS: %s", c.Errors, c.FirstError)
}
