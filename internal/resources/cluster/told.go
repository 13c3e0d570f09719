// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cluster

import (
	"slices"
	"sync"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
)

// told is what was told already of what agents do, by node. Safe for concurrent use.
type told struct {
	mu    sync.Mutex
	nodes map[string]toldOf
}

type toldOf struct {
	since time.Time // of the convergence
	n     int       // of its operations
	last  string
}

// next are the operations that were not told yet. One that an agent tries again and
// again is told once.
func (t *told) next(node string, c *agentapi.Converging) []string {
	all := slices.Clone(c.Done)
	if c.Doing != (agentapi.Operation{}) {
		all = append(all, c.Doing)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.nodes == nil {
		t.nodes = map[string]toldOf{}
	}
	was := t.nodes[node]
	if !was.since.Equal(c.Since) {
		was.since, was.n = c.Since, 0
	}
	var lines []string
	for ; was.n < len(all); was.n++ {
		if line := all[was.n].String(); line != was.last {
			lines, was.last = append(lines, line), line
		}
	}
	t.nodes[node] = was
	return lines
}

// tell makes steps of what an agent does.
func (w *work) tell(node string, c *agentapi.Converging) {
	for _, line := range w.told.next(node, c) {
		w.step("node %s: %s", node, line)
	}
}
