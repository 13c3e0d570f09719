// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package node

import (
	"bytes"
	"testing"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/kv"
)

// TestCheckpointIsNoCommand: a state machine that knows nothing of checkpoints
// applies one, and is what it was: same index, same snapshot. Nodes of an earlier
// version do that.
func TestCheckpointIsNoCommand(t *testing.T) {
	m := kv.New()
	if _, err := m.Apply(kv.AppendBatch(nil, kv.Command{Op: kv.OpPut, Key: "k", Value: []byte("v")})); err != nil {
		t.Fatal(err)
	}
	snapshot := func() []byte {
		var b bytes.Buffer
		if _, err := m.Snapshot().WriteTo(&b); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	before := snapshot()
	results, err := m.Apply(checkpointData)
	if err != nil || len(results) != 0 || m.Index() != 1 {
		t.Errorf("%d results, index %d, %v", len(results), m.Index(), err)
	}
	if !bytes.Equal(before, snapshot()) {
		t.Error("the snapshot is another one")
	}
}

// TestOneCheckpointAtATime: while a disk hangs, checkpoints do not fill raft's
// queue.
func TestOneCheckpointAtATime(t *testing.T) {
	at := time.Unix(1000, 0)
	last := asked{term: 3, applied: 7, at: at}
	for _, tc := range []struct {
		name          string
		term, applied uint64
		after         time.Duration
		want          bool
	}{
		{"on its way", 3, 7, time.Second, true},
		{"applied", 3, 8, time.Second, false},
		{"another term: it went with the leadership, or is in the log", 4, 7, time.Second, false},
		{"never heard of again", 3, 7, lostAfter, false},
	} {
		if got := last.outstanding(tc.term, tc.applied, at.Add(tc.after)); got != tc.want {
			t.Errorf("%s: outstanding is %v", tc.name, got)
		}
	}
	if (asked{}).outstanding(3, 0, at) {
		t.Error("none was asked for")
	}
}
