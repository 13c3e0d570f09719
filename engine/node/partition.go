// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/failover"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/kv"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/logstore"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/store"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/telemetry"
)

const (
	// logCacheEntries is small because an entry may hold a MiB; a follower
	// that is further behind is served from the log itself.
	logCacheEntries = 128
	// maxAppendEntries bounds one request to a follower that catches up, and
	// is the depth of raft's apply queue.
	maxAppendEntries = 32
	snapshotsKept    = 2
	raftPool         = 3 // idle connections to a peer
	raftTimeout      = 10 * time.Second
)

// partition is one raft group of this node.
//
// Goroutines, all in wg and ended by stopCh or ctx: watchLeader, the watchdog,
// the reaper, writeCheckpoints, one per link, and short ones (catchUp, the
// verifier, a handing over). Forwarding
// connections have their own, ended by closing the connections.
type partition struct {
	name    string
	self    Server
	dir     string
	log     hclog.Logger
	stats   *partitionStats
	started time.Time
	mux     *mux
	onFail  func(error)

	machine *kv.StateMachine
	logs    *failover.Log
	backend atomic.Pointer[logstore.Backend] // of the log: the effective one
	side    *side                            // what the log fails over to; nil for nothing
	checks  *checkpoints                     // above logs; nil without verification
	trans   *transport
	raft    *raft.Raft
	running atomic.Pointer[raft.Raft] // raft, for those who may ask before it is there
	limits  *atomic.Pointer[limits]   // the node's

	handOverAfter time.Duration

	// onSettings is told the cluster's settings when they changed; it must not
	// block. Nil but in the partition that holds them.
	onSettings func(kv.Settings)

	co        *coalescer
	verify    *verifier
	window    *window
	lease     *lease
	leaseTime time.Duration
	votersAt  atomic.Uint64 // index of the configuration that the lease knows
	settings  atomic.Uint64 // index of the settings that were noticed

	view   atomic.Pointer[leaderView]
	viewMu sync.Mutex    // one writer of view at a time
	heard  chan struct{} // the transport → watchLeader: somebody leads a newer term; depth 1; never closed
	// handingOver: leadership is being given away; no view is ready any more.
	// Guarded by viewMu.
	handingOver bool
	catching    atomic.Bool // catchUp runs

	ctx      context.Context // ends the links
	cancel   context.CancelFunc
	stopCh   chan struct{} // closed by shutdown: ends watchLeader and the reaper
	stopped  chan struct{} // closed by shutdown: ends waiting calls
	stopping atomic.Bool
	conns    connSet // forwarding connections that peers made
	failure  atomic.Pointer[error]

	mu struct {
		sync.Mutex
		links  map[string]*link // by address
		closed bool
	}
	wg sync.WaitGroup
}

// openPartition opens the log of the i-th store's partition and starts its
// raft group.
func (n *Node) openPartition(ctx context.Context, i int) (*partition, error) {
	cfg, st, name := &n.cfg, n.stores[i], PartitionName(i)
	p := &partition{
		name: name, dir: filepath.Join(st.cfg.Path, "raft", name), log: cfg.Logger.With("partition", name),
		stats: newStats(telemetry.Process(), name, st.id.StoreID, &n.writes), started: time.Now(), mux: n.mux, onFail: n.fail,
		machine: kv.New(), window: newWindow(), leaseTime: cfg.Timing.LeaderLeaseTimeout, limits: &n.limits,
		handOverAfter: cfg.Timing.HandOverAfter,
		stopCh:        make(chan struct{}), stopped: make(chan struct{}),
	}
	if i == 0 {
		p.onSettings = n.applySettings
	}
	p.self = cfg.Servers[slices.IndexFunc(cfg.Servers, func(s Server) bool { return s.Name == cfg.Node })]
	p.lease = newLease(raft.ServerID(p.self.Name))
	p.verify = &verifier{p: p}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.mu.links = make(map[string]*link)
	p.view.Store(&leaderView{changed: make(chan struct{})})
	p.co = newCoalescer(func(data []byte) raft.ApplyFuture { return p.raft.Apply(data, 0) }, cfg.Timing.EntriesInFlight, p.stats)
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		p.cancel()
		return nil, err
	}
	logs, err := n.openLog(ctx, i, p)
	if err == nil {
		p.logs = logs
		if err = p.start(st, cfg); err != nil {
			err = errors.Join(err, logs.Close(ctx))
		}
	}
	if err != nil {
		p.cancel()
		if errors.Is(err, failover.ErrHung) {
			n.held.Store(true) // what hangs still has the store's files
		}
		return nil, fmt.Errorf("partition %q in %s: %w", name, p.dir, err)
	}
	return p, nil
}

// start starts raft over the open log, which stays the caller's where it fails.
func (p *partition) start(st *openStore, cfg *Config) error {
	snaps, err := raft.NewFileSnapshotStoreWithLogger(p.dir, snapshotsKept, p.log.Named("snapshot"))
	if err != nil {
		return err
	}
	p.heard = make(chan struct{}, 1)
	stream := newStream(p.mux, p.name, p.self.Address)
	p.trans = newTransport(raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: stream, MaxPool: raftPool, Timeout: raftTimeout, Logger: p.log.Named("raft-net"),
		// With 2, a follower's store error wedges its replication for good.
		MaxRPCsInFlight: 1,
	}), p.lease, p.stalled, p.noticeHeard)
	rc := raftConfig(cfg, p.log)
	if err := p.bootstrap(st, cfg, rc, snaps); err != nil {
		return errors.Join(err, p.trans.Close())
	}
	p.checks = newCheckpoints(p.name, cfg, p.logs, snaps)
	entries := p.checks.above(p.logs)
	if !cfg.LogStore.DisableLogCache {
		if entries, err = raft.NewLogCache(logCacheEntries, entries); err != nil {
			return errors.Join(err, p.checks.Close(), p.trans.Close())
		}
	}
	if p.raft, err = raft.NewRaft(rc, &fsm{p}, entries, p.logs, snaps, p.trans); err != nil {
		return errors.Join(err, p.checks.Close(), p.trans.Close())
	}
	p.running.Store(p.raft)
	p.checkAddress()
	p.mux.handle(route{connForward, p.name}, p.acceptForward)
	p.wg.Go(func() { p.watchLeader(p.stopCh) })
	p.wg.Go(func() { p.watchdog(p.stopCh) })
	p.wg.Go(func() { p.co.reap(p.stopCh) })
	p.wg.Go(func() { p.writeCheckpoints(p.stopCh) })
	return nil
}

func raftConfig(cfg *Config, log hclog.Logger) *raft.Config {
	rc := raft.DefaultConfig()
	rc.LocalID = raft.ServerID(cfg.Node)
	rc.Logger = log.Named("raft")
	rc.HeartbeatTimeout = cfg.Timing.HeartbeatTimeout
	rc.ElectionTimeout = cfg.Timing.ElectionTimeout
	rc.LeaderLeaseTimeout = cfg.Timing.LeaderLeaseTimeout
	rc.CommitTimeout = cfg.Timing.CommitTimeout
	rc.SnapshotInterval = cfg.Timing.SnapshotInterval
	rc.SnapshotThreshold = cfg.Timing.SnapshotThreshold
	rc.TrailingLogs = cfg.Timing.TrailingLogs
	rc.MaxAppendEntries = maxAppendEntries
	rc.BatchApplyCh = true // so that handing over an entry never blocks
	rc.ShutdownOnRemove = false
	rc.NoLegacyTelemetry = true
	return rc
}

// bootstrap begins an empty log with the configuration that every server was
// given. All of them do, and write the same entry at index 1 in term 1, so it
// does not matter who is first; until a majority has done so there is no
// leader. That is safe only for a server that never had a log: one that lost
// it forgot its votes. A directory without identity does not get this far,
// and the identity says which partitions were begun, so a log that is empty a
// second time is refused.
func (p *partition) bootstrap(st *openStore, cfg *Config, rc *raft.Config, snaps raft.SnapshotStore) error {
	has, err := raft.HasExistingState(p.logs, p.logs, snaps)
	if err != nil {
		return err
	}
	if !has {
		if slices.Contains(st.id.Bootstrapped, p.name) {
			return fmt.Errorf("%w: the store's identity says that it was begun here. Votes and acknowledged entries went with it, so this server may not "+
				"start with an empty one: put the log back, or remove the server from the cluster and let it join anew with an empty store", ErrLogLost)
		}
		var c raft.Configuration
		for _, s := range cfg.Servers {
			suffrage := raft.Voter
			if !s.Voter {
				suffrage = raft.Nonvoter
			}
			c.Servers = append(c.Servers, raft.Server{ID: raft.ServerID(s.Name), Address: raft.ServerAddress(s.Address), Suffrage: suffrage})
		}
		if err := raft.BootstrapCluster(rc, p.logs, p.logs, snaps, p.trans, c); err != nil {
			return fmt.Errorf("beginning the log: %w", err)
		}
		p.log.Info("the log was begun", "servers", len(c.Servers))
	}
	return store.MarkBootstrapped(st.cfg.Path, p.name)
}

// checkAddress warns where the log knows this server by another address than
// the configuration: its peers would look for it in vain.
func (p *partition) checkAddress() {
	f := p.raft.GetConfiguration()
	if f.Error() != nil {
		return
	}
	for _, s := range f.Configuration().Servers {
		if string(s.ID) == p.self.Name && string(s.Address) != p.self.Address {
			p.log.Warn("the cluster knows this server by another address, and changes of address are not built yet: use the old one",
				"address", p.self.Address, "known_as", s.Address)
		}
	}
}

func (p *partition) acceptForward(conn net.Conn, from string) {
	tracked, ok := p.conns.add(conn)
	if !ok {
		return
	}
	if !p.spawn(func() { p.serveForward(tracked, from) }) {
		_ = tracked.Close()
	}
}

// link returns the way to a peer, nil while stopping.
func (p *partition) link(addr string) *link {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.mu.links[addr]
	if l == nil && !p.mu.closed {
		l = newLink(func(ctx context.Context) (net.Conn, error) {
			return p.mux.dial(ctx, addr, route{connForward, p.name})
		}, p.log.With("peer", addr))
		p.mu.links[addr] = l
		p.wg.Go(func() { l.run(p.ctx) })
	}
	return l
}

// spawn runs fn in a goroutine of the partition; false while stopping.
func (p *partition) spawn(fn func()) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.closed {
		return false
	}
	p.wg.Go(fn)
	return true
}

// fail makes a background failure stick and ends the node.
func (p *partition) fail(err error) {
	err = fmt.Errorf("partition %q: %w", p.name, err)
	if p.failure.CompareAndSwap(nil, &err) {
		p.onFail(err)
	}
}

// noticeHeard wakes watchLeader.
func (p *partition) noticeHeard() {
	select {
	case p.heard <- struct{}{}:
	default:
	}
}

// noticeSettings logs a change of the cluster's settings.
func (p *partition) noticeSettings() {
	s := p.machine.Settings()
	if s.Index == p.settings.Load() {
		return
	}
	p.settings.Store(s.Index)
	p.log.Info("the cluster's settings changed", "index", s.Index, "set", s.Set)
	if p.onSettings != nil {
		p.onSettings(s)
	}
}

// handOver stops serving reads and gives leadership away, where this node has
// it and somebody else could: clients of other nodes then wait for
// milliseconds and not for an election.
func (p *partition) handOver(ctx context.Context) {
	p.viewMu.Lock()
	p.handingOver = true
	v := p.view.Load()
	if v.self {
		// The next leader may be elected while this one still believes in its
		// lease: a transfer does not wait for it to end.
		p.publishLocked(&leaderView{addr: v.addr, id: v.id, term: v.term, self: true})
	}
	p.viewMu.Unlock()
	if !v.self || len(p.mux.names) < 2 {
		return
	}
	done := make(chan error, 1)
	p.spawn(func() { done <- p.answer(p.raft.LeadershipTransfer()) })
	select {
	case err := <-done:
		if err != nil {
			p.log.Warn("leadership could not be handed over: there will be an election", "error", err)
		}
	case <-ctx.Done():
	}
}

// handOverTime is how long a shutdown waits for another server to take over:
// while the log hangs raft does not answer.
const handOverTime = 2 * time.Second

// shutdown stops the partition. The order:
//
//  1. leadership is handed over, reads and new writes end;
//  2. waiting calls, links and forwarding connections end;
//  3. raft stops, its connections are closed;
//  4. goroutines end; verification ends, then the log is closed.
//
// While a disk hangs, 3 and 4 do; after ctx they are left behind, and the
// process's end is what ends them.
func (p *partition) shutdown(ctx context.Context) error {
	handing, cancel := context.WithTimeout(ctx, handOverTime)
	p.handOver(handing)
	cancel()
	p.stopping.Store(true)
	p.mu.Lock()
	p.mu.closed = true
	p.mu.Unlock()
	p.co.close()
	close(p.stopped)
	p.cancel()
	p.conns.close()
	done := make(chan error, 1)
	go func() {
		f := p.raft.Shutdown()
		_ = p.trans.Close() // always nil
		err := f.Error()
		close(p.stopCh)
		p.wg.Wait()
		done <- errors.Join(err, p.checks.Close(), p.logs.Close(ctx))
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("partition %q did not stop in time: does its disk hang? %w", p.name, ctx.Err())
	}
}
