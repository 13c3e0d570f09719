// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package node

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/failover"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/kv"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/logstore"
)

// ErrConfig classes every error of Validate.
var ErrConfig = errors.New("the engine's configuration is refused")

// Config is what an engine runs with. Zero values take their default in
// Start; what has none is required.
type Config struct {
	// Cluster and ClusterID name the cluster, Node and NodeID this node. Names
	// are for people; the IDs must be those of the stores' identity files.
	Cluster, ClusterID string
	Node, NodeID       string

	// BindAddress is the IP address that listeners bind. Loopback only, unless
	// there is Security, and then for the listeners that have TLS.
	BindAddress string
	// ServerPort is for raft and forwarding (8300), HTTPPort for the HTTP API
	// (8500).
	ServerPort, HTTPPort int
	// HTTPAddress is host:port of the plain HTTP API where it is not on
	// BindAddress, or 127.0.0.1 where that is no loopback address, and HTTPPort.
	HTTPAddress string
	// HTTPSAddress is host:port of the HTTP API over TLS where it is not on
	// BindAddress and 8501. Without Security there is none.
	HTTPSAddress string
	// AdvertiseAddress is host:port by which the other servers reach
	// ServerPort; BindAddress and ServerPort by default.
	AdvertiseAddress string

	// Stores holds one store or several. The first one's partition is
	// "default", that of the others "p2", "p3" and so on.
	Stores []Store
	// Servers are all servers of the cluster, this one included, in the same
	// words on each of them: a server with an empty log bootstraps from it.
	Servers []Server

	LogStore LogStore
	Failover Failover

	// ConfigHash and Version are answered in /_status/stores as they are.
	ConfigHash, Version string

	// RetryWindow is how long a request waits for a leader and is retried
	// across elections: 7 s by default, Consul's rpc_hold_timeout.
	RetryWindow time.Duration
	// Timing holds raft's timeouts.
	Timing Timing
	// MaxSyncDefault is storage.max_sync_duration while the cluster does not set
	// it (HOLDFAST_ENGINE_MAX_SYNC_DURATION_DEFAULT); 0: 20 s, or 40 s with failover.
	MaxSyncDefault time.Duration
	// OpenTimeout is how long the disks may take to answer at start: 40 s.
	OpenTimeout time.Duration

	// Logger is required to be useful; nothing is logged without one.
	Logger hclog.Logger
	// Network listens and dials; TCP by default.
	Network Network
	// Security, where it is set, puts TLS over Network and opens HTTPSAddress.
	Security Security
	// Disks open logs; the operating system's by default.
	Disks Disks
}

// Store is one store of the node.
type Store struct {
	Path string
	// ID must be that of the identity file; empty takes the file's.
	ID    string
	Attrs []string
}

// Server is one server of the cluster.
type Server struct {
	Name    string // its raft ID
	Address string // host:port of its server RPC
	Voter   bool
}

// LogStore is raft_logstore.
type LogStore struct {
	Backend         string // wal | boltdb
	DisableLogCache bool
	SegmentSizeMB   int  // wal
	NoFreelistSync  bool // boltdb
	Verification    Verification
}

// Verification is raft_logstore.verification. It is for all servers of a
// cluster, or those that lead without it write no checkpoints to compare with.
type Verification struct {
	Enabled  bool
	Interval time.Duration // between a leader's checkpoints; 1 min
}

// Failover is wal_failover: where a store's log writes while its disk hangs.
type Failover struct {
	Mode string // side-disk | among-stores | disabled
	Path string // of side-disk: a directory that exists, on a disk of its own
	// PrevPaths are directories that logs were failing over to before. What
	// they hold is brought into the log at start, and they are forgotten.
	PrevPaths []string
	// JournalFileSize and JournalBudget bound what a log may hold on its side,
	// in bytes; 0: package failover's defaults.
	JournalFileSize, JournalBudget int64
}

// The modes of Failover.
const (
	FailoverSideDisk    = "side-disk"
	FailoverAmongStores = "among-stores"
	FailoverDisabled    = "disabled"
)

// Timing holds raft's timeouts; see the fields of the same name in
// raft.Config. The defaults suit a LAN. Tests shorten them.
type Timing struct {
	HeartbeatTimeout   time.Duration // 1 s
	ElectionTimeout    time.Duration // 1 s
	LeaderLeaseTimeout time.Duration // 500 ms
	CommitTimeout      time.Duration // 50 ms
	SnapshotInterval   time.Duration // 2 min
	SnapshotThreshold  uint64        // 8192 entries
	TrailingLogs       uint64        // 4096 entries
	// HandOverAfter is how long a leader whose log is on its side stays: 5 s.
	HandOverAfter time.Duration
	// EntriesInFlight is how many log entries a leader has under way at once;
	// commands that come meanwhile wait and share the next one. 1 by default:
	// with more, entries get smaller and the disk is no busier (measured with
	// 16 to 256 clients: 2 costs 5 to 15 % of the throughput, 4 up to 25 %).
	EntriesInFlight int
}

// setDefaults fills in the zero values.
func (c *Config) setDefaults() {
	setDefault(&c.BindAddress, "127.0.0.1")
	setDefault(&c.ServerPort, 8300)
	setDefault(&c.HTTPPort, 8500)
	plain := c.BindAddress
	if c.Security != nil {
		setDefault(&c.HTTPSAddress, net.JoinHostPort(c.BindAddress, "8501"))
		if ip, err := netip.ParseAddr(plain); err == nil && !ip.IsLoopback() {
			plain = "127.0.0.1"
		}
	}
	setDefault(&c.HTTPAddress, net.JoinHostPort(plain, strconv.Itoa(c.HTTPPort)))
	setDefault(&c.AdvertiseAddress, net.JoinHostPort(c.BindAddress, strconv.Itoa(c.ServerPort)))
	setDefault(&c.LogStore.Backend, string(logstore.Default))
	setDefault(&c.LogStore.Verification.Interval, time.Minute)
	setDefault(&c.Failover.Mode, FailoverDisabled)
	setDefault(&c.RetryWindow, 7*time.Second)
	setDefault(&c.OpenTimeout, 40*time.Second)
	t := &c.Timing
	setDefault(&t.HeartbeatTimeout, time.Second)
	setDefault(&t.ElectionTimeout, t.HeartbeatTimeout)
	setDefault(&t.LeaderLeaseTimeout, t.HeartbeatTimeout/2)
	setDefault(&t.CommitTimeout, 50*time.Millisecond)
	setDefault(&t.SnapshotInterval, 2*time.Minute)
	setDefault(&t.SnapshotThreshold, 8192)
	setDefault(&t.TrailingLogs, 4096)
	setDefault(&t.HandOverAfter, 5*time.Second)
	setDefault(&t.EntriesInFlight, 1)
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	if c.Network == nil {
		c.Network = TCP{}
	}
	if c.Disks == nil {
		c.Disks = OSDisks{}
	}
}

func setDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// Validate names the first field with a value that cannot be used. Defaults
// count as filled in.
func (c *Config) Validate() error {
	full := *c
	full.setDefaults()
	return full.validate()
}

func (c *Config) validate() error {
	switch {
	case c.Cluster == "":
		return refuse("Cluster", "", "name the cluster")
	case c.ClusterID == "":
		return refuse("ClusterID", "", "give the id that the stores were made with")
	case c.Node == "":
		return refuse("Node", "", "name the node")
	case c.NodeID == "":
		return refuse("NodeID", "", "give the id that the stores were made with")
	case c.ServerPort < 0 || c.ServerPort > 65535:
		return refuse("ServerPort", c.ServerPort, "use a port from 1 to 65535")
	case c.HTTPPort < 0 || c.HTTPPort > 65535:
		return refuse("HTTPPort", c.HTTPPort, "use a port from 1 to 65535")
	case c.RetryWindow < 0:
		return refuse("RetryWindow", c.RetryWindow, "use a positive duration")
	}
	if err := c.validateListeners(); err != nil {
		return err
	}
	for _, check := range []func() error{c.validateStores, c.validateServers, c.validateLog, c.Timing.validate} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

// validateListeners: what others can reach has TLS.
func (c *Config) validateListeners() error {
	if c.Security == nil {
		if err := loopback("BindAddress", c.BindAddress); err != nil {
			return err
		}
	} else if _, err := netip.ParseAddr(c.BindAddress); err != nil && c.BindAddress != "localhost" {
		return refuse("BindAddress", c.BindAddress, "use an IP address of this machine")
	}
	host, _, err := net.SplitHostPort(c.HTTPAddress)
	if err != nil {
		return refuse("HTTPAddress", c.HTTPAddress, "use host:port")
	}
	if err := loopback("HTTPAddress", host); err != nil {
		return err
	}
	if c.Security != nil {
		if _, _, err := net.SplitHostPort(c.HTTPSAddress); err != nil {
			return refuse("HTTPSAddress", c.HTTPSAddress, "use host:port")
		}
		if c.HTTPSAddress == c.HTTPAddress && !strings.HasSuffix(c.HTTPAddress, ":0") {
			return refuse("HTTPSAddress", c.HTTPSAddress, "it is HTTPAddress too: give each listener a port of its own")
		}
	}
	host, _, err = net.SplitHostPort(c.AdvertiseAddress)
	if err != nil {
		return refuse("AdvertiseAddress", c.AdvertiseAddress, "use host:port")
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.IsUnspecified() {
		return refuse("AdvertiseAddress", c.AdvertiseAddress, "others cannot reach this address: give the one that they dial")
	}
	return nil
}

// loopback refuses what others could reach without TLS: nothing would keep a
// stranger from writing.
func loopback(field, host string) error {
	if host == "localhost" {
		return nil
	}
	ip, err := netip.ParseAddr(host)
	switch {
	case err != nil:
		return refuse(field, host, "use an IP address of 127.0.0.0/8 or ::1")
	case !ip.IsLoopback():
		return refuse(field, host, "others could reach it, and it has no TLS: use an address of 127.0.0.0/8 or ::1, or certificates and the listeners that have TLS")
	}
	return nil
}

func (c *Config) validateStores() error {
	if len(c.Stores) == 0 {
		return refuse("Stores", "", "give a store's directory")
	}
	paths := make(map[string]bool)
	for i, s := range c.Stores {
		field := fmt.Sprintf("Stores[%d].Path", i)
		if s.Path == "" {
			return refuse(field, "", "give the store's directory")
		}
		if paths[s.Path] {
			return refuse(field, s.Path, "it is given twice: each store has a directory of its own")
		}
		paths[s.Path] = true
	}
	return nil
}

func (c *Config) validateServers() error {
	names, addrs := make(map[string]bool), make(map[string]bool)
	voters, self := 0, false
	for i, s := range c.Servers {
		field := fmt.Sprintf("Servers[%d]", i)
		switch {
		case s.Name == "":
			return refuse(field+".Name", "", "name the server")
		case names[s.Name]:
			return refuse(field+".Name", s.Name, "two servers have this name")
		case addrs[s.Address]:
			return refuse(field+".Address", s.Address, "two servers have this address")
		}
		if _, _, err := net.SplitHostPort(s.Address); err != nil {
			return refuse(field+".Address", s.Address, "use host:port")
		}
		names[s.Name], addrs[s.Address] = true, true
		if s.Voter {
			voters++
		}
		if s.Name != c.Node {
			continue
		}
		self = true
		if s.Address != c.AdvertiseAddress {
			return refuse(field+".Address", s.Address, fmt.Sprintf("this node advertises %s: the two must be the same", c.AdvertiseAddress))
		}
	}
	switch {
	case len(c.Servers) == 0:
		return refuse("Servers", "", "list every server of the cluster, this one included")
	case !self:
		return refuse("Servers", fmt.Sprint(c.Servers), fmt.Sprintf("node %q is not among them", c.Node))
	case voters == 0:
		return refuse("Servers", fmt.Sprint(c.Servers), "at least one server must be a voter")
	}
	return nil
}

func (c *Config) validateLog() error {
	if err := c.logOptions().Validate(); err != nil {
		return fmt.Errorf("%w: LogStore: %w", ErrConfig, err)
	}
	if v := c.LogStore.Verification; v.Interval < 0 {
		return refuse("LogStore.Verification.Interval", v.Interval, "use a positive duration")
	}
	return c.validateFailover()
}

func (c *Config) validateFailover() error {
	f := &c.Failover
	switch f.Mode {
	case FailoverDisabled:
	case FailoverAmongStores:
		if len(c.Stores) < 2 {
			return refuse("Failover.Mode", f.Mode, "there is one store only: add a store, or use side-disk")
		}
	case FailoverSideDisk:
		switch {
		case f.Path == "":
			return refuse("Failover.Path", "", "give the side disk's directory")
		case len(c.Stores) > 1:
			return refuse("Failover.Path", f.Path, fmt.Sprintf("there are %d stores: use among-stores, or one store and the side disk", len(c.Stores)))
		}
		for _, s := range c.Stores {
			if err := failover.ValidateSide(s.Path, f.Path); err != nil {
				return fmt.Errorf("%w: Failover.Path = %q: %w", ErrConfig, f.Path, err)
			}
		}
	default:
		return refuse("Failover.Mode", f.Mode, "use side-disk, among-stores or disabled")
	}
	return nil
}

// paths are the directories of the node's disks, for a message.
func (c *Config) paths() string {
	var paths []string
	for _, s := range c.Stores {
		paths = append(paths, s.Path)
	}
	if c.Failover.Path != "" {
		paths = append(paths, c.Failover.Path)
	}
	return strings.Join(paths, ", ")
}

func (t *Timing) validate() error {
	switch {
	case t.HeartbeatTimeout < 5*time.Millisecond:
		return refuse("Timing.HeartbeatTimeout", t.HeartbeatTimeout, "use 5ms or more")
	case t.ElectionTimeout < t.HeartbeatTimeout:
		return refuse("Timing.ElectionTimeout", t.ElectionTimeout, fmt.Sprintf("it must not be below HeartbeatTimeout, %v", t.HeartbeatTimeout))
	case t.LeaderLeaseTimeout > t.HeartbeatTimeout || t.LeaderLeaseTimeout < 5*time.Millisecond:
		// A lease longer than the patience of the followers would let a
		// deposed leader serve reads.
		return refuse("Timing.LeaderLeaseTimeout", t.LeaderLeaseTimeout, fmt.Sprintf("use 5ms to HeartbeatTimeout, %v", t.HeartbeatTimeout))
	case t.EntriesInFlight < 1 || t.EntriesInFlight > maxEntriesInFlight:
		return refuse("Timing.EntriesInFlight", t.EntriesInFlight, fmt.Sprintf("use 1 to %d", maxEntriesInFlight))
	}
	return nil
}

func refuse(field string, value any, advice string) error {
	return fmt.Errorf("%w: %s = %q: %s", ErrConfig, field, fmt.Sprint(value), advice)
}

func (c *Config) logOptions() logstore.Options {
	return logstore.Options{
		Backend:          logstore.Backend(c.LogStore.Backend),
		WALSegmentSizeMB: c.LogStore.SegmentSizeMB,
		NoFreelistSync:   c.LogStore.NoFreelistSync,
		Logger:           c.Logger,
	}
}

// Limits that follow from one another.
const (
	// maxEntryBytes is the most that one log entry holds: two values of the
	// largest size with their keys do not fit, one does.
	maxEntryBytes = 1 << 20
	// maxEntriesInFlight stays below raft's apply queue, so that handing an
	// entry to raft never blocks.
	maxEntriesInFlight = 8
	// maxQueuedBytes is what may wait on a leader for its turn, and what may
	// wait on a node for a connection to the leader.
	maxQueuedBytes = 64 << 20
	// maxOutstanding is how many writes of one node to one partition may be
	// under way; it stays clear of the window in which the state machine
	// knows a retry for what it is.
	maxOutstanding = 1 << 16
)

var _ [maxEntryBytes - kv.MaxValueBytes - kv.MaxKeyBytes - 1024]struct{} // the largest command fits an entry
