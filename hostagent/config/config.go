// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package config

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
)

// Config is what an engine runs with: complete and valid.
type Config struct {
	*agentapi.Spec
	// NodeID names this node for good; see NodeID.
	NodeID string
	// StoreIDs are the identities that stores must have, by path. One that is
	// not here is taken as it is, and made where it is empty.
	StoreIDs map[string]string
	// HTTPAddress is host:port of the HTTP API in the clear, on loopback.
	HTTPAddress string
	// TLS is nil where there are no certificates.
	TLS *TLS
	// LogConfigFile is the path of a logs.yaml, empty for none. What is in it is
	// read again on SIGHUP.
	LogConfigFile string
	// DerivedID is set where nobody named the cluster's ID and it was made
	// from the list of servers, the same on each of them.
	DerivedID bool
	// Warnings are for a person; the configuration is good all the same.
	Warnings []string
}

// ServerAddress is host:port of the server RPC as its peers dial it.
func (c *Config) ServerAddress() string {
	for _, s := range c.Servers {
		if s.Name == c.Node {
			return s.Address
		}
	}
	return "" // Validate made sure that the node is among the servers
}

// Hash names the configuration. What an engine takes over while it runs does
// not count, nor what says nothing to one that has started, so that a hash
// differs only where a restart is needed.
func (c *Config) Hash() string {
	s := *c.Spec
	s.Log, s.ServerRules = agentapi.Log{}, agentapi.ServerRules{}
	s.WALFailover.PrevPaths = nil
	b, err := json.Marshal(struct {
		Spec agentapi.Spec
		HTTP string
		TLS  *TLS `json:",omitempty"`
	}{s, c.HTTPAddress, c.TLS})
	if err != nil {
		panic(fmt.Sprintf("config: a spec does not encode: %v", err)) // strings, numbers and booleans only
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:8])
}

// ErrClientMode is returned for a configuration with server = false.
var ErrClientMode = errors.New("clients are not built yet")

// Config completes and validates what the files said.
func (f *File) Config() (*Config, error) {
	c := &Config{LogConfigFile: f.LogConfigFile}
	if f.Server != nil && !*f.Server {
		return nil, &agentapi.Error{What: "the configuration is refused", Why: fmt.Sprintf("server = false: %v", ErrClientMode),
			Next: "Set server = true, or leave it out.", Field: "server"}
	}
	failover, side, err := ParseFailover(f.WALFailover)
	if err != nil {
		return nil, err
	}
	s := &agentapi.Spec{
		Cluster:     agentapi.Cluster{Name: cmp.Or(f.Cluster.Name, f.Datacenter, "holdfast"), ID: f.Cluster.ID},
		Node:        f.NodeName,
		BindAddress: f.BindAddr,
		Ports:       agentapi.Ports{Server: f.Ports.Server, HTTP: f.Ports.HTTP},
		SideDisk:    side,
		RaftLogStore: agentapi.RaftLogStore{
			Backend:         f.RaftLogStore.Backend,
			DisableLogCache: f.RaftLogStore.DisableLogCache,
			Verification:    agentapi.Verification{Enabled: f.RaftLogStore.Verification.Enabled, Interval: f.RaftLogStore.Verification.Interval},
			BoltDB:          agentapi.BoltDB{NoFreelistSync: f.RaftLogStore.BoltDB.NoFreelistSync},
			WAL:             agentapi.WAL{SegmentSizeMB: f.RaftLogStore.WAL.SegmentSizeMB},
		},
		WALFailover: failover,
		Log:         agentapi.Log{Level: strings.ToLower(f.LogLevel)},
		ServerRules: agentapi.ServerRules{LeaveOnTerminate: f.LeaveOnTerminate, SkipLeaveOnInterrupt: f.SkipLeaveOnInterrupt, RejoinAfterLeave: f.RejoinAfterLeave},
	}
	c.StoreIDs = map[string]string{}
	for _, st := range f.Stores {
		s.Stores = append(s.Stores, agentapi.StoreSpec{Path: st.Path, Attrs: st.Attrs})
		if st.ID != "" {
			c.StoreIDs[st.Path] = st.ID
		}
	}
	if len(s.Stores) == 0 && f.DataDir != "" {
		s.Stores = []agentapi.StoreSpec{{Path: f.DataDir}}
	}
	c.Spec = s.WithDefaults()
	if err := f.servers(c); err != nil {
		return nil, err
	}
	if c.Cluster.ID == "" {
		c.Cluster.ID, c.DerivedID = derivedID(c.Spec), true
	}
	validate := c.Validate
	if f.secured() {
		validate = c.ValidateSecured
	}
	if err := validate(); err != nil {
		return nil, inOurWords(err)
	}
	c.NodeID = cmp.Or(f.NodeID, NodeID(c.Cluster.ID, c.Node))
	if err := f.listeners(c); err != nil {
		return nil, err
	}
	return c, nil
}

// servers fills in the servers from servers, from retry_join, or with this node alone.
func (f *File) servers(c *Config) error {
	advertise := net.JoinHostPort(cmp.Or(f.AdvertiseAddr, c.BindAddress), strconv.Itoa(c.Ports.Server))
	switch {
	case len(f.Servers) > 0:
		for _, s := range f.Servers {
			c.Servers = append(c.Servers, agentapi.Server{Name: s.Name, Address: s.Address, Voter: s.Voter == nil || *s.Voter})
		}
		if c.Node == "" {
			for _, s := range c.Servers {
				if s.Address == advertise {
					c.Node = s.Name
				}
			}
		}
	case len(f.RetryJoin) > 0:
		if err := f.joined(c, advertise); err != nil {
			return err
		}
	default:
		if f.BootstrapExpect > 1 {
			return &agentapi.Error{What: "the configuration is refused", Why: fmt.Sprintf("bootstrap_expect = %d: the other servers are not named", f.BootstrapExpect),
				Next: "List every server in retry_join or servers; there is no gossip yet.", Field: "bootstrap_expect"}
		}
		c.Node = cmp.Or(c.Node, "n1")
		c.Servers = []agentapi.Server{{Name: c.Node, Address: advertise, Voter: true}}
	}
	if n := len(c.Servers); f.BootstrapExpect > 0 && f.BootstrapExpect != n {
		return &agentapi.Error{What: "the configuration is refused", Why: fmt.Sprintf("bootstrap_expect = %d: %d servers are listed", f.BootstrapExpect, n),
			Next: "List every server in retry_join or servers; there is no gossip yet.", Field: "bootstrap_expect"}
	}
	return nil
}

// joined makes the servers of a list of addresses. Every node has to give the
// same name to each of them without asking, so unnamed ones are called n1, n2 …
// in the order of their addresses.
func (f *File) joined(c *Config, advertise string) error {
	refuse := func(entry, why, next string) error {
		return &agentapi.Error{What: "the configuration is refused", Why: fmt.Sprintf("retry_join has %q: %s", entry, why), Next: next, Field: "retry_join"}
	}
	named, self := 0, false
	for _, entry := range f.RetryJoin {
		if strings.Contains(entry, "provider=") {
			return refuse(entry, "cloud auto-join is not built", "List the servers' addresses.")
		}
		name, address, ok := strings.Cut(entry, "=")
		if ok {
			named++
		} else {
			name, address = "", entry
		}
		if _, _, err := net.SplitHostPort(address); err != nil {
			address = net.JoinHostPort(strings.Trim(address, "[]"), strconv.Itoa(c.Ports.Server))
		}
		c.Servers = append(c.Servers, agentapi.Server{Name: name, Address: address, Voter: true})
		self = self || address == advertise
	}
	slices.SortFunc(c.Servers, func(a, b agentapi.Server) int { return strings.Compare(a.Address, b.Address) })
	c.Servers = slices.CompactFunc(c.Servers, func(a, b agentapi.Server) bool { return a == b })
	switch {
	case !self:
		return refuse(strings.Join(f.RetryJoin, ","), "this server, "+advertise+", is not in it", "Until there is gossip, list every server, this one among them, on each of them alike.")
	case named > 0 && named < len(f.RetryJoin):
		return refuse(strings.Join(f.RetryJoin, ","), "some servers have names and some do not", "Name all (name=host:port) or none.")
	}
	for i := range c.Servers {
		if named == 0 {
			c.Servers[i].Name = fmt.Sprintf("n%d", i+1)
		}
		if c.Servers[i].Address != advertise {
			continue
		}
		if name := c.Servers[i].Name; c.Node != name && c.Node != "" {
			c.Warnings = append(c.Warnings, fmt.Sprintf(
				"node_name %q is not used: the servers of retry_join are known as %s here, in the order of their addresses; write name=host:port for all of them to keep names", c.Node, name))
		}
		c.Node = c.Servers[i].Name
	}
	return nil
}

// NodeID is the id of a node that nobody gave one: made from the cluster's id
// and the node's name, so that agent and engine agree on it without a file.
func NodeID(clusterID, node string) string {
	space, err := uuid.Parse(clusterID)
	if err != nil {
		space = uuid.NameSpaceURL // Validate refuses such an id before anybody uses this
	}
	return uuid.NewSHA1(space, []byte("node:"+node)).String()
}

// derivedID makes the UUID of a cluster whose servers were only listed.
func derivedID(s *agentapi.Spec) string {
	var addresses []string
	for _, srv := range s.Servers {
		addresses = append(addresses, srv.Address)
	}
	slices.Sort(addresses)
	return uuid.NewSHA1(uuid.NameSpaceURL, []byte("holdfast:"+s.Cluster.Name+":"+strings.Join(addresses, ","))).String()
}

// inOurWords replaces the attributes of a spec by the keys of a configuration.
func inOurWords(err error) error {
	e, ok := errors.AsType[*agentapi.Error](err)
	if !ok {
		return err
	}
	key := e.Field
	for _, r := range [][2]string{
		{"node", "node_name"}, {"bind_address", "bind_addr"}, {"log.level", "log_level"}, {"stores", "stores or data_dir"},
		{"wal_failover.mode", "wal_failover"}, {"wal_failover.prev_path", "wal_failover"}, {"side_disk.path", "wal_failover path"},
	} {
		if key == r[0] {
			key = r[1]
		}
	}
	next := e.Next
	if e.Field == "bind_address" {
		next = strings.TrimSuffix(next, ".") + ", or give certificates with certs_dir."
	}
	return &agentapi.Error{What: "the configuration is refused", Why: key + strings.TrimPrefix(e.Why, e.Field), Next: next, Field: key}
}
