// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/api"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/httpapi"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/node"
)

func verification(c *Cluster, name string) *api.Verification {
	return c.Node(name).Stores().Stores[0].Verification
}

// healthy waits until a node has compared ranges that end above index, and fails
// the test where one was not ok.
func healthy(t *testing.T, c *Cluster, name string, index uint64) {
	t.Helper()
	Eventually(t, fmt.Sprintf("node %s to verify what is above entry %d", name, index), func() error {
		v := verification(c, name)
		if v.LastFailure != nil {
			t.Fatalf("node %s: a false alarm: %+v", name, *v.LastFailure)
		}
		if v.LastReport == nil || v.LastReport.RangeEnd <= index {
			return fmt.Errorf("the last report is %+v of %+v", v.LastReport, *v)
		}
		return nil
	})
}

func lastIndex(c *Cluster, name string) uint64 {
	return c.Node(name).Stores().Stores[0].Partitions[0].LastIndex
}

// TestVerification: every node of a cluster compares every range, under every
// leader, with and without log cache; the partition's index takes no step for it;
// and after a crash, a conflict and a restart there is no false alarm.
func TestVerification(t *testing.T) {
	for _, tc := range []struct {
		backend string
		noCache bool
	}{{"wal", false}, {"boltdb", true}} {
		t.Run(tc.backend, func(t *testing.T) {
			c := New(t, Options{Configure: func(c *node.Config) {
				c.LogStore.Backend, c.LogStore.DisableLogCache = tc.backend, tc.noCache
				c.LogStore.Verification = node.Verification{Enabled: true, Interval: 50 * time.Millisecond}
			}})
			leader := c.Leader("default")
			for i := range 40 {
				c.Put(leader, fmt.Sprint("k", i), strings.Repeat("v", i*100))
			}
			for _, name := range c.Names() {
				healthy(t, c, name, lastIndex(c, leader))
			}
			before := c.Put(leader, "last", "one").Index
			healthy(t, c, leader, lastIndex(c, leader))
			if got := c.Put(leader, "next", "one").Index; got != before+1 {
				t.Errorf("the index went from %d to %d over checkpoints", before, got)
			}

			// The leader is cut off and writes what nobody gets.
			c.Isolate(leader, true)
			next := c.LeaderOther("default", leader)
			c.Put(next, "under", "another leader")
			c.Isolate(leader, false)
			c.Leader("default")
			for _, name := range c.Names() {
				healthy(t, c, name, lastIndex(c, next))
			}
			if last := verification(c, leader).LastReport; last.WriteChecksum == "" {
				t.Errorf("node %s lost sight of what it wrote: %+v", leader, *last)
			}

			// And everybody is restarted.
			for _, name := range c.Names() {
				c.Stop(name)
			}
			for _, name := range c.Names() {
				c.Start(name)
			}
			leader = c.Leader("default")
			c.Put(leader, "after", "the restart")
			for _, name := range c.Names() {
				healthy(t, c, name, lastIndex(c, leader))
			}
			if got := c.Get(leader, "next", httpapi.Consistent); got != "one" {
				t.Errorf("after the restart: %q", got)
			}
		})
	}
}

// TestVerificationThroughSnapshots: logs are compacted all the time, and a
// follower comes back through a snapshot.
func TestVerificationThroughSnapshots(t *testing.T) {
	for _, backend := range []string{"wal", "boltdb"} {
		t.Run(backend, func(t *testing.T) {
			c := New(t, Options{Configure: func(c *node.Config) {
				c.LogStore.Backend = backend
				c.Timing.SnapshotThreshold, c.Timing.TrailingLogs, c.Timing.SnapshotInterval = 20, 5, 20*time.Millisecond
				c.LogStore.Verification = node.Verification{Enabled: true, Interval: 20 * time.Millisecond}
			}})
			leader := c.Leader("default")
			behind := c.Follower("default")
			c.Put(leader, "before", "v")
			c.Kill(behind)
			for i := range 200 {
				c.Put(leader, fmt.Sprint("k", i%10), fmt.Sprint(i))
			}
			c.Start(behind)
			c.Leader("default")
			for _, name := range c.Names() {
				healthy(t, c, name, lastIndex(c, leader))
			}
		})
	}
}

// TestVerificationFindsDamage: a bit flips in one follower's file, and that node
// alone tells, with the entry and what to do. Seen to fail with the comparison of
// what is read left out.
func TestVerificationFindsDamage(t *testing.T) {
	for _, backend := range []string{"wal", "boltdb"} {
		t.Run(backend, func(t *testing.T) {
			var out reports
			c := New(t, Options{Configure: func(c *node.Config) {
				c.LogStore.Backend = backend
				c.LogStore.Verification = node.Verification{Enabled: true, Interval: 300 * time.Millisecond}
				c.Logger = hclog.New(&hclog.LoggerOptions{Name: c.Node, Level: hclog.Info, Output: &out})
			}})
			leader, victim := c.Leader("default"), c.Follower("default")
			dir := filepath.Join(c.Config(victim).Stores[0].Path, "raft", "default")
			// Some values are compared before their bit is flipped.
			Eventually(t, "the damage to be found", func() error {
				for i := range 5 {
					c.Put(leader, "k", fmt.Sprintf("value %d of %d, to be found on disk", i, time.Now().UnixNano()))
				}
				mark := fmt.Sprintf("a mark at %d, to be found on disk", time.Now().UnixNano())
				c.Put(leader, "k", mark)
				Eventually(t, "the follower to write", func() error { return flip(dir, mark) })
				seen := verification(c, victim).RangesVerified
				Eventually(t, "another report", func() error {
					if verification(c, victim).RangesVerified < seen+2 {
						return errors.New("none yet")
					}
					return nil
				})
				if verification(c, victim).LastFailure == nil {
					return errors.New("it came too late")
				}
				return nil
			})
			v := verification(c, victim)
			if f := v.LastFailure; f.Result != "storage_corruption" || f.Entry < f.RangeStart || f.Entry >= f.RangeEnd ||
				f.WriteChecksum != f.LeaderChecksum || f.ReadChecksum == f.LeaderChecksum || v.ReadChecksumFailures == 0 {
				t.Errorf("node %s reports %+v of %+v", victim, *f, *v)
			}
			for _, name := range c.Names() {
				if name != victim {
					healthy(t, c, name, v.LastFailure.RangeEnd-1)
				}
			}
			for _, want := range []string{
				"[ERROR] " + victim + ".raft.logstore.verifier: verification checksum FAILED: storage_corruption",
				leader + ".raft.logstore.verifier: verification checksum OK: elapsed=",
				"move its raft directory away",
			} {
				if !strings.Contains(out.String(), want) {
					t.Errorf("the log has no %q", want)
				}
			}
		})
	}
}

// flip flips a bit of the first place where a file below dir has the mark.
func flip(dir, mark string) error {
	found := errors.New("not there")
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || found == nil {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		at := bytes.Index(b, []byte(mark))
		if at < 0 {
			return nil
		}
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		_, err = f.WriteAt([]byte{mark[0] ^ 1}, int64(at))
		found = nil
		return errors.Join(err, f.Close())
	})
	return errors.Join(err, found)
}

// reports is a log that several nodes write.
type reports struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (r *reports) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.b.Write(p)
}

func (r *reports) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.b.String()
}
