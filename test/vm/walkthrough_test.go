// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package vm

import (
	"testing"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/test/traffic"
	"github.com/holdfastdb/terraform-provider-holdfast/test/walkthrough"
)

// stalls runs a script of the walkthrough on a node.
func (n *node) stalls(t *testing.T, script string, l *traffic.Traffic) ([]walkthrough.Interval, []walkthrough.Sample) {
	t.Helper()
	shell := newShell(n.Machine) // its own connection, which lasts for as long as the script
	defer shell.Drop()
	return walkthrough.Node{Name: n.Name, Shell: shell, Numbers: lsblkOf(t, n.Machine)[dataSerial].MajMin, Store: n.store}.Run(t, script, l)
}

// testTransientStalls runs wal-flip.sh on the leader: of each stall that is shorter than
// max_sync_duration the log goes to the side disk and comes back, counted, for about
// as long as the stall; writes go on all the while. The last one is just as long as
// max_sync_duration, and may end either way.
func (s *site) testTransientStalls(t *testing.T) {
	n := s.leader(t)
	l := drive(t, s, "flip/")
	pid := n.property(t, engineName, "MainPID")
	stalls, samples := n.stalls(t, walkthrough.Flip, l)
	survived := n.property(t, engineName, "MainPID") == pid
	t.Logf("on %s; the engine survived the last stall: %v", n.Name, survived)
	walkthrough.Flips(t, stalls, samples, survived)
	s.well(t)
	l.NothingLost(t)
	s.tf.Settles(t)
}

// testLongStall100 runs long-stall.sh on a follower: after max_sync_duration the node
// goes down, the cluster goes on, and the node comes back by itself.
//
// Its engine is one that found a log. Seen to fail, on a node whose engine the last stall had ended, before
// logstore.Open dropped the pages of the engine before: what was written to its segments was not held up.
func (s *site) testLongStall100(t *testing.T) {
	n := s.follower(t)
	sh(t, n.Machine, "sudo systemctl restart "+engineName)
	s.well(t)
	l := drive(t, s, "long/")
	before := n.property(t, engineName, "NRestarts")
	stalls, samples := n.stalls(t, walkthrough.Long, l)
	if len(stalls) != 1 {
		t.Fatalf("%d stalls: %v", len(stalls), stalls)
	}
	stall := stalls[0]
	if after := n.property(t, engineName, "NRestarts"); after == before {
		t.Errorf("%s bore a stall of %s", n.Name, stall.Length())
	}
	silent := walkthrough.Interval{From: stall.To, To: stall.From}
	for _, x := range samples {
		if x.Failover == nil && x.At.Before(silent.From) {
			silent.From = x.At
		}
		if x.Failover == nil {
			silent.To = x.At
		}
	}
	t.Logf("on %s, which did not answer from %s to %s after the stall began; %d writes", n.Name,
		silent.From.Sub(stall.From).Round(time.Second), silent.To.Sub(stall.From).Round(time.Second), l.Arrived())
	if walkthrough.WritesIn(samples, silent) == 0 {
		t.Error("no write arrived while it was down")
	}
	l.GoesOn(t, "after the stall")
	s.well(t)
	l.NothingLost(t)
	s.tf.Settles(t)
}
