// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package observe

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/api"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
)

// DefaultPartition is the partition that every cluster has.
const DefaultPartition = "default"

const (
	// AgentTimeout bounds the wait for one agent's answer: over SSH that takes a command
	// on the machine. A connection that has to be made first is the platform's matter,
	// which every caller asks for its machines before.
	AgentTimeout = 20 * time.Second
	// PendingTimeout bounds the wait for an agent that looks at disks and files.
	PendingTimeout = 30 * time.Second
	// parallel is how many agents are asked at a time.
	parallel = 16
)

// Node is one node as it was seen.
type Node struct {
	Name string
	// Err is why the agent gave no status; Status is empty then.
	Err    error
	Status agentapi.Status
}

// Reachable tells whether the agent answered.
func (n Node) Reachable() bool { return n.Err == nil }

// EngineRunning tells whether the agent answered and its engine serves.
func (n Node) EngineRunning() bool {
	return n.Reachable() && n.Status.Engine.State == agentapi.EngineRunning
}

// Partition is the named partition as the node's engine sees it.
func (n Node) Partition(name string) (api.Partition, bool) {
	for _, p := range n.Partitions() {
		if p.Name == name {
			return p, true
		}
	}
	return api.Partition{}, false
}

// Partitions are all partitions as the node's engine sees them.
func (n Node) Partitions() []api.Partition {
	var all []api.Partition
	if n.Status.Engine.Stores != nil {
		for _, s := range n.Status.Engine.Stores.Stores {
			all = append(all, s.Partitions...)
		}
	}
	return all
}

// leads tells whether the node's engine says that it leads the named partition.
func (n Node) leads(partition string) bool {
	p, ok := n.Partition(partition)
	return ok && n.EngineRunning() && p.State == "Leader"
}

// hangs is how long a call on a disk may take before the disk counts as hanging
// for what can wait.
const hangs = time.Second

// Hung are the stores of the node whose disk has not answered for a while.
func (n Node) Hung() []string {
	var stores []string
	if n.Status.Engine.Stores != nil {
		for _, s := range n.Status.Engine.Stores.Stores {
			if time.Duration(s.Failover.HungNS) > hangs {
				stores = append(stores, s.Path)
			}
		}
	}
	return stores
}

// OnSecondary are the stores of the node whose log writes to its side.
func (n Node) OnSecondary() []string {
	stores := []string{}
	if n.Status.Engine.Stores != nil {
		for _, s := range n.Status.Engine.Stores.Stores {
			if s.Failover.Active == agentapi.Secondary {
				stores = append(stores, s.Path)
			}
		}
	}
	return stores
}

// Nodes are the nodes of a cluster by name.
type Nodes map[string]Node

// Agents asks the agents of the named nodes, each AgentTimeout at most.
func Agents(ctx context.Context, p platform.Platform, names []string) Nodes {
	nodes := Nodes{}
	for name, a := range ask(ctx, p, names, AgentTimeout, (*agentapi.Client).Status) {
		nodes[name] = Node{Name: name, Err: a.err, Status: a.answer}
	}
	return nodes
}

// Pending are what the agents of a cluster would do for the specs that they have.
type Pending map[string]agentapi.Pending

// Pendings asks the agents of the named nodes what they would do, each PendingTimeout
// at most. Those that do not tell are not in it.
func Pendings(ctx context.Context, p platform.Platform, names []string) Pending {
	all := Pending{}
	for name, a := range ask(ctx, p, names, PendingTimeout, (*agentapi.Client).Pending) {
		if a.err == nil {
			all[name] = a.answer
		}
	}
	return all
}

// DryRuns asks the agents of the specs' nodes what they would do for them, each
// PendingTimeout at most, and what would keep them from it. Those that do not answer are
// not in it; refused are the refusals.
func DryRuns(ctx context.Context, p platform.Platform, specs map[string]*agentapi.Spec, secrets agentapi.Secrets) (would Pending, refused map[string]error) {
	would, refused = Pending{}, map[string]error{}
	question := func(name string) func(*agentapi.Client, context.Context) (agentapi.SpecResult, error) {
		return func(c *agentapi.Client, ctx context.Context) (agentapi.SpecResult, error) {
			return c.DryRun(ctx, specs[name], secrets)
		}
	}
	for name, a := range askEach(ctx, p, slices.Sorted(maps.Keys(specs)), PendingTimeout, question) {
		if _, ok := errors.AsType[*agentapi.Error](a.err); ok {
			refused[name] = a.err
		} else if a.err == nil {
			would[name] = agentapi.Pending{Operations: a.answer.Operations, Problems: a.answer.Problems}
		}
	}
	return would, refused
}

type answer[T any] struct {
	answer T
	err    error
}

// ask asks the agents of the named nodes the same, at once, each for bound at most.
func ask[T any](ctx context.Context, p platform.Platform, names []string, bound time.Duration, question func(*agentapi.Client, context.Context) (T, error)) map[string]answer[T] {
	return askEach(ctx, p, names, bound, func(string) func(*agentapi.Client, context.Context) (T, error) { return question })
}

func askEach[T any](ctx context.Context, p platform.Platform, names []string, bound time.Duration, question func(name string) func(*agentapi.Client, context.Context) (T, error)) map[string]answer[T] {
	var (
		wg      sync.WaitGroup
		slots   = make(chan struct{}, parallel) // holds one value per agent being asked
		answers = make([]answer[T], len(names))
	)
	for i, name := range names {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			ctx, cancel := context.WithTimeout(ctx, bound)
			defer cancel()
			answers[i].answer, answers[i].err = question(name)(p.Node(name).Agent(), ctx)
		})
	}
	wg.Wait()
	all := make(map[string]answer[T], len(names))
	for i, name := range names {
		all[name] = answers[i]
	}
	return all
}

// Names are the nodes' names in order.
func (ns Nodes) Names() []string { return slices.Sorted(maps.Keys(ns)) }

// Leader names the node that leads the default partition in the newest term,
// empty where none says so.
func (ns Nodes) Leader() string { return ns.LeaderOf(DefaultPartition) }

// LeaderOf is Leader of any partition.
func (ns Nodes) LeaderOf(partition string) string {
	leader, term := "", uint64(0)
	for _, name := range ns.Names() {
		if p, ok := ns[name].Partition(partition); ok && ns[name].leads(partition) && (leader == "" || p.Term > term) {
			leader, term = name, p.Term
		}
	}
	return leader
}

// Partitions names every partition that an engine tells of, in order; the
// default one is always among them.
func (ns Nodes) Partitions() []string {
	names := []string{DefaultPartition}
	for _, n := range ns {
		for _, p := range n.Partitions() {
			names = append(names, p.Name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Ready names the nodes whose agent answers and whose engine runs.
func (ns Nodes) Ready() []string {
	ready := []string{}
	for _, name := range ns.Names() {
		if ns[name].EngineRunning() {
			ready = append(ready, name)
		}
	}
	return ready
}

// Failure is the first node, by name, whose engine exited by itself and does not
// run, as an error that carries the engine's last words.
func (ns Nodes) Failure() error {
	for _, name := range ns.Names() {
		n := ns[name]
		if n.Reachable() && n.Status.Engine.State == agentapi.EngineFailed {
			return &EngineError{Node: name, LastExit: n.Status.Engine.LastExit}
		}
	}
	return nil
}

// EngineError says that an engine ends by itself each time it is started.
type EngineError struct{ Node, LastExit string }

func (e *EngineError) Error() string {
	last := e.LastExit
	if last == "" {
		last = "it left no word; see the engine's log on the node"
	}
	return fmt.Sprintf("node %s: the engine does not stay up: %s", e.Node, last)
}
