// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Package traffic is clients that write to a cluster while something is done to it: what was acknowledged has to be
// there afterwards.
package traffic

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/api"
	"github.com/holdfastdb/terraform-provider-holdfast/test/wait"
)

// Node is one way to the cluster.
type Node struct {
	Name string
	API  *api.Client
	// Unanswered is told when a question was given up without an answer; may be nil.
	Unanswered func()
}

// put writes a key with itself as the value.
func (n Node) put(ctx context.Context, key string) error {
	ctx, cancel := context.WithTimeout(ctx, writeMax)
	defer cancel()
	err := n.API.Put(ctx, key, []byte(key), api.Write{})
	if ctx.Err() != nil && n.Unanswered != nil {
		n.Unanswered()
	}
	return err
}

// Traffic is clients of a cluster that write one key after the other, each through a
// node until that fails it, then through the next. Every acknowledged key is kept.
type Traffic struct {
	prefix  string
	nodes   []Node
	cancel  context.CancelFunc
	writers sync.WaitGroup
	mu      struct {
		sync.Mutex
		acked   map[string]bool
		through map[string]int // acknowledged, by node
		last    time.Time      // of the newest acknowledgment
		gap     time.Duration  // the longest without one
		failed  []error        // writes that were not acknowledged
	}
}

const (
	// paceOfWrites leaves the emulated processors something for the rest.
	paceOfWrites = 100 * time.Millisecond
	// writeMax is what a client waits for one write: longer than an engine tries.
	writeMax = 30 * time.Second
	// askMax is for one question, driveMax until the first write through each node.
	askMax   = 15 * time.Second
	driveMax = 2 * time.Minute
)

// Drive starts one writer through each node.
func Drive(t *testing.T, nodes []Node, prefix string) *Traffic {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	l := &Traffic{prefix: prefix, nodes: nodes, cancel: cancel}
	l.mu.acked, l.mu.through, l.mu.last = map[string]bool{}, map[string]int{}, time.Now()
	t.Cleanup(l.Stop)
	for i := range nodes {
		l.writers.Go(func() { l.write(ctx, i) })
	}
	wait.Within(t, driveMax, "writes through every node are acknowledged", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.mu.through) == len(nodes)
	})
	return l
}

func (l *Traffic) write(ctx context.Context, first int) {
	tick := time.NewTicker(paceOfWrites)
	defer tick.Stop()
	at := first
	for n := 0; ; n++ {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		node, key := l.nodes[at], fmt.Sprintf("%s%d/%06d", l.prefix, first, n)
		err := node.put(ctx, key)
		if ctx.Err() != nil {
			return
		}
		l.record(node, key, err)
		if err != nil {
			at = (at + 1) % len(l.nodes)
		}
	}
}

func (l *Traffic) record(n Node, key string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.mu.failed = append(l.mu.failed, fmt.Errorf("%s through %s at %s: %w", key, n.Name, time.Now().Format(time.TimeOnly), err))
		return
	}
	now := time.Now()
	l.mu.acked[key] = true
	l.mu.through[n.Name]++
	l.mu.gap, l.mu.last = max(l.mu.gap, now.Sub(l.mu.last)), now
}

// Arrived is how many writes were acknowledged.
func (l *Traffic) Arrived() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.mu.acked)
}

// GoesOn waits until many more writes are acknowledged.
func (l *Traffic) GoesOn(t *testing.T, when string) {
	t.Helper()
	const many = 30
	before := l.Arrived()
	wait.Within(t, time.Minute, "writes go on "+when, func() bool { return l.Arrived() > before+many })
}

// Stop ends the writers.
func (l *Traffic) Stop() {
	l.cancel()
	l.writers.Wait()
}

// NothingLost stops the writers and looks for every acknowledged key on every node.
func (l *Traffic) NothingLost(t *testing.T) {
	t.Helper()
	l.Stop()
	l.mu.Lock()
	defer l.mu.Unlock()
	t.Logf("%d writes, through %v, the longest pause %s, %d failed", len(l.mu.acked), l.mu.through, l.mu.gap.Round(time.Millisecond), len(l.mu.failed))
	if len(l.mu.failed) > 0 {
		t.Logf("the last that failed: %v", l.mu.failed[len(l.mu.failed)-1])
	}
	for i, n := range l.nodes {
		how := api.Stale
		if i == 0 {
			how = api.Consistent
		}
		var missing string
		wait.Within(t, time.Minute, fmt.Sprintf("%s has all %d, read %s", n.Name, len(l.mu.acked), how), func() bool {
			there := map[string]bool{}
			ctx, cancel := context.WithTimeout(t.Context(), askMax)
			defer cancel()
			pairs, _, err := n.API.List(ctx, l.prefix, api.Read{Consistency: how})
			for _, p := range pairs {
				there[p.Key] = string(p.Value) == p.Key
			}
			missing = ""
			for key := range maps.Keys(l.mu.acked) {
				if !there[key] {
					missing = fmt.Sprintf("%s, of %d pairs, %v", key, len(pairs), err)
				}
			}
			return missing == ""
		}, &missing)
	}
}

// NoneFailed says that every write so far was acknowledged.
func (l *Traffic) NoneFailed(t *testing.T) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, err := range l.mu.failed {
		t.Error(err)
	}
}
