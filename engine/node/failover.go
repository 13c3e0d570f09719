// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package node

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/failover"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/mountinfo"
)

// side is a directory that logs fail over to, and what is known of its disk.
type side struct {
	path  string
	disk  *failover.Side
	size  atomic.Pointer[diskSize]
	mount atomic.Pointer[mountinfo.Mount] // as the watch saw it last: another disk may come in its place
}

// sidePath is the directory that the i-th store's log fails over to, "" for
// none: the side disk, or, among stores, the next store in the ring, which is
// CockroachDB's rule.
func (c *Config) sidePath(i int) string {
	switch c.Failover.Mode {
	case FailoverSideDisk:
		return c.Failover.Path
	case FailoverAmongStores:
		return c.Stores[(i+1)%len(c.Stores)].Path
	}
	return ""
}

// previousSides are the directories that the i-th store's log may have been
// failing over to: what was named, and every other store, so that among-stores
// can be left without naming them.
func (c *Config) previousSides(i int) []string {
	prev := slices.Clone(c.Failover.PrevPaths)
	for j, s := range c.Stores {
		if j != i {
			prev = append(prev, s.Path)
		}
	}
	return prev
}

// sideTime is how long a side's disk may take to answer at start.
const sideTime = 5 * time.Second

// openSides opens every directory that a log fails over to, once. One that
// cannot be opened stops nobody: its logs run without failover until it is
// well, unless they left something there, which opening them finds out.
func (n *Node) openSides(ctx context.Context) {
	n.sides = make(map[string]*side)
	for i, st := range n.stores {
		path := n.cfg.sidePath(i)
		if path == "" {
			continue
		}
		s := n.sides[path]
		if s == nil {
			s = n.openSide(ctx, path)
			n.sides[path] = s
		}
		if m := s.mount.Load(); m.Point != "" && m.MajMin() == st.majMin() {
			n.log.Warn("the side is on the same device as the store: it will hang with it. Put it on a disk of its own",
				"store", st.cfg.Path, "side", path, "device", st.mount.Device())
		}
	}
}

func (n *Node) openSide(ctx context.Context, path string) *side {
	s := &side{path: path}
	s.size.Store(&diskSize{})
	mount, _ := mountinfo.MountOf(path) // OpenSide says so of a path that is not there
	s.mount.Store(&mount)
	ctx, cancel := context.WithTimeout(ctx, sideTime)
	defer cancel()
	fs := n.cfg.Disks.FS(path)
	disk, err := failover.OpenSide(ctx, fs, path)
	if err != nil {
		n.log.Error("the side cannot be used: logs run without failover until it can", "side", path, "error", err)
		disk = failover.AwaitSide(fs, path)
	}
	s.disk = disk
	return s
}

// openLog opens the log of the i-th store's partition behind its failover log.
func (n *Node) openLog(ctx context.Context, i int, p *partition) (*failover.Log, error) {
	cfg := &n.cfg
	st := n.stores[i]
	opts := cfg.logOptions()
	opts.Logger = p.log
	opts.Metrics = stats{prefix: "raft.wal."}
	warned := false
	limits := n.limits.Load()
	fc := failover.Config{
		FS: cfg.Disks.FS(p.dir), Dir: p.dir,
		Open: func() (failover.Store, error) {
			logs, warning, err := cfg.Disks.OpenLog(p.dir, opts)
			if err != nil {
				return nil, err
			}
			if warning != "" && !warned {
				warned = true
				p.log.Warn(warning)
			}
			backend := logs.Backend()
			p.backend.Store(&backend)
			return logs, nil
		},
		Cluster: cfg.ClusterID, Node: cfg.NodeID, Store: st.id.StoreID, Partition: p.name,
		Previous:  cfg.previousSides(i),
		Threshold: limits.threshold, MaxSync: limits.maxSync,
		JournalFileSize: cfg.Failover.JournalFileSize, JournalBudget: cfg.Failover.JournalBudget,
		Leader: p.leads, Metrics: p.stats,
		Fatal: func(err error) {
			n.giveUp(fmt.Errorf("the disk of the store %s (%s): %w", st.cfg.Path, st.where(), err))
		},
		Logger: p.log.Named("failover"),
	}
	if p.side = n.sides[cfg.sidePath(i)]; p.side != nil {
		fc.Side = p.side.disk
	}
	log, err := failover.Open(ctx, fc)
	if err == nil {
		n.addLog(log)
	}
	return log, err
}

// giveUpTime is how long a node that ends for its disk takes to hand leadership over.
const giveUpTime = 500 * time.Millisecond

// giveUp ends the node although a call hangs in the kernel, which keeps the
// process, and with it every socket, for as long as the disk hangs: so every
// socket is closed before anybody hears that the node failed, for who hears it
// ends the process, and peers and clients turn to others. Where the log is on
// its side leadership can still be handed over before, which saves the election.
//
// A node that is still starting serves nobody: its start fails with the error.
func (n *Node) giveUp(err error) {
	if !n.up.Load() {
		n.sockets.close()
		n.fail(err)
		return
	}
	n.log.Error("the node ends: its disk hangs", "error", err)
	ctx, cancel := context.WithTimeout(context.Background(), giveUpTime)
	defer cancel()
	var wg sync.WaitGroup
	for _, p := range n.partitions {
		wg.Go(func() { p.handOver(ctx) })
	}
	wg.Wait()
	n.sockets.close()
	for _, p := range n.partitions {
		p.sever()
	}
	n.fail(err)
}

// sever closes every connection of the partition.
func (p *partition) sever() {
	p.conns.close()
	p.cancel()
	_ = p.trans.Close()
}

// where is a store's device for a message.
func (s *openStore) where() string {
	if s.mount.Point == "" {
		return "device unknown"
	}
	return s.mount.Device() + " on " + s.mount.Point
}
