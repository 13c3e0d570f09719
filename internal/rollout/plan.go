// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package rollout

import (
	"fmt"
	"slices"
	"strings"
)

// Node is what a rollout has to know of one node.
type Node struct {
	Name  string
	Voter bool
	// Running: the engine's process is there and its API answers.
	Running bool
	// Partitions are the raft groups that the engine tells of, one per store.
	Partitions []Partition
	// Hung are the stores whose disk does not answer now.
	Hung []string
	// Restart lists why the engine has to restart: "ports.http: 8501 → 8500".
	Restart []string
}

// Partition is one raft group as a node's engine sees it.
type Partition struct {
	Name   string
	Leader bool
	// Applied is the index of the last raft entry that the engine applied, and
	// Commit the last that it knows to be committed.
	Applied, Commit uint64
}

func (n Node) partition(name string) Partition {
	if i := slices.IndexFunc(n.Partitions, func(p Partition) bool { return p.Name == name }); i >= 0 {
		return n.Partitions[i]
	}
	return Partition{Name: name}
}

// leads is how many partitions the node leads.
func (n Node) leads() int {
	led := 0
	for _, p := range n.Partitions {
		if p.Leader {
			led++
		}
	}
	return led
}

// Step is the restart of one node's engine.
type Step struct {
	Node string
	Why  []string
}

func (s Step) String() string {
	return fmt.Sprintf("node %s: restart engine (%s)", s.Node, strings.Join(s.Why, "; "))
}

// Plan orders the restarts that the nodes need: those that do not vote, then
// followers, then leaders, who leads fewer partitions first, by name within each.
func Plan(nodes []Node) []Step {
	nodes = slices.Clone(nodes)
	slices.SortFunc(nodes, func(a, b Node) int {
		if d := rank(a) - rank(b); d != 0 {
			return d
		}
		return strings.Compare(a.Name, b.Name)
	})
	var steps []Step
	for _, n := range nodes {
		if len(n.Restart) > 0 {
			steps = append(steps, Step{Node: n.Name, Why: n.Restart})
		}
	}
	return steps
}

func rank(n Node) int {
	if !n.Voter {
		return 0
	}
	return 1 + n.leads()
}

// lag is how many entries a node may be behind and still count as caught up:
// writes go on while it is looked at.
const lag = 256

// gate returns why the named node's engine may not be stopped now, empty where
// it may. A cluster of one or two voters stops writing while one restarts, which
// cannot be helped; with three or more, the others have to carry on.
func gate(nodes []Node, name string) string {
	for _, n := range nodes {
		if n.Voter && n.Name != name && !n.Running {
			return fmt.Sprintf("voter %s does not run", n.Name)
		}
		if len(n.Hung) > 0 && (n.Voter || n.Name == name) { // its engine would be held by it, or a voter may end for it
			return fmt.Sprintf("a disk of %s hangs: %s", n.Name, strings.Join(n.Hung, ", "))
		}
	}
	partitions := partitionNames(nodes)
	if len(partitions) == 0 {
		return "the cluster has no leader"
	}
	for _, p := range partitions {
		if why := gatePartition(nodes, name, p); why != "" {
			if len(partitions) > 1 {
				why += " in the partition " + p
			}
			return why
		}
	}
	return ""
}

// gatePartition is gate for one partition of nodes that run.
func gatePartition(nodes []Node, name, partition string) string {
	commit, leader := uint64(0), false
	for _, n := range nodes {
		p := n.partition(partition)
		commit, leader = max(commit, p.Commit), leader || p.Leader
	}
	if !leader {
		return "the cluster has no leader"
	}
	for _, n := range nodes {
		if applied := n.partition(partition).Applied; n.Voter && n.Name != name && applied+lag < commit {
			return fmt.Sprintf("voter %s is %d entries behind", n.Name, commit-applied)
		}
	}
	return ""
}

func partitionNames(nodes []Node) []string {
	var names []string
	for _, n := range nodes {
		for _, p := range n.Partitions {
			names = append(names, p.Name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// after returns why the named node does not count as back yet, empty where it does.
func after(nodes []Node, name string) string {
	if why := gate(nodes, ""); why != "" {
		return why
	}
	i := slices.IndexFunc(nodes, func(n Node) bool { return n.Name == name })
	switch {
	case i < 0:
		return fmt.Sprintf("node %s does not answer", name)
	case !nodes[i].Running:
		return fmt.Sprintf("the engine of %s does not run", name)
	case len(nodes[i].Restart) > 0:
		return fmt.Sprintf("the engine of %s still runs with %s", name, strings.Join(nodes[i].Restart, "; "))
	}
	return ""
}
