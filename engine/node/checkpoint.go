// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package node

import (
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/api"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/kv"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/verify"
)

// checkpoints is raft_logstore.verification of a partition: the layer that sums
// and compares, and the leader's checkpoints. Nil while it is off; a state
// machine passes over the checkpoints of other nodes all the same.
type checkpoints struct {
	log      *verify.Log
	interval time.Duration
	snaps    raft.SnapshotStore
	logger   hclog.Logger
	applied  atomic.Uint64 // checkpoints that the state machine passed over
}

// checkpointData is a checkpoint's Data: a batch of no commands, which takes no
// step of the index in any version.
var checkpointData = kv.AppendBatchHeader(nil)

// newCheckpoints puts verification above the log store, where it is on.
func newCheckpoints(partition string, cfg *Config, logs raft.LogStore, snaps raft.SnapshotStore) *checkpoints {
	if !cfg.LogStore.Verification.Enabled {
		return nil
	}
	// The line is the one that Consul's users look for: what it begins with must
	// not be a field.
	logger := cfg.Logger.Named("raft.logstore.verifier")
	return &checkpoints{
		log:      verify.New(logs, verify.Options{Logger: logger, Partition: partition, Metrics: stats{prefix: "raft.logstore.verifier."}}),
		interval: cfg.LogStore.Verification.Interval, snaps: snaps, logger: logger,
	}
}

// above is what raft writes to: the verifying layer, or the store itself.
func (c *checkpoints) above(logs raft.LogStore) raft.LogStore {
	if c == nil {
		return logs
	}
	return c.log
}

// Close implements io.Closer. It waits for a read that is under way.
func (c *checkpoints) Close() error {
	if c == nil {
		return nil
	}
	return c.log.Close()
}

// passed is called by the state machine for a checkpoint in the log.
func (c *checkpoints) passed() {
	if c != nil {
		c.applied.Add(1)
	}
}

// restored is called by the state machine once it is that of a snapshot, which
// is the newest one there is.
func (c *checkpoints) restored() {
	if c == nil {
		return
	}
	index := uint64(math.MaxUint64) // unknown: no entry is called lost
	if list, err := c.snaps.List(); err == nil && len(list) > 0 {
		index = list[0].Index
	} else {
		c.logger.Warn("the snapshots cannot be listed: entries that are missing will not be told from those in a snapshot until the next start", "error", err)
	}
	c.log.Restored(index)
}

// lostAfter is how long a checkpoint may be on its way through raft before
// another one follows. Raft's queue is short, and full it would hold up writes
// while a disk hangs.
const lostAfter = time.Minute

// asked is the last checkpoint that was handed to raft.
type asked struct {
	term    uint64
	applied uint64 // before it
	at      time.Time
}

// outstanding tells whether it may still be in raft's queue or waiting for the disk.
func (r asked) outstanding(term, applied uint64, now time.Time) bool {
	return term == r.term && applied == r.applied && now.Sub(r.at) < lostAfter
}

// writeCheckpoints has a checkpoint written every interval while this node leads,
// until stop is closed.
func (p *partition) writeCheckpoints(stop <-chan struct{}) {
	if p.checks == nil {
		return
	}
	tick := time.NewTicker(p.checks.interval)
	defer tick.Stop()
	var last asked
	for {
		select {
		case <-tick.C:
		case <-stop:
			return
		}
		view, applied, now := p.view.Load(), p.checks.applied.Load(), time.Now()
		if !view.self || last.outstanding(view.term, applied, now) {
			continue
		}
		last = asked{term: view.term, applied: applied, at: now}
		// What becomes of it, the state machine hears.
		p.raft.ApplyLog(p.checks.log.Checkpoint(checkpointData), p.checks.interval)
	}
}

// status is the verification's part of /_status/stores, nil where it is off.
func (c *checkpoints) status() *api.Verification {
	if c == nil {
		return nil
	}
	s := c.log.Status()
	v := &api.Verification{
		Interval: c.interval.String(), CheckpointsWritten: s.Counters.CheckpointsWritten, RangesVerified: s.Counters.RangesVerified,
		ReadChecksumFailures: s.Counters.ReadChecksumFailures, WriteChecksumFailures: s.Counters.WriteChecksumFailures,
		DroppedReports: s.Counters.DroppedReports, Skipped: make(map[string]uint64, len(s.Counters.Skipped)),
		LastReport: report(s.Last), LastFailure: report(s.LastFailure),
	}
	for reason, n := range s.Counters.Skipped {
		v.Skipped[string(reason)] = n
	}
	return v
}

func report(r *verify.Report) *api.VerificationReport {
	if r == nil {
		return nil
	}
	out := &api.VerificationReport{
		At: r.At, Result: string(r.Result), RangeStart: r.Start, RangeEnd: r.End,
		LeaderChecksum: checksum(r.Leader), WriteChecksum: checksum(r.Written), ReadChecksum: checksum(r.Read),
		Entry: r.Entry, ElapsedNS: r.Elapsed.Nanoseconds(),
	}
	if r.Err != nil {
		out.Error = fmt.Sprint(r.Err)
	}
	return out
}

func checksum(s verify.Sum) string {
	if !s.Known {
		return ""
	}
	return s.String()
}
