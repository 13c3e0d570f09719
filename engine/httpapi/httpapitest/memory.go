// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Package httpapitest has a Backend of one process and no raft, for tests of
// HTTP clients and handlers: a real state machine, applied to under a lock.
package httpapitest

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/api"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/httpapi"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/kv"
)

// Memory implements httpapi.Backend. Its fields may be set before use.
type Memory struct {
	// Err is what Apply and Read answer, where it is not nil.
	Err error
	// Leader is the address of the leader.
	Leader string
	// LastContact is what stale reads say of their age.
	LastContact time.Duration
	// Raft and Node are answered as they are.
	Raft api.RaftConfiguration
	Node api.NodeStores

	mu         sync.Mutex
	partitions map[string]*kv.StateMachine
}

var _ httpapi.Backend = (*Memory)(nil)

// NewMemory returns a backend with the named partitions, "default" always.
func NewMemory(partitions ...string) *Memory {
	m := &Memory{Leader: "127.0.0.1:8300", partitions: map[string]*kv.StateMachine{"default": kv.New()}}
	for _, p := range partitions {
		m.partitions[p] = kv.New()
	}
	return m
}

func (m *Memory) partition(name string) (*kv.StateMachine, error) {
	sm := m.partitions[name]
	if sm == nil {
		return nil, fmt.Errorf("partition %q: %w", name, httpapi.ErrNoPartition)
	}
	return sm, nil
}

// Apply applies the command as a batch of one.
func (m *Memory) Apply(ctx context.Context, partition string, cmd kv.Command) (kv.Result, error) {
	if m.Err != nil {
		return kv.Result{}, m.Err
	}
	if err := ctx.Err(); err != nil {
		return kv.Result{}, err
	}
	sm, err := m.partition(partition)
	if err != nil {
		return kv.Result{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	res, err := sm.Apply(kv.AppendBatch(nil, cmd))
	if err != nil {
		return kv.Result{}, err
	}
	return res[0], nil
}

// Read answers from memory, whatever the consistency.
func (m *Memory) Read(_ context.Context, partition string, q kv.Query, c httpapi.Consistency) (kv.Answer, httpapi.Meta, error) {
	if m.Err != nil {
		return kv.Answer{}, httpapi.Meta{}, m.Err
	}
	sm, err := m.partition(partition)
	if err != nil {
		return kv.Answer{}, httpapi.Meta{}, err
	}
	meta := httpapi.Meta{Index: sm.Index(), KnownLeader: m.Leader != ""}
	if c == httpapi.Stale {
		meta.LastContact = m.LastContact
	}
	return sm.Read(q), meta, nil
}

// LeaderAddress is Leader.
func (m *Memory) LeaderAddress(partition string) (string, error) {
	_, err := m.partition(partition)
	return m.Leader, err
}

// RaftConfiguration is Raft.
func (m *Memory) RaftConfiguration(partition string) (api.RaftConfiguration, error) {
	_, err := m.partition(partition)
	return m.Raft, err
}

// Settings are those of the partition "default".
func (m *Memory) Settings() api.Settings {
	s := m.partitions["default"].Settings()
	return httpapi.SettingsOf(s, kv.DefaultSettings(false))
}

// Stores is Node.
func (m *Memory) Stores() api.NodeStores { return m.Node }
