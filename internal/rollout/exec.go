// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package rollout

import (
	"context"
	"fmt"
	"time"
)

// Cluster is what Run acts on.
type Cluster interface {
	// Observe returns every node of the cluster. A node that does not answer
	// is one that does not run.
	Observe(ctx context.Context) ([]Node, error)
	// Restart restarts one engine and may come back before it serves.
	Restart(ctx context.Context, node string) error
}

// Options of a run. Zero values mean the defaults.
type Options struct {
	// GateTimeout is how long each gate may take to open; 30 s.
	GateTimeout time.Duration
	// Every is the time between two looks; 100 ms.
	Every time.Duration
	// Step, if set, is told what is done.
	Step func(line string)
}

// Incomplete says how far a rollout got and why it stopped.
type Incomplete struct {
	Done []string
	Step Step
	Why  string
	Err  error // what a gate timed out with, or what Restart returned
}

func (e *Incomplete) Error() string {
	return fmt.Sprintf("the rollout stopped at %q, %d restarted before it: %s", e.Step, len(e.Done), e.Why)
}

func (e *Incomplete) Unwrap() error { return e.Err }

// Run executes the steps in order. The first that may not begin, fails, or does
// not come back well ends it with an *Incomplete; no later node is touched.
func Run(ctx context.Context, c Cluster, steps []Step, o Options) error {
	o = o.withDefaults()
	var done []string
	for _, s := range steps {
		if why, err := wait(ctx, c, o, func(nodes []Node) string { return gate(nodes, s.Node) }); err != nil {
			return &Incomplete{Done: done, Step: s, Why: "it may not begin: " + why, Err: err}
		}
		o.Step(s.String())
		if err := c.Restart(ctx, s.Node); err != nil {
			return &Incomplete{Done: done, Step: s, Why: err.Error(), Err: err}
		}
		if why, err := wait(ctx, c, o, func(nodes []Node) string { return after(nodes, s.Node) }); err != nil {
			return &Incomplete{Done: done, Step: s, Why: "it did not come back well: " + why, Err: err}
		}
		done = append(done, s.Node)
	}
	return nil
}

func (o Options) withDefaults() Options {
	if o.GateTimeout == 0 {
		o.GateTimeout = 30 * time.Second
	}
	if o.Every == 0 {
		o.Every = 100 * time.Millisecond
	}
	if o.Step == nil {
		o.Step = func(string) {}
	}
	return o
}

// Spare waits until the cluster can do without a node for a while: the gate that Run has before
// a restart. It returns why it cannot where that is so for GateTimeout.
func Spare(ctx context.Context, c Cluster, node string, o Options) error {
	why, err := wait(ctx, c, o.withDefaults(), func(nodes []Node) string { return gate(nodes, node) })
	if err != nil {
		return fmt.Errorf("the cluster cannot do without node %s: %s: %w", node, why, err)
	}
	return nil
}

// wait looks until shut returns nothing, and returns what it last said when the
// time is over.
func wait(ctx context.Context, c Cluster, o Options, shut func([]Node) string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, o.GateTimeout)
	defer cancel()
	tick := time.NewTicker(o.Every)
	defer tick.Stop()
	why := "nothing was observed yet"
	for {
		nodes, err := c.Observe(ctx)
		switch {
		case err != nil && ctx.Err() == nil:
			return err.Error(), err
		case err == nil:
			if why = shut(nodes); why == "" {
				return "", nil
			}
		}
		select {
		case <-ctx.Done():
			return why, ctx.Err()
		case <-tick.C:
		}
	}
}
