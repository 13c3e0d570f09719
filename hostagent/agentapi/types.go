// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package agentapi

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/api"
)

// Spec is what a node should be. The provider sends it; a person may write it
// by hand. Unknown fields are refused.
type Spec struct {
	Version int     `json:"version"` // 1
	Cluster Cluster `json:"cluster"`
	Node    string  `json:"node"`
	// BindAddress is the address that every listener of the node binds, without a port.
	BindAddress string `json:"bind_address"`
	Ports       Ports  `json:"ports"`
	// Servers are all servers of the cluster, this one among them, by name.
	Servers      []Server     `json:"servers"`
	Stores       []StoreSpec  `json:"stores"`
	SideDisk     *SideDisk    `json:"side_disk,omitempty"`
	RaftLogStore RaftLogStore `json:"raft_logstore"`
	WALFailover  WALFailover  `json:"wal_failover"`
	Log          Log          `json:"log"`
	ServerRules  ServerRules  `json:"server"`
	// TLS, where set, gives the engine certificates of the cluster's CA, which the node
	// has to hold: see PKI. Off loopback there is no engine without.
	TLS *TLS `json:"tls,omitempty"`
	// Provision are steps that are done in this order, before disks and engine.
	Provision []Step `json:"provision,omitempty"`
}

// TLS is how a node's certificate is made.
type TLS struct {
	// Hosts are names and addresses that it is for, beside the node's name, bind
	// address and loopback.
	Hosts []string `json:"hosts,omitempty"`
	// Rotation is any word: with another one, key and certificate are made anew.
	Rotation string `json:"rotation,omitempty"`
}

// Cluster names a cluster. The ID is a UUID made once, at creation; no store
// of another ID is ever opened.
type Cluster struct {
	Name string `json:"name"`
	ID   string `json:"id"`
}

// Ports are Consul's: 8300, 8500 and 8501 unless set otherwise. HTTPS is 0 without TLS;
// with it, plain HTTP is on loopback alone.
type Ports struct {
	Server int `json:"server"`
	HTTP   int `json:"http"`
	HTTPS  int `json:"https,omitempty"`
}

// Server is one server of the cluster. Address is host:port of its server RPC.
type Server struct {
	Name    string `json:"name"`
	Address string `json:"address"`
	Voter   bool   `json:"voter"`
}

// StoreSpec is one store: a directory on a data disk.
type StoreSpec struct {
	Path  string   `json:"path"`
	Attrs []string `json:"attrs,omitempty"`
	// Device, when set, is the block device that Path must lie on.
	Device string `json:"device,omitempty"`
	// Disk, when set, is the disk that the agent finds and mounts for it.
	Disk *Disk `json:"disk,omitempty"`
}

// SideDisk is the directory that logs fail over to.
type SideDisk struct {
	Path   string `json:"path"`
	Device string `json:"device,omitempty"`
	Disk   *Disk  `json:"disk,omitempty"`
}

// RaftLogStore carries Consul's raft_logstore block. Changes need a restart.
type RaftLogStore struct {
	Backend         string       `json:"backend"` // wal | boltdb
	DisableLogCache bool         `json:"disable_log_cache"`
	Verification    Verification `json:"verification"`
	BoltDB          BoltDB       `json:"boltdb"`
	WAL             WAL          `json:"wal"`
}

// Verification is raft_logstore.verification. Interval is a Go duration.
type Verification struct {
	Enabled  bool   `json:"enabled"`
	Interval string `json:"interval"`
}

// BoltDB is raft_logstore.boltdb.
type BoltDB struct {
	NoFreelistSync bool `json:"no_freelist_sync"`
}

// WAL is raft_logstore.wal.
type WAL struct {
	SegmentSizeMB int `json:"segment_size_mb"`
}

// WALFailover is the failover mode: side-disk | among-stores | disabled.
type WALFailover struct {
	Mode string `json:"mode"`
	// PrevPaths are directories of earlier configurations that the node's logs
	// may still be armed on. An engine drains them when it starts and uses them
	// no more. The agent remembers them by itself: this is for a node whose
	// records are lost. One path or a list of them.
	PrevPaths Paths `json:"prev_path,omitempty"`
}

// Paths is a list of paths that may be written as a single one.
type Paths []string

// UnmarshalJSON implements json.Unmarshaler.
func (p *Paths) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil { // null, too
		*p = nil
		if one != "" {
			*p = Paths{one}
		}
		return nil
	}
	var list []string
	if err := json.Unmarshal(b, &list); err != nil {
		return fmt.Errorf("%s is neither a path nor a list of paths", b)
	}
	*p = list
	return nil
}

// SideOf is the directory that the log of the i-th store fails over to: the side
// disk's, or that of the next store, the first after the last. Empty where it
// fails over to none.
func (s *Spec) SideOf(i int) string {
	switch {
	case s.WALFailover.Mode == SideDiskMode && s.SideDisk != nil:
		return s.SideDisk.Path
	case s.WALFailover.Mode == AmongStoresMode && len(s.Stores) > 1:
		return s.Stores[(i+1)%len(s.Stores)].Path
	}
	return ""
}

// Sides are the directories that the logs of the node fail over to, sorted.
func (s *Spec) Sides() []string {
	dirs := []string{}
	for i := range s.Stores {
		if dir := s.SideOf(i); dir != "" {
			dirs = append(dirs, dir)
		}
	}
	slices.Sort(dirs)
	return slices.Compact(dirs)
}

// Log is the engine's log: level is trace|debug|info|warn|error.
type Log struct {
	Level string `json:"level"`
	// Buffering, where set, makes the agent write a logs.yaml: buffered files in
	// logs/ of the node's directory, on a whole machine in /var/log/holdfast. Without it
	// the log is engine.log alone, there the journal.
	Buffering *Buffering `json:"buffering,omitempty"`
}

// Buffering is CockroachDB's: how long and how much of a log is gathered before it
// is written, and how much is kept while its disk hangs. A Go duration and sizes
// such as 256KiB.
type Buffering struct {
	MaxStaleness     string `json:"max_staleness"`
	FlushTriggerSize string `json:"flush_trigger_size"`
	MaxBufferSize    string `json:"max_buffer_size"`
}

// ServerRules are Consul's rules for leaving.
type ServerRules struct {
	LeaveOnTerminate     bool `json:"leave_on_terminate"`
	SkipLeaveOnInterrupt bool `json:"skip_leave_on_interrupt"`
	RejoinAfterLeave     bool `json:"rejoin_after_leave"`
}

// Change is one difference between the spec in force and another one.
// Attribute is the path in the JSON spec, "raft_logstore.backend".
type Change struct {
	Attribute string `json:"attribute"`
	From      string `json:"from"`
	To        string `json:"to"`
	Restart   bool   `json:"restart"` // the engine has to restart for it
}

// SpecResult answers PUT /v1/spec, with ?dry_run=1 too.
type SpecResult struct {
	DryRun  bool     `json:"dry_run"`
	Changes []Change `json:"changes"`
	// Operations are what a dry run says would be done on the machine, in order; without
	// one, what was done, where the agent is not at it still.
	Operations []Operation `json:"operations,omitempty"`
	// Converging says that the agent is at it still: Status.Converging tells when it is
	// not any more.
	Converging bool `json:"converging,omitempty"`
	// Problems are what kept the agent from making the node what the spec
	// says. The spec is in force all the same, and the agent goes on trying.
	Problems []Problem `json:"problems,omitempty"`
}

// Operation is one thing that an agent does to its machine, as a person reads it.
type Operation struct {
	// Part is what it is about: provision | disks | certificates | services.
	Part string `json:"part"`
	// Field is the attribute of the spec, where there is one: stores.0, provision.tune.
	Field string `json:"field,omitempty"`
	Text  string `json:"text"`
}

// The parts of a machine that operations are about, in their order.
const (
	PartProvision    = "provision"
	PartDisks        = "disks"
	PartCertificates = "certificates"
	PartServices     = "services"
)

// String reads as "disks: grow the ext4 of /dev/nvme0n1 from 10G to 12G".
func (o Operation) String() string { return o.Part + ": " + o.Text }

// Pending answers GET /v1/pending: what the next PUT of the spec in force would do.
// It looks at disks and files, and takes as long as they do.
type Pending struct {
	Operations []Operation `json:"operations"`
	// Problems are what would keep it from being done.
	Problems []Problem `json:"problems,omitempty"`
}

// Status answers GET /v1/status: what the agent observes, in the terms of the
// spec, plus measurements.
type Status struct {
	Node  string `json:"node"`
	Agent Agent  `json:"agent"`
	// Spec is the spec in force, nil before the first one.
	Spec   *Spec         `json:"spec,omitempty"`
	Engine Engine        `json:"engine"`
	Stores []StoreStatus `json:"stores"`
	Side   *StoreStatus  `json:"side_disk,omitempty"`
	// Converging is what the agent is doing to make the node what its spec says, nil
	// when it is at rest.
	Converging *Converging `json:"converging,omitempty"`
	// Rates are how much the disks take, nil where that was not measured yet or there
	// is no side disk.
	Rates *Rates `json:"rates,omitempty"`
	// PKI are the node's certificates, nil where it has none.
	PKI *PKI `json:"pki,omitempty"`
	// Provision are the provisioning steps on record.
	Provision []StepStatus `json:"provision,omitempty"`
	// Problems are failures of background work and of the last convergence,
	// newest last. Empty on a healthy node.
	Problems []Problem `json:"problems"`
}

// Converging is a convergence under way.
type Converging struct {
	Since time.Time `json:"since"`
	// Doing is the operation under way, Done are those before it.
	Doing Operation   `json:"doing"`
	Done  []Operation `json:"done,omitempty"`
}

// Rates are measured once for each pair of disks, before an engine uses them.
type Rates struct {
	At   time.Time  `json:"at"`
	Data []DiskRate `json:"data"` // of the stores, in their order
	Side DiskRate   `json:"side"`
	// Enough says that the side disk takes a tenth of what the data disk does; Verdict
	// says so in words.
	Enough  bool   `json:"enough"`
	Verdict string `json:"verdict"`
}

// DiskRate is what a disk takes of what a log writes to it.
type DiskRate struct {
	Path string `json:"path"`
	// IOPS are writes of 4 KiB a second, each durable before the next.
	IOPS float64 `json:"iops"`
	// BandwidthBytes is in bytes a second.
	BandwidthBytes float64 `json:"bandwidth_bytes"`
}

// StepStatus is one provisioning step on record. Hash is of all that changes its effect.
type StepStatus struct {
	Name  string    `json:"name"`
	State string    `json:"state"` // finished | failed | started | due
	Hash  string    `json:"hash"`
	At    time.Time `json:"at"`
}

// Agent is the agent itself.
type Agent struct {
	Version   string    `json:"version"`
	PID       int       `json:"pid"`
	StartedAt time.Time `json:"started_at"`
}

// Engine states.
const (
	EngineRunning  = "running"  // its process is there and its API answers
	EngineStarting = "starting" // its process is there, its API does not answer yet
	EngineStopped  = "stopped"  // somebody asked for it
	EngineFailed   = "failed"   // it exited, or systemd stopped it; it is started again unless it refuses its configuration
	EngineHeld     = "held"     // killed, but held in the kernel by a disk
	EngineNone     = "none"     // no spec yet
)

// Secondary is what api.Failover.Active says while a log writes to its side.
const Secondary = "secondary"

// Engine is the engine's process as the agent sees it.
type Engine struct {
	State string `json:"state"`
	// Wanted is what was asked for: running | stopped.
	Wanted    string    `json:"wanted"`
	PID       int       `json:"pid,omitempty"`
	StartedAt time.Time `json:"started_at,omitzero"`
	Version   string    `json:"version,omitempty"`
	// Restarts counts the starts that nobody asked for, since the agent started.
	Restarts int `json:"restarts"`
	// LastExit says how the previous process ended, with the tail of its log.
	LastExit string `json:"last_exit,omitempty"`
	// RestartRequired lists the differences between the configuration that the
	// process runs with and the one in force.
	RestartRequired []Change `json:"restart_required,omitempty"`
	HTTPAddress     string   `json:"http_address,omitempty"`
	// Stores is the engine's own answer, nil when it did not answer in time.
	Stores *api.NodeStores `json:"stores,omitempty"`
}

// StoreStatus is one directory of the spec as it is on the node.
type StoreStatus struct {
	Path       string `json:"path"`
	ID         string `json:"id,omitempty"`
	Mountpoint string `json:"mountpoint"`
	Device     string `json:"device"`
	MajMin     string `json:"maj_min"`
	FSType     string `json:"fstype"`
	SizeBytes  int64  `json:"size_bytes"`
	FreeBytes  int64  `json:"free_bytes"`
	// Backend is what the store's log on disk is kept in: wal | boltdb | "" before there is one.
	Backend string `json:"backend"`
}

// Problem is a failure as a person reads it.
type Problem struct {
	What string    `json:"what"`
	Why  string    `json:"why"`
	Next string    `json:"next"`
	At   time.Time `json:"at"`
	// Beside says that the engine can run all the same.
	Beside bool `json:"beside,omitempty"`
	// Passing says that the agent tries again by itself within seconds: nothing has to be
	// done unless it stays.
	Passing bool `json:"passing,omitempty"`
}

// Error is the body of every answer of 400 and above.
type Error struct {
	What string `json:"what"`
	Why  string `json:"why"`
	Next string `json:"next"`
	// Field and the two values where the error is about one field of a spec.
	Field string `json:"field,omitempty"`
}
