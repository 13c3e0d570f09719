// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package api

import "time"

// KVPair is one key as Consul's /v1/kv answers it. Value is base64 in JSON.
type KVPair struct {
	LockIndex   uint64
	Key         string
	Flags       uint64
	Value       []byte
	Session     string `json:",omitempty"`
	CreateIndex uint64
	ModifyIndex uint64
}

// RaftServer is one server of a raft configuration, as Consul names its fields.
type RaftServer struct {
	ID              string
	Node            string
	Address         string
	Leader          bool
	ProtocolVersion string
	Voter           bool
	LastIndex       uint64
}

// RaftConfiguration answers /v1/operator/raft/configuration.
type RaftConfiguration struct {
	Servers []RaftServer
	Index   uint64
}

// Settings answers GET /v1/operator/settings: every cluster setting by its
// name. Values are what the user wrote (durations as Go writes them).
type Settings struct {
	// Settings holds the value in force, the default where none was set.
	Settings map[string]string `json:"settings"`
	// Set names the settings that somebody set; the others are defaults.
	Set []string `json:"set"`
	// Index is the partition index of the last change.
	Index uint64 `json:"index"`
}

// SettingsChange is the body of PUT /v1/operator/settings. A null value
// takes a setting back to its default. All of it is applied or nothing.
type SettingsChange struct {
	Settings map[string]*string `json:"settings"`
}

// NodeStores answers GET /_status/stores: what one engine knows of itself.
// It is read from memory and answers while every disk of the node hangs.
type NodeStores struct {
	Node      string    `json:"node"`
	NodeID    string    `json:"node_id"`
	Cluster   string    `json:"cluster"`
	ClusterID string    `json:"cluster_id"`
	Version   string    `json:"version"`
	StartedAt time.Time `json:"started_at"`
	// ConfigHash is the hash of the configuration that this process runs
	// with, so that an agent can tell a written configuration from a running one.
	ConfigHash string  `json:"config_hash"`
	Stores     []Store `json:"stores"`
}

// Store is one store of a node.
type Store struct {
	ID         string   `json:"id"`
	Path       string   `json:"path"`
	Mountpoint string   `json:"mountpoint"`
	Device     string   `json:"device"`
	MajMin     string   `json:"maj_min"`
	SizeBytes  int64    `json:"size_bytes"`
	FreeBytes  int64    `json:"free_bytes"`
	Attrs      []string `json:"attrs"`
	// Partitions names the raft groups whose log this store keeps.
	Partitions        []Partition `json:"partitions"`
	ConfiguredBackend string      `json:"configured_backend"`
	EffectiveBackend  string      `json:"effective_backend"`
	Failover          Failover    `json:"failover"`
	// Verification is nil where the log is not verified.
	Verification *Verification `json:"verification,omitempty"`
}

// Partition is one raft group as this node sees it.
type Partition struct {
	Name         string `json:"name"`
	State        string `json:"state"` // Leader | Follower | Candidate | Shutdown
	Leader       string `json:"leader"`
	LeaderAddr   string `json:"leader_address"`
	Term         uint64 `json:"term"`
	CommitIndex  uint64 `json:"commit_index"`
	AppliedIndex uint64 `json:"applied_index"`
	LastIndex    uint64 `json:"last_index"`
	// Index is the partition's own index: one step per command.
	Index uint64 `json:"index"`
	Keys  int64  `json:"keys"`
	// LastContactMS is the time since the leader was last heard, in
	// milliseconds; 0 on the leader, -1 when none was ever heard.
	LastContactMS int64 `json:"last_contact_ms"`
	// Error is the first background failure of the group, empty when well.
	Error string `json:"error,omitempty"`
}

// Failover is the state of a store's failover log. Durations are nanoseconds
// since the engine started, as CockroachDB counts them.
type Failover struct {
	// Mode is the configured mode: side-disk | among-stores | disabled.
	Mode string `json:"mode"`
	// Active is the directory that the log writes to: primary | secondary.
	Active string `json:"active"`
	Sides  []Side `json:"sides"`
	// Off says why nothing would fail over now although a mode is configured;
	// empty where it would.
	Off string `json:"off,omitempty"`
	// SwitchCount counts switches from primary to secondary and vice versa.
	SwitchCount uint64 `json:"switch_count"`
	// HedgeCount counts late operations that went to both disks without a switch.
	HedgeCount          uint64 `json:"hedge_count"`
	PrimaryDurationNS   int64  `json:"primary_duration_ns"`
	SecondaryDurationNS int64  `json:"secondary_duration_ns"`
	// HedgeNS is how long a small operation may take before it is late.
	HedgeNS    int64   `json:"hedge_ns"`
	LastSwitch *Switch `json:"last_switch"`
	// Replayed is how many operations the last start took from a side.
	Replayed int `json:"replayed"`
	// Pending operations, and bytes of entries, are what the primary has not taken yet.
	Pending      int   `json:"pending"`
	PendingBytes int64 `json:"pending_bytes"`
	// HungNS is how long the primary's current call has been going on; 0 while idle.
	HungNS int64 `json:"hung_ns"`
	// PrimaryError is the primary's newest error, empty since it answered again.
	PrimaryError string `json:"primary_error,omitempty"`
}

// Switch is the newest change of a log's active directory.
type Switch struct {
	At     time.Time `json:"at"`
	Reason string    `json:"reason"`
}

// Verification is what the verification of a store's log found since the
// engine started.
type Verification struct {
	Interval              string `json:"interval"` // between a leader's checkpoints, as Go writes durations
	CheckpointsWritten    uint64 `json:"checkpoints_written"`
	RangesVerified        uint64 `json:"ranges_verified"`
	ReadChecksumFailures  uint64 `json:"read_checksum_failures"`
	WriteChecksumFailures uint64 `json:"write_checksum_failures"`
	DroppedReports        uint64 `json:"dropped_reports"`
	// Skipped counts ranges that were not compared: busy (they are the dropped
	// reports), compacted, truncated, in_snapshot, uncovered, newer_version.
	Skipped map[string]uint64 `json:"skipped,omitempty"`
	// LastReport is nil until the first range was read, LastFailure until one was
	// not ok.
	LastReport  *VerificationReport `json:"last_report"`
	LastFailure *VerificationReport `json:"last_failure,omitempty"`
}

// VerificationReport is what one range of a log was found to be: the entries
// RangeStart ≤ i < RangeEnd.
type VerificationReport struct {
	At time.Time `json:"at"`
	// Result is ok, in_flight_corruption (what this server was given to write is
	// not what the leader wrote) or storage_corruption (what it reads is not what
	// was written).
	Result     string `json:"result"`
	RangeStart uint64 `json:"range_start"`
	RangeEnd   uint64 `json:"range_end"`
	// The checksums, 16 hexadecimal digits each; empty where one is not known:
	// WriteChecksum of a range that began before the engine was started.
	LeaderChecksum string `json:"leader_checksum"`
	WriteChecksum  string `json:"write_checksum"`
	ReadChecksum   string `json:"read_checksum"`
	// Entry is the first entry that is known to be damaged, 0 if none is.
	Entry     uint64 `json:"entry,omitempty"`
	ElapsedNS int64  `json:"elapsed_ns"`
	// Error says why an entry or the checkpoint could not be read.
	Error string `json:"error,omitempty"`
}

// Side is a directory that a store's log may fail over to.
type Side struct {
	Path      string `json:"path"`
	Device    string `json:"device"`
	Healthy   bool   `json:"healthy"`
	Armed     bool   `json:"armed"` // false: nothing is ever written there
	FreeBytes int64  `json:"free_bytes"`
	// JournalBytes is what the log's journal there holds that the primary lacks,
	// BudgetBytes what it may hold; Alarm is set from 80 % on.
	JournalBytes int64  `json:"journal_bytes"`
	BudgetBytes  int64  `json:"budget_bytes"`
	Alarm        bool   `json:"alarm"`
	Error        string `json:"error,omitempty"`
}
