// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Package platform is the contract between the cluster resource and the places
// that machines and disks come from. A platform makes machines and disks; a
// communicator reaches the agent and the engine's API on one of them.
//
// A platform decides nothing about raft, specs or engines: it hands out
// machines with mounted directories and an agent that answers.
package platform

import (
	"context"
	"maps"
	"net"
	"slices"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
)

// Cluster is what a platform is asked to make.
type Cluster struct {
	Name string
	ID   string
	// Nodes are sorted by name.
	Nodes    []Node
	Ports    agentapi.Ports
	Stores   []Disk
	SideDisk Disk
	// Binary is the path of the holdfast binary that the machines shall run.
	Binary string
}

// Node is one machine to be made, or to be found.
type Node struct {
	Name string
	// Stores, in the order of Cluster.Stores, and SideDisk say which of the machine's
	// devices the disks are, where the platform finds disks instead of making them.
	// What is left out is a blank one.
	Stores   []Device
	SideDisk Device
	// Known says that the node was made before, and holds data. A machine that is found
	// and knows nothing of it is refused, by the very look that it is taken after. A platform that
	// makes machines itself knows which it made.
	Known bool
}

// Device says which device of a machine a disk is.
type Device struct {
	Match agentapi.DiskMatch
	// Wipe is what may be destroyed on it, nil: nothing.
	Wipe *agentapi.DiskContent
}

// Disk is a disk that every node gets.
type Disk struct {
	// SizeBytes is the disk's size, the least one where it is found.
	SizeBytes  int64
	FileSystem string // ext4 | xfs
}

// Machine is one node as the platform made it.
type Machine struct {
	Name string
	// Address is what the node's listeners bind and its peers dial, without a port.
	Address  string
	Stores   []Directory
	SideDisk Directory
}

// Directory is where a store or the side lives on a machine.
type Directory struct {
	// Path never changes. It may not exist yet where nobody wrote to it.
	Path string
	// Device is the block device that is mounted there, by the name it has
	// now: a machine's start may change it. It is empty where the platform
	// gave a plain directory (the local platform without root), and in
	// Observe where nothing is mounted.
	Device string
	// SizeBytes and FileSystem (ext4 | xfs) are what was asked for, also where
	// there is a plain directory.
	SizeBytes  int64
	FileSystem string
	// Disk is what the node's agent has to find, format and mount for it; nil where
	// the platform did.
	Disk *agentapi.Disk
}

// Platform makes the machines and disks of one cluster. Every method is
// idempotent: after an interruption at any point, calling it again goes on.
// What a person has to mend comes as an *Error.
type Platform interface {
	// Preflight reports what would make Ensure fail, changing nothing: a
	// directory of another cluster, a port in use, a missing tool.
	Preflight(ctx context.Context, c Cluster) error
	// Ensure makes or repairs machines, disks, mounts and agents, and returns
	// the machines of c's nodes by name. Existing data is kept, nodes that c
	// does not name are left as they are, and engines are not touched.
	// progress, which may be nil, gets one line per step, one at a time.
	//
	// A cluster that the platform holds already must have c's name and ID: a
	// creation asks Adopt first and goes on with the ID that it returns.
	Ensure(ctx context.Context, c Cluster, progress func(string)) (map[string]Machine, error)
	// Adopt returns the name and ID of the cluster that the platform already holds
	// in the same place, ok false where there is none. A cluster whose destruction
	// was begun does not count, Ensure ends that first; its name and ID are
	// returned all the same.
	Adopt(ctx context.Context) (name, id string, ok bool, err error)
	// Observe returns the machines that are there, without mending anything;
	// none where there is no cluster, or one whose destruction was begun.
	Observe(ctx context.Context) (map[string]Machine, error)
	// Node returns the way to one node. It connects lazily and never fails.
	Node(name string) Communicator
	// Destroy stops engines and agents and removes machines, disks and files
	// that belong to the cluster of that id, and nothing else. A cluster that is
	// not there any more is no error. progress as in Ensure.
	Destroy(ctx context.Context, id string, progress func(string)) error
}

// Planner is a Platform that makes its machines itself, and says what Ensure would do before it does.
type Planner interface {
	Platform
	// Pending returns what Ensure would do to machines, disks and network of c, changing nothing. What
	// cannot be done is an error. What would be done on machines that are there, their agents say.
	Pending(ctx context.Context, c Cluster) (Pending, error)
}

// Pending is what Ensure would do, as lines that a person reads, by node and in order; under "" is what
// is done for no certain node. It is empty where there is nothing to do.
type Pending map[string][]string

// Lines are all of it, a line each, with the nodes' names.
func (p Pending) Lines() []string {
	var out []string
	for _, node := range slices.Sorted(maps.Keys(p)) {
		for _, line := range p[node] {
			if node != "" {
				line = "node " + node + ": " + line
			}
			out = append(out, line)
		}
	}
	return out
}

// Communicator reaches one node. Safe for concurrent use.
type Communicator interface {
	// Agent speaks to the node's agent. Its calls return
	// agentapi.ErrUnreachable (wrapped) where no agent answers.
	Agent() *agentapi.Client
	// DialContext connects to an address as seen from the node (its API may
	// listen on loopback only). It fits http.Transport.DialContext.
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
}
