// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package drill

import (
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/drill/pace"
)

// Result is all of a drill, as -json prints it. Durations are nanoseconds.
type Result struct {
	Cluster   string    `json:"cluster"`
	Directory string    `json:"directory"`
	Node      string    `json:"node"` // whose disk hung
	Role      string    `json:"role"` // leader | follower, when it began
	Disks     []Disk    `json:"disks"`
	Failover  string    `json:"failover"` // the node's mode
	StartedAt time.Time `json:"started_at"`
	Load      Load      `json:"load"`
	// Hung is how long the disk was frozen; Freezing how long it took to
	// freeze it, when writes begin to wait.
	Hung     time.Duration `json:"hung_ns"`
	Freezing time.Duration `json:"freezing_ns"`

	// All operations; those that ended before the disk hung, those of which
	// some part lay in the stall, and those that were due after it.
	All    pace.Summary `json:"all"`
	Before pace.Summary `json:"before"`
	During pace.Summary `json:"during"`
	After  pace.Summary `json:"after"`
	// Unsent operations were due and never begun, for others hung on.
	Unsent     int    `json:"unsent"`
	FirstError string `json:"first_error,omitempty"`
	// Pause is the longest time between two acknowledged writes; Idle the
	// number of whole seconds without any.
	Pause         time.Duration `json:"longest_pause_ns"`
	Idle          int           `json:"seconds_without_progress"`
	LeaderChanges int           `json:"leader_changes"`
	Leader        string        `json:"leader"` // at the end

	Nodes    []NodeResult `json:"nodes"`
	Verified bool         `json:"verified"` // every acknowledged key is right on every node
	Seconds  []Second     `json:"seconds"`
	Events   []Event      `json:"events"`
}

// Load is what the clients did.
type Load struct {
	Clients   int     `json:"clients"`
	Rate      float64 `json:"writes_per_second"`
	ValueSize int     `json:"value_size"`
}

// NodeResult is what became of one node.
type NodeResult struct {
	Name string `json:"name"`
	// Switches and Hedges are of all its stores, during the drill.
	Switches  uint64        `json:"switches"`
	Hedges    uint64        `json:"hedges"`
	Secondary time.Duration `json:"secondary_duration_ns"`
	// Failback is the time from the end of the stall until its logs wrote to
	// their own disks again; 0 where they never left, or came back earlier; -1
	// where they have not come back.
	Failback time.Duration `json:"failback_ns"`
	// Keys that were acknowledged and are right here, missing, different, and
	// applied more than once.
	Keys    int    `json:"keys"`
	Missing int    `json:"missing"`
	Wrong   int    `json:"wrong"`
	Twice   int    `json:"applied_twice"`
	Error   string `json:"error,omitempty"` // why it could not be read
}

func (n NodeResult) right(acknowledged int) bool {
	return n.Error == "" && n.Keys == acknowledged && n.Missing+n.Wrong+n.Twice == 0
}

// Phases of a drill.
const (
	PhaseBefore = "before"
	PhaseStall  = "stall"
	PhaseAfter  = "after"
)

// Second is what clients saw in one second of the drill.
type Second struct {
	Second int    `json:"second"` // 1 is the first
	Phase  string `json:"phase"`  // stall where the disk hung in any part of it
	pace.Summary
	// Waiting is how long the operation had waited at the end of the second
	// that waited longest.
	Waiting time.Duration `json:"waiting_ns"`
	Leader  string        `json:"leader"`
	Nodes   []NodeSecond  `json:"nodes"`
}

// NodeSecond is what a node's logs did at the end of a second.
type NodeSecond struct {
	Name string `json:"name"`
	// Log is the directory that its logs write to: primary, secondary where
	// one of them is there, or empty where the node does not answer.
	Log      string        `json:"log"`
	Switches uint64        `json:"switches"` // since the drill began
	Hedges   uint64        `json:"hedges"`
	Hung     time.Duration `json:"hung_ns"` // how long its disk has not answered
}

// Event is a change that was seen while the drill ran.
type Event struct {
	At   time.Duration `json:"at_ns"` // since the drill began
	Node string        `json:"node"`
	What string        `json:"what"` // leader | primary | secondary | unreachable | reachable
	Why  string        `json:"why,omitempty"`
}
