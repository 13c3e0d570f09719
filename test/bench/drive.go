// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/api"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/drill/stall"
	"github.com/holdfastdb/terraform-provider-holdfast/test/bench/load"
)

var errFailed = errors.New("failed")

// errNoDisks: without root there is nothing to freeze.
var errNoDisks = errors.New("stalls need root, for disks of their own and to freeze them: run `sudo make bench-stall`")

// measureStalls runs the scenarios, each system alone and from new disks.
func measureStalls(ctx context.Context, o options) (*stallReport, error) {
	if !inNamespace() {
		return nil, errNoDisks
	}
	thawer, err := attachThawer()
	if err != nil {
		return nil, err
	}
	defer func() {
		if err := thawer.Close(); err != nil {
			progress("%v", err)
		}
	}()
	work, remove, err := makeWork()
	if err != nil {
		return nil, err
	}
	defer remove()
	spare, err := makeDisk(ctx, o.dir, work, "control", sideSize)
	if err != nil {
		return nil, err
	}
	r := newStallReport(o)
	for i, s := range o.scenarios {
		if s.pairs > 0 {
			if err := r.healthy(ctx, o, s, work); err != nil {
				return nil, interrupted(ctx, err)
			}
			continue
		}
		for j, name := range s.variants {
			if name == peers && !o.peers {
				continue
			}
			if err := r.measure(ctx, o, s, name, thawer, work, spare, uint64(100*i+j)); err != nil {
				return nil, interrupted(ctx, fmt.Errorf("%s, %s: %w", s.name, name, err))
			}
		}
	}
	return r, nil
}

// measure runs one system through one scenario, and watches the bare disk meanwhile.
func (r *stallReport) measure(ctx context.Context, o options, s scenario, name string, thawer *stall.Thawer, work, spare string, seed uint64) error {
	progress("%s: %s, about %v", s.name, name, s.length().Round(time.Second))
	watching, stop := context.WithCancel(ctx)
	defer stop()
	bare, err := watchDisk(watching, spare)
	if err != nil {
		return err
	}
	out, err := runScenario(ctx, o, s, systemOf(o, name), thawer, work, seed)
	stop()
	disk := <-bare
	if err != nil {
		return err
	}
	out.Control = disk
	progress("%s: %s: %d acknowledged, %d errors, worst %s, longest pause %s, %d lost; the bare disk's worst %s", s.name, name,
		out.All.Acknowledged, out.All.Errors, short(out.All.Worst), short(out.Pause), out.lost(), short(disk.Worst))
	r.Outcomes = append(r.Outcomes, *out)
	return nil
}

func systemOf(o options, name string) *system {
	switch name {
	case disabled:
		return disabledSystem(o)
	case peers:
		return etcdSystem(o)
	}
	return failingOver(o)
}

// runScenario runs one system through one scenario.
func runScenario(ctx context.Context, o options, s scenario, sys *system, thawer *stall.Thawer, work string, seed uint64) (*outcome, error) {
	defer sys.stop()
	if err := sys.start(ctx, o, work); err != nil {
		return nil, err
	}
	if err := sys.awaitArmed(ctx); err != nil {
		return nil, err
	}
	out := &outcome{Scenario: s.name, System: sys.name}
	var err error
	if out.LeaderBefore, err = sys.leaderName(ctx); err != nil {
		return nil, err
	}
	argv, err := sys.loader()
	if err != nil {
		return nil, err
	}
	spec := load.Spec{
		Endpoints: sys.endpoints, Operation: load.Paced, Clients: o.clients, Connections: o.connections, Rate: o.rate,
		ValueSize: o.valueSize, Keys: 1, Seed: seed, Duration: s.length(), Timeout: s.longest() + 30*time.Second,
	}
	loading, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := exec.CommandContext(loading, argv[0], argv[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	type loaded struct {
		load.Result
		error
	}
	done := make(chan loaded, 1) // from the load's goroutine, once; waited for
	began := time.Now()
	go func() {
		r, err := load.Start(loading, cmd, spec)
		done <- loaded{r, err}
	}()
	err = out.hang(ctx, s, sys, thawer, began)
	if err != nil {
		cancel()
	}
	r := <-done
	if err := errors.Join(err, r.error, sys.check()); err != nil {
		return nil, err
	}
	if out.LeaderAfter, err = sys.leaderName(ctx); err != nil {
		return nil, err
	}
	for _, p := range sys.processes {
		out.Restarts += p.restarts()
	}
	sys.account(ctx, out)
	out.analyse(r.Result)
	return out, nil
}

// hang makes the stalls, in their order.
func (out *outcome) hang(ctx context.Context, s scenario, sys *system, thawer *stall.Thawer, began time.Time) error {
	for _, h := range s.stalls {
		if err := pause(ctx, time.Until(began.Add(h.at))); err != nil {
			return err
		}
		leader, err := sys.leader(ctx, sys.endpoints)
		if err != nil {
			return fmt.Errorf("before a stall: %w", err)
		}
		victim := leader
		if s.victim == "follower" {
			victim = (leader + 1) % nodes
		}
		disks := []string{sys.disks[victim]}
		if s.both && len(sys.sides) > 0 {
			disks = append(disks, sys.sides[victim])
		}
		one, err := hangAll(ctx, thawer, disks, h.time)
		if err != nil {
			return err
		}
		one.Node, one.Role = nodeName(victim), s.victim
		if one.Leader, err = sys.leaderName(ctx); err != nil {
			one.Leader = "none"
		}
		out.Stalls = append(out.Stalls, one)
	}
	return nil
}

// hangAll hangs disks together and returns when all are back.
func hangAll(ctx context.Context, thawer *stall.Thawer, disks []string, d time.Duration) (stallResult, error) {
	r := stallResult{began: time.Now()}
	results := make(chan error, len(disks)) // one each
	for _, disk := range disks {
		go func() { results <- hangOne(ctx, thawer, disk, d) }()
	}
	var err error
	for range disks {
		err = errors.Join(err, <-results)
	}
	r.ended = time.Now()
	return r, err
}

func hangOne(ctx context.Context, thawer *stall.Thawer, disk string, d time.Duration) error {
	dir, err := os.Open(disk)
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }() // nothing was written through it
	h, err := thawer.Hang(ctx, dir, d)
	if err != nil {
		return err
	}
	select {
	case <-h.Over():
		return h.Err()
	case <-ctx.Done():
		return errors.Join(ctx.Err(), h.Release())
	}
}

// leaderName waits a while for a leader.
func (s *system) leaderName(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	for {
		i, err := s.leader(ctx, s.endpoints)
		if err == nil {
			return nodeName(i), nil
		}
		if pause(ctx, 50*time.Millisecond) != nil {
			return "", err
		}
	}
}

// awaitArmed waits until every log would fail over: a benchmark of failover that
// is off for some reason would only look bad.
func (s *system) awaitArmed(ctx context.Context) error {
	if !s.withSides {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for i, e := range s.endpoints {
		for {
			st, err := storesOf(ctx, e)
			for _, store := range st.Stores {
				if f := store.Failover; f.Off != "" || len(f.Sides) == 0 || !f.Sides[0].Armed {
					err = fmt.Errorf("its log does not fail over: mode %s, off %q, sides %+v", f.Mode, f.Off, f.Sides)
				}
			}
			if err == nil {
				break
			}
			if pause(ctx, 100*time.Millisecond) != nil {
				return fmt.Errorf("%s %s: %w\n%s", s.name, nodeName(i), err, s.logs())
			}
		}
	}
	return nil
}

// account asks the engines what their failover logs did; etcd has none.
func (s *system) account(ctx context.Context, out *outcome) {
	if s.name == peers {
		return
	}
	for i, e := range s.endpoints {
		st, err := storesOf(ctx, e)
		if err != nil {
			progress("%s %s does not say what its log did: %v", s.name, nodeName(i), err)
			continue
		}
		for _, store := range st.Stores {
			out.Switches += store.Failover.SwitchCount
			out.Hedges += store.Failover.HedgeCount
			for _, p := range store.Partitions {
				if len(out.Stalls) > 0 && out.Stalls[0].Node == nodeName(i) && p.Name == "default" {
					out.Victim = p.State
				}
			}
		}
	}
}

func storesOf(ctx context.Context, endpoint string) (api.NodeStores, error) {
	c, err := api.New(api.Config{Addresses: []string{endpoint}})
	if err != nil {
		return api.NodeStores{}, err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return c.Stores(ctx)
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
