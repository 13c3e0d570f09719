// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/console"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/failover"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/httpapi"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/telemetry"
)

// Node is a running engine. It implements httpapi.Backend.
type Node struct {
	cfg     Config
	log     hclog.Logger
	started time.Time
	origin  uint64 // of the ids of this process's writes

	stores     []*openStore
	sides      map[string]*side // by path; never changed after Start
	limits     atomic.Pointer[limits]
	logs       limitedLogs
	cache      *settingsCache        // nil until the stores are locked
	partitions map[string]*partition // never changed after Start
	sockets    connSet               // all that it has, of peers and of clients
	mux        *mux
	http       []*http.Server // plain, and over TLS where there are certificates
	httpAddr   string
	httpsAddr  string // empty without TLS
	console    *console.Console
	writes     console.Latency // of this node's clients
	disks      *diskWatch
	wg         sync.WaitGroup // the HTTP servers, measure

	stopMeasure chan struct{} // closed by shutdown; nil where measure does not run

	up   atomic.Bool // start has ended well
	held atomic.Bool // an opening of a log was left behind: its disk hangs

	stop     sync.Once
	stopErr  error
	done     chan struct{} // closed when the node failed or was shut down
	finished sync.Once     // closes done
	mu       struct {
		sync.Mutex
		err error // why the node failed
	}
}

var (
	_ httpapi.Backend = (*Node)(nil)
	_ console.Source  = (*Node)(nil)
)

// Start opens the stores, joins or begins the raft groups and serves. It
// returns when all listeners are open; there may be no leader yet. The node
// runs until Shutdown, whatever becomes of ctx afterwards.
//
// A disk that does not answer within Config.OpenTimeout ends the start with
// failover.ErrHung. The hung call keeps the store's locks, so the caller ends
// the process then.
func Start(ctx context.Context, cfg Config) (*Node, error) {
	cfg.setDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	n := &Node{
		cfg: cfg, log: cfg.Logger, started: time.Now(),
		origin:     rand.Uint64() | 1, // random, and never 0
		partitions: make(map[string]*partition), done: make(chan struct{}),
	}
	bound, cancel := context.WithTimeout(ctx, cfg.OpenTimeout)
	defer cancel()
	started := make(chan error, 1) // one result, whether somebody waits or not
	go func() { started <- n.start(bound) }()
	select {
	case err := <-started:
		if err != nil {
			n.sockets.close()
			stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			_ = n.Shutdown(stopCtx) // the error to tell is the start's
			return nil, err
		}
		n.up.Store(true)
		return n, nil
	case <-n.done: // a disk hung for too long meanwhile
		return nil, n.Wait()
	case <-time.After(cfg.OpenTimeout + openGrace):
		n.sockets.close() // the process may be held, and they with it
		return nil, fmt.Errorf("%w: the node did not start within %v: one of the disks of %s does not answer", failover.ErrHung, cfg.OpenTimeout, n.cfg.paths())
	}
}

// openGrace is how much longer than its bound a start that does not heed the
// bound may take: the opening of a file waits for the disk, and nothing else.
const openGrace = time.Second

func (n *Node) start(ctx context.Context) error {
	cfg := &n.cfg
	// What fails for reasons outside comes first: until all stores and ports
	// are ours, nothing is written.
	for _, s := range cfg.Stores {
		st, err := openStoreDir(s, cfg)
		if err != nil {
			return fmt.Errorf("store %s: %w", s.Path, err)
		}
		n.stores = append(n.stores, st)
	}
	if err := n.checkOrder(); err != nil {
		return err
	}
	server := net.JoinHostPort(cfg.BindAddress, fmt.Sprint(cfg.ServerPort))
	var network Network = &trackedNetwork{cfg.Network, &n.sockets}
	if cfg.Security != nil {
		network = secure(network, cfg.Security, cfg.Servers)
	}
	ln, err := network.Listen(server)
	if err != nil {
		return listenError("server RPC", server, "ServerPort", err)
	}
	n.mux = newMux(ln, network, cfg)
	web, err := n.listenHTTP()
	if err != nil {
		return err
	}
	if err := n.openPartitions(ctx); err != nil {
		return err
	}
	n.disks = n.watchDisks()
	n.console = console.Start(console.Config{Source: n, Writes: &n.writes, Logger: n.log.Named("console")})
	for i := range web {
		n.http = append(n.http, n.newHTTP(i > 0))
	}
	n.stopMeasure = make(chan struct{})
	n.wg.Go(func() { n.measure(n.stopMeasure) })
	n.mux.serve()
	for i, s := range n.http {
		n.wg.Go(func() {
			if err := s.Serve(web[i]); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
				n.fail(fmt.Errorf("the HTTP API ended: %w", err))
			}
		})
	}
	n.log.Info("the engine runs", "node", cfg.Node, "cluster", cfg.Cluster, "server", server, "http", n.httpAddr, "https", n.httpsAddr, "stores", len(n.stores))
	return nil
}

// listenHTTP opens the plain listener and, where there are certificates, that
// of TLS behind it.
func (n *Node) listenHTTP() ([]net.Listener, error) {
	web, err := net.Listen("tcp", n.cfg.HTTPAddress)
	if err != nil {
		return nil, listenError("HTTP API", n.cfg.HTTPAddress, "HTTPPort", err)
	}
	web = n.sockets.listen(web)
	n.httpAddr = web.Addr().String()
	if n.cfg.Security == nil {
		return []net.Listener{web}, nil
	}
	safe, err := net.Listen("tcp", n.cfg.HTTPSAddress)
	if err != nil {
		return nil, listenError("HTTPS API", n.cfg.HTTPSAddress, "HTTPSAddress", err)
	}
	safe = n.sockets.listen(safe)
	n.httpsAddr = safe.Addr().String()
	return []net.Listener{web, tls.NewListener(safe, n.cfg.Security.HTTPS())}, nil
}

func (n *Node) newHTTP(secured bool) *http.Server {
	metrics := telemetry.Process()
	cfg := httpapi.Config{
		Backend: n, Logger: n.log.Named("http"), Metrics: metrics.JSON(), Prometheus: metrics.Prometheus(), Console: n.console,
	}
	if secured {
		cfg.Hosts = []string{"*"} // TLS proves to the client that the name is this node's
	}
	return httpapi.NewServer(cfg)
}

// openPartitions opens the sides and every store's partition.
func (n *Node) openPartitions(ctx context.Context) error {
	l := limitsOf(n.stores[0].id.Settings, n.cfg.defaults())
	n.limits.Store(&l)
	n.cache = newSettingsCache(n.stores, n.log)
	n.openSides(ctx)
	for i, st := range n.stores {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("%w: opening the store %s: %w", failover.ErrHung, st.cfg.Path, err)
		}
		p, err := n.openPartition(ctx, i)
		if err != nil {
			return err
		}
		n.partitions[p.name], st.partition = p, p
	}
	n.cache.start()
	return nil
}

// PartitionName is the name of the partition that the i-th store holds.
func PartitionName(i int) string {
	if i == 0 {
		return "default"
	}
	return fmt.Sprintf("p%d", i+1)
}

func listenError(what, addr, field string, err error) error {
	return fmt.Errorf("listening for %s on %s: %w: is another engine running? Stop it, or choose another %s", what, addr, err, field)
}

// fail ends the node with the first background failure.
func (n *Node) fail(err error) {
	n.mu.Lock()
	first := n.mu.err == nil
	if first {
		n.mu.err = fmt.Errorf("%w: %w", ErrFailed, err)
	}
	n.mu.Unlock()
	if first {
		n.log.Error("the engine cannot go on and ends", "error", err)
		n.finished.Do(func() { close(n.done) })
	}
}

// Done is closed when the engine has failed, in which case the caller shuts
// it down and exits, or was shut down.
func (n *Node) Done() <-chan struct{} { return n.done }

// Wait waits for Done. It returns why the engine failed, wrapping ErrFailed,
// or nil after a Shutdown.
func (n *Node) Wait() error {
	<-n.done
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.mu.err
}

// HTTPAddr is host:port that the HTTP API listens on.
func (n *Node) HTTPAddr() string { return n.httpAddr }

// HTTPSAddr is host:port that it listens on over TLS, empty without.
func (n *Node) HTTPSAddr() string { return n.httpsAddr }

// Shutdown stops the engine: first the HTTP API (requests under way have a
// part of ctx's time to end) and the console, then each partition as
// partition.shutdown says, then the listener, the disk watcher, the sides and
// the stores' locks. It returns when all is closed or ctx ends, and may be
// called again.
func (n *Node) Shutdown(ctx context.Context) error {
	n.stop.Do(func() {
		n.stopErr = n.shutdown(ctx)
		n.finished.Do(func() { close(n.done) })
	})
	return n.stopErr
}

// drainTime is how long requests under way may take to end.
const drainTime = 2 * time.Second

func (n *Node) stopHTTP(ctx context.Context) {
	drain, cancel := context.WithTimeout(ctx, drainTime)
	defer cancel()
	var wg sync.WaitGroup
	for _, s := range n.http {
		wg.Go(func() {
			if err := s.Shutdown(drain); err != nil {
				_ = s.Close() // those that are left are cut off
			}
		})
	}
	wg.Wait()
}

func (n *Node) shutdown(ctx context.Context) error {
	var errs []error
	if n.stopMeasure != nil {
		close(n.stopMeasure)
	}
	if n.http != nil {
		n.stopHTTP(ctx)
		n.wg.Wait()
	}
	if n.console != nil {
		n.console.Close()
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	for _, p := range n.partitions {
		wg.Go(func() {
			if err := p.shutdown(ctx); err != nil {
				mu.Lock()
				errs = append(errs, err)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if n.mux != nil {
		n.mux.close()
	}
	n.sockets.close() // those of a request that outlasts its time
	if n.disks != nil {
		n.disks.close()
	}
	if n.cache != nil {
		errs = append(errs, n.cache.close(ctx))
	}
	if errors.Join(errs...) == nil && !n.held.Load() { // else a lock must outlast what still writes
		for _, s := range n.sides {
			errs = append(errs, s.disk.Close(ctx))
		}
		for _, s := range n.stores {
			errs = append(errs, s.lock.Close())
		}
	}
	return errors.Join(errs...)
}

// partition finds a partition by its name; empty is "default".
func (n *Node) partition(name string) (*partition, error) {
	if name == "" {
		name = "default"
	}
	p := n.partitions[name]
	if p == nil {
		names := make([]string, len(n.stores))
		for i := range names {
			names[i] = PartitionName(i)
		}
		return nil, fmt.Errorf("%w %q: this cluster has %s", httpapi.ErrNoPartition, name, strings.Join(names, ", "))
	}
	return p, nil
}
