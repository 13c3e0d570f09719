// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package observe

import (
	"context"
	"maps"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
)

// How long, and how often, an engine is asked for that its agent says is starting. An agent
// waits less than a second for its engine's answer: on a busy machine one that runs is taken for one that
// starts, for a moment.
const (
	settling      = 5 * time.Second
	settlingEvery = 300 * time.Millisecond
)

// Settled is Agents, for what is shown to a person: of an engine that starts it waits for what
// becomes of it, for some seconds.
func Settled(ctx context.Context, p platform.Platform, names []string) Nodes {
	nodes := Agents(ctx, p, names)
	give := time.NewTimer(settling)
	defer give.Stop()
	again := time.NewTicker(settlingEvery)
	defer again.Stop()
	for {
		starting := nodes.starting()
		if len(starting) == 0 {
			return nodes
		}
		select {
		case <-again.C:
			maps.Copy(nodes, Agents(ctx, p, starting))
		case <-give.C:
			return nodes
		case <-ctx.Done():
			return nodes
		}
	}
}

// starting are the nodes whose engine's process is there and does not answer yet.
func (ns Nodes) starting() []string {
	var names []string
	for _, name := range ns.Names() {
		if n := ns[name]; n.Reachable() && n.Status.Converging == nil && n.Status.Engine.State == agentapi.EngineStarting {
			names = append(names, name)
		}
	}
	return names
}
