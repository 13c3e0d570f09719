// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package httpapi

import (
	"context"
	"errors"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/api"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/kv"
)

// Errors that a Backend returns, wrapped, and the status each becomes.
var (
	// ErrNoLeader: no leader was found within the retry window. 500 with
	// Consul's text "No cluster leader".
	ErrNoLeader = errors.New("No cluster leader") //nolint:staticcheck // Consul's text, capital and all
	// ErrNoPartition: the named partition is not on this cluster. 404.
	ErrNoPartition = errors.New("no such partition")
	// ErrOutcomeUnknown: the write was handed to a leader whose answer never
	// came within the retry window; it may or may not be applied. 500.
	ErrOutcomeUnknown = errors.New("the outcome of the write is unknown")
)

// Consistency is the way a read is served.
type Consistency int

const (
	// Default is served by the leader under its lease.
	Default Consistency = iota
	// Consistent is served by the leader after a majority confirmed it.
	Consistent
	// Stale is served by any node from its own memory.
	Stale
)

// Meta is what the X-Consul headers of a read say.
type Meta struct {
	Index       uint64 // index of the partition that the answer reflects
	KnownLeader bool
	LastContact time.Duration // 0 where the leader served the read
}

// Backend is what the handlers need of a node. Safe for concurrent use; every
// method but Apply and Read answers from memory and never blocks on a disk.
type Backend interface {
	// Apply replicates one command and returns once it is applied on the
	// leader: durable on a quorum. The backend gives the command its ID and
	// retries it across elections within its retry window.
	Apply(ctx context.Context, partition string, cmd kv.Command) (kv.Result, error)
	// Read answers a query with the given consistency.
	Read(ctx context.Context, partition string, q kv.Query, c Consistency) (kv.Answer, Meta, error)
	// LeaderAddress is host:port of the leader's server RPC, empty where none is known.
	LeaderAddress(partition string) (string, error)
	// RaftConfiguration is the committed configuration that this node knows.
	RaftConfiguration(partition string) (api.RaftConfiguration, error)
	// Settings are the cluster settings as this node has applied them.
	Settings() api.Settings
	// Stores is what /_status/stores answers.
	Stores() api.NodeStores
}
