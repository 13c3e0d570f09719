// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/kv"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/logstore"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/store"
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
// Goroutines, all in wg and ended by stopCh or ctx: watchLeader, the reaper,
// one per link, and short ones (catchUp, the verifier). Forwarding
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
	logs    logstore.Store
	trans   *transport
	raft    *raft.Raft

	co        *coalescer
	verify    *verifier
	window    *window
	lease     *lease
	leaseTime time.Duration
	votersAt  atomic.Uint64 // index of the configuration that the lease knows
	settings  atomic.Uint64 // index of the settings that were noticed

	view   atomic.Pointer[leaderView]
	viewMu sync.Mutex // one writer of view at a time
	// handingOver: leadership is being given away; no view is ready any more.
	// Guarded by viewMu.
	handingOver bool

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

// openPartition opens the log of a partition and starts its raft group.
func openPartition(name string, st *openStore, cfg *Config, m *mux, stats *partitionStats, onFail func(error)) (*partition, error) {
	p := &partition{
		name: name, dir: filepath.Join(st.cfg.Path, "raft", name), log: cfg.Logger.With("partition", name),
		stats: stats, started: time.Now(), mux: m, onFail: onFail,
		machine: kv.New(), window: newWindow(), leaseTime: cfg.Timing.LeaderLeaseTimeout,
		stopCh: make(chan struct{}), stopped: make(chan struct{}),
	}
	p.self = cfg.Servers[slices.IndexFunc(cfg.Servers, func(s Server) bool { return s.Name == cfg.Node })]
	p.lease = newLease(raft.ServerID(p.self.Name))
	p.verify = &verifier{p: p}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.mu.links = make(map[string]*link)
	p.view.Store(&leaderView{changed: make(chan struct{})})
	p.co = newCoalescer(func(data []byte) raft.ApplyFuture { return p.raft.Apply(data, 0) }, cfg.Timing.EntriesInFlight, stats)
	if err := p.start(st, cfg); err != nil {
		p.cancel()
		return nil, fmt.Errorf("partition %q in %s: %w", name, p.dir, err)
	}
	return p, nil
}

func (p *partition) start(st *openStore, cfg *Config) (err error) {
	// A step that fails leaves what was opened before it to be closed.
	var opened []io.Closer
	defer func() {
		if err != nil {
			for _, c := range slices.Backward(opened) {
				err = errors.Join(err, c.Close())
			}
		}
	}()
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return err
	}
	opts := cfg.logOptions()
	opts.Logger = p.log
	opts.Metrics = stats{prefix: "raft.wal."}
	logs, warning, err := logstore.Open(p.dir, opts)
	if err != nil {
		return err
	}
	opened = append(opened, logs)
	if warning != "" {
		p.log.Warn(warning)
	}
	p.logs = logs
	snaps, err := raft.NewFileSnapshotStoreWithLogger(p.dir, snapshotsKept, p.log.Named("snapshot"))
	if err != nil {
		return err
	}
	stream := newStream(p.mux, p.name, p.self.Address)
	p.trans = &transport{lease: p.lease, NetworkTransport: raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: stream, MaxPool: raftPool, Timeout: raftTimeout, Logger: p.log.Named("raft-net"),
		// With 2, a follower's store error wedges its replication for good.
		MaxRPCsInFlight: 1,
	})}
	opened = append(opened, p.trans)
	rc := raftConfig(cfg, p.log)
	if err := p.bootstrap(st, cfg, rc, snaps); err != nil {
		return err
	}
	var entries raft.LogStore = logs
	if !cfg.LogStore.DisableLogCache {
		if entries, err = raft.NewLogCache(logCacheEntries, logs); err != nil {
			return err
		}
	}
	if p.raft, err = raft.NewRaft(rc, &fsm{p}, entries, logs, snaps, p.trans); err != nil {
		return err
	}
	p.checkAddress()
	p.mux.handle(route{connForward, p.name}, p.acceptForward)
	p.wg.Go(func() { p.watchLeader(p.stopCh) })
	p.wg.Go(func() { p.co.reap(p.stopCh) })
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

// noticeSettings logs a change of the cluster's settings.
func (p *partition) noticeSettings() {
	s := p.machine.Settings()
	if s.Index == p.settings.Load() {
		return
	}
	p.settings.Store(s.Index)
	p.log.Info("the cluster's settings changed", "index", s.Index, "set", s.Set)
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
	p.spawn(func() { done <- p.raft.LeadershipTransfer().Error() })
	select {
	case err := <-done:
		if err != nil {
			p.log.Warn("leadership could not be handed over: there will be an election", "error", err)
		}
	case <-ctx.Done():
	}
}

// shutdown stops the partition. The order:
//
//  1. leadership is handed over, reads and new writes end;
//  2. waiting calls, links and forwarding connections end;
//  3. raft stops, its connections are closed;
//  4. goroutines end; the log is closed.
//
// While a disk hangs, 3 and 4 do; after ctx they are left behind, and the
// process's end is what ends them.
func (p *partition) shutdown(ctx context.Context) error {
	p.handOver(ctx)
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
		done <- errors.Join(err, p.logs.Close())
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("partition %q did not stop in time: does its disk hang? %w", p.name, ctx.Err())
	}
}
