// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package node

import (
	"fmt"
	"io"

	"github.com/hashicorp/raft"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/kv"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/verify"
)

// fsm is the state machine as raft sees it. Raft calls Apply, Snapshot and
// Restore from one goroutine.
type fsm struct {
	p *partition
}

var _ raft.FSM = (*fsm)(nil)

// Apply implements raft.FSM. It answers the commands of an entry that this
// node made; the value that it returns is for the reaper alone.
func (f *fsm) Apply(log *raft.Log) any {
	if verify.IsCheckpoint(log) {
		f.p.checks.passed()
		return nil
	}
	results, err := f.p.machine.Apply(log.Data)
	if err != nil {
		// Raft has no way to hear of this: it would go on and acknowledge
		// entries that are not applied. The node ends instead.
		f.p.fail(fmt.Errorf("applying log entry %d: %w", log.Index, err))
		return err
	}
	f.p.co.settle(log.Data, results)
	f.p.noticeSettings()
	return results
}

// Snapshot implements raft.FSM.
func (f *fsm) Snapshot() (raft.FSMSnapshot, error) {
	if err := f.p.machine.Err(); err != nil {
		return nil, err
	}
	return &fsmSnapshot{f.p.machine.Snapshot()}, nil
}

// Restore implements raft.FSM.
func (f *fsm) Restore(r io.ReadCloser) error {
	if err := f.p.machine.Restore(r); err != nil {
		return err
	}
	f.p.checks.restored()
	f.p.noticeSettings()
	return nil
}

type fsmSnapshot struct {
	s *kv.Snapshot
}

// Persist implements raft.FSMSnapshot.
func (s *fsmSnapshot) Persist(sink raft.SnapshotSink) error {
	if _, err := s.s.WriteTo(sink); err != nil {
		_ = sink.Cancel() // the error to tell is the write's
		return fmt.Errorf("writing snapshot %s: %w", sink.ID(), err)
	}
	return sink.Close()
}

// Release implements raft.FSMSnapshot.
func (s *fsmSnapshot) Release() {}
