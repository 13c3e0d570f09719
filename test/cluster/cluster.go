// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/hashicorp/consul/sdk/freeport"
	"github.com/hashicorp/go-hclog"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/httpapi"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/kv"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/node"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/store"
)

// Options shape a cluster. The zero value is three servers that elect a
// leader within some 100 ms.
type Options struct {
	Servers int
	Stores  int // per node
	// Side gives each node a side disk that its log fails over to.
	Side bool
	ID   string
	// Configure may change each node's configuration before every start.
	Configure func(*node.Config)
}

// Cluster is a set of engines. Its methods fail the test.
type Cluster struct {
	tb      testing.TB
	dir     string
	id      string
	net     *network
	servers []node.Server
	opts    Options
	nodes   map[string]*member
	names   []string
}

type member struct {
	cfg  node.Config
	view *view
	node *node.Node // nil while stopped

	disks *disks // of the stores in order, then the side's
}

// New starts a cluster, and stops it when the test ends.
func New(tb testing.TB, opts Options) *Cluster {
	tb.Helper()
	opts.Servers = max(opts.Servers, 0)
	if opts.Servers == 0 {
		opts.Servers = 3
	}
	opts.Stores = max(opts.Stores, 1)
	if opts.ID == "" {
		opts.ID = "5f1d3c52-0000-4000-8000-000000000001"
	}
	c := &Cluster{tb: tb, dir: tb.TempDir(), id: opts.ID, net: newNetwork(), opts: opts, nodes: make(map[string]*member)}
	ports := freeport.GetN(tb, opts.Servers) // a node that starts again finds its own
	for i, port := range ports {
		name, addr := string(rune('a'+i)), net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		c.names = append(c.names, name)
		c.servers = append(c.servers, node.Server{Name: name, Address: addr, Voter: true})
		c.net.names[addr] = name
		c.nodes[name] = &member{view: &view{net: c.net, node: name}}
	}
	tb.Cleanup(c.close)
	for i, name := range c.names {
		c.prepare(name, ports[i])
	}
	for _, name := range c.names {
		c.Start(name)
	}
	return c
}

// prepare makes a node's stores and configuration.
func (c *Cluster) prepare(name string, port int) {
	c.tb.Helper()
	m := c.nodes[name]
	m.disks = newDisks()
	m.cfg = node.Config{
		Cluster: "test", ClusterID: c.id, Node: name, NodeID: "node-" + name,
		BindAddress: "127.0.0.1", ServerPort: port, HTTPAddress: "127.0.0.1:0",
		Servers: c.servers, Network: m.view, Version: "test",
		Timing: node.Timing{HeartbeatTimeout: 150 * time.Millisecond, ElectionTimeout: 150 * time.Millisecond,
			LeaderLeaseTimeout: 75 * time.Millisecond, CommitTimeout: 10 * time.Millisecond},
		Disks: m.disks, Logger: c.logger(name),
	}
	for i := range c.opts.Stores {
		s := node.Store{Path: filepath.Join(c.dir, fmt.Sprintf("%s%d", name, i+1)), ID: fmt.Sprintf("store-%s%d", name, i+1)}
		m.cfg.Stores = append(m.cfg.Stores, s)
		err := store.Create(s.Path, store.Identity{Cluster: "test", ClusterID: c.id, Node: name, NodeID: m.cfg.NodeID, StoreID: s.ID})
		if err != nil {
			c.tb.Fatal(err)
		}
		m.disks.add(s.Path)
	}
	if !c.opts.Side {
		return
	}
	side := filepath.Join(c.dir, name+"-side")
	if err := os.Mkdir(side, 0o700); err != nil {
		c.tb.Fatal(err)
	}
	m.disks.add(side)
	m.cfg.Failover = node.Failover{Mode: node.FailoverSideDisk, Path: side, JournalFileSize: 2 << 20}
}

// Data is the disk of a node's first store.
func (c *Cluster) Data(name string) *Disk { return c.nodes[name].disks.all[0] }

// Side is a node's side disk.
func (c *Cluster) Side(name string) *Disk {
	ds := c.nodes[name].disks.all
	return ds[len(ds)-1]
}

// Thaw thaws every disk. The cluster does so when the test ends.
func (c *Cluster) Thaw() {
	for _, m := range c.nodes {
		for _, d := range m.disks.all {
			d.Thaw()
		}
	}
}

// logger writes into the test's log, with -v.
func (c *Cluster) logger(name string) hclog.Logger {
	if _, bench := c.tb.(*testing.B); bench || !testing.Verbose() {
		return hclog.NewNullLogger()
	}
	return hclog.New(&hclog.LoggerOptions{Name: name, Level: hclog.Info, Output: c.tb.Output()})
}

// Names are the nodes' names, in order.
func (c *Cluster) Names() []string { return c.names }

// Node returns a running node.
func (c *Cluster) Node(name string) *node.Node {
	c.tb.Helper()
	n := c.nodes[name].node
	if n == nil {
		c.tb.Fatalf("node %s is not running", name)
	}
	return n
}

// Config is a node's configuration, to be changed before it is started again.
func (c *Cluster) Config(name string) *node.Config { return &c.nodes[name].cfg }

// Start starts a node on its directories.
func (c *Cluster) Start(name string) *node.Node {
	c.tb.Helper()
	n, err := c.TryStart(name)
	if err != nil {
		c.tb.Fatalf("starting node %s: %v", name, err)
	}
	return n
}

// TryStart is Start for a node that may refuse.
func (c *Cluster) TryStart(name string) (*node.Node, error) {
	m := c.nodes[name]
	cfg := m.cfg
	if c.opts.Configure != nil {
		c.opts.Configure(&cfg)
	}
	n, err := node.Start(context.Background(), cfg)
	if err != nil {
		return nil, err
	}
	m.node = n
	return n, nil
}

const patience = 20 * time.Second

// Stop shuts a node down in order.
func (c *Cluster) Stop(name string) {
	c.tb.Helper()
	m := c.nodes[name]
	if m.node == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := m.node.Shutdown(ctx); err != nil {
		c.tb.Errorf("stopping node %s: %v", name, err)
	}
	m.node = nil
}

// Kill stops a node without its peers hearing of it: no handing over.
func (c *Cluster) Kill(name string) {
	c.tb.Helper()
	c.Isolate(name, true)
	c.Stop(name)
	c.Isolate(name, false)
}

// Cut cuts or heals the network between two nodes.
func (c *Cluster) Cut(a, b string, cut bool) { c.net.set(a, b, cut) }

// Isolate cuts or heals the network between a node and all others.
func (c *Cluster) Isolate(name string, cut bool) {
	for _, other := range c.names {
		if other != name {
			c.net.set(name, other, cut)
		}
	}
}

func (c *Cluster) close() {
	c.Thaw()
	for _, name := range c.names {
		c.Stop(name)
	}
}

// Leader waits until a running node leads a partition and every other that
// is connected to it says so, and returns its name.
func (c *Cluster) Leader(partition string) string {
	c.tb.Helper()
	return c.LeaderOther(partition, "")
}

// LeaderOther is Leader, but waits until it is not the named node.
func (c *Cluster) LeaderOther(partition, not string) string {
	c.tb.Helper()
	var leader string
	Eventually(c.tb, "a leader that all agree on", func() error {
		leader = ""
		for _, name := range c.names {
			if n := c.nodes[name].node; n != nil && State(n, partition) == "Leader" && name != not {
				leader = name
			}
		}
		if leader == "" {
			return errors.New("no node leads")
		}
		for _, name := range c.names {
			n := c.nodes[name].node
			if n == nil || c.isCut(name, leader) || name == not {
				continue
			}
			addr, err := n.LeaderAddress(partition)
			if err != nil {
				return err
			}
			if c.net.names[addr] != leader {
				return fmt.Errorf("node %s sees the leader at %q, node %s leads", name, addr, leader)
			}
		}
		return nil
	})
	return leader
}

func (c *Cluster) isCut(a, b string) bool {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	return c.net.cut[pair(a, b)]
}

// Follower is a running node that does not lead.
func (c *Cluster) Follower(partition string) string {
	c.tb.Helper()
	leader := c.Leader(partition)
	for _, name := range c.names {
		if name != leader && c.nodes[name].node != nil {
			return name
		}
	}
	c.tb.Fatal("no follower runs")
	return ""
}

// State is the raft state of a node's partition.
func State(n *node.Node, partition string) string {
	for _, s := range n.Stores().Stores {
		for _, p := range s.Partitions {
			if p.Name == partition {
				return p.State
			}
		}
	}
	return ""
}

// Put writes a key through a node.
func (c *Cluster) Put(name, key, value string) kv.Result {
	c.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	res, err := c.Node(name).Apply(ctx, "default", kv.Command{Op: kv.OpPut, Key: key, Value: []byte(value)})
	if err != nil {
		c.tb.Fatalf("put %s through node %s: %v", key, name, err)
	}
	return res
}

// Get reads a key through a node; "" where it is not there.
func (c *Cluster) Get(name, key string, consistency httpapi.Consistency) string {
	c.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	a, _, err := c.Node(name).Read(ctx, "default", kv.Query{Kind: kv.QueryGet, Key: key}, consistency)
	if err != nil {
		c.tb.Fatalf("get %s from node %s: %v", key, name, err)
	}
	if !a.Found {
		return ""
	}
	return string(a.Entries[0].Value)
}

// Eventually polls until check returns nil, and fails the test with its last
// error if that takes too long.
func Eventually(tb testing.TB, what string, check func() error) {
	tb.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			tb.Fatalf("waited %v for %s: %v", patience, what, err)
		}
		<-tick.C
	}
}
