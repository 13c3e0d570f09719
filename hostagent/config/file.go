// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package config

import (
	"strings"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
)

// File holds the keys of configuration files, of one or of several merged.
// Pointers and empty values are keys that nobody wrote.
type File struct {
	NodeName string  `mapstructure:"node_name" json:"node_name,omitempty"`
	NodeID   string  `mapstructure:"node_id" json:"node_id,omitempty"`
	Cluster  Cluster `mapstructure:"cluster" json:"cluster,omitzero"`
	// Datacenter names the cluster where a Consul server's configuration does.
	Datacenter string `mapstructure:"datacenter" json:"datacenter,omitempty"`

	BindAddr      string    `mapstructure:"bind_addr" json:"bind_addr,omitempty"`
	AdvertiseAddr string    `mapstructure:"advertise_addr" json:"advertise_addr,omitempty"`
	ClientAddr    string    `mapstructure:"client_addr" json:"client_addr,omitempty"`
	Addresses     Addresses `mapstructure:"addresses" json:"addresses,omitzero"`
	Ports         Ports     `mapstructure:"ports" json:"ports,omitzero"`

	// CertsDir holds ca.crt, node.crt and node.key; the three keys after it name
	// the files one by one, and win. With them there is TLS.
	CertsDir string `mapstructure:"certs_dir" json:"certs_dir,omitempty"`
	CAFile   string `mapstructure:"ca_file" json:"ca_file,omitempty"`
	CertFile string `mapstructure:"cert_file" json:"cert_file,omitempty"`
	KeyFile  string `mapstructure:"key_file" json:"key_file,omitempty"`
	// VerifyIncoming = false lets clients of HTTPS in without a certificate, and
	// so does VerifyIncomingHTTPS, which wins. Servers always need one.
	VerifyIncoming      *bool `mapstructure:"verify_incoming" json:"verify_incoming,omitempty"`
	VerifyIncomingHTTPS *bool `mapstructure:"verify_incoming_https" json:"verify_incoming_https,omitempty"`

	Server          *bool    `mapstructure:"server" json:"server,omitempty"`
	Bootstrap       bool     `mapstructure:"bootstrap" json:"bootstrap,omitempty"`
	BootstrapExpect int      `mapstructure:"bootstrap_expect" json:"bootstrap_expect,omitempty"`
	RetryJoin       []string `mapstructure:"retry_join" json:"retry_join,omitempty"`
	// Servers names every server; retry_join lists addresses alone.
	Servers []Server `mapstructure:"servers" json:"servers,omitempty"`

	// DataDir is the one store where stores has none.
	DataDir string  `mapstructure:"data_dir" json:"data_dir,omitempty"`
	Stores  []Store `mapstructure:"stores" json:"stores,omitempty"`

	RaftLogStore RaftLogStore `mapstructure:"raft_logstore" json:"raft_logstore,omitzero"`
	WALFailover  string       `mapstructure:"wal_failover" json:"wal_failover,omitempty"`
	LogLevel     string       `mapstructure:"log_level" json:"log_level,omitempty"`
	// LogConfigFile is a logs.yaml; package logs reads it.
	LogConfigFile string `mapstructure:"log_config_file" json:"log_config_file,omitempty"`

	LeaveOnTerminate     bool `mapstructure:"leave_on_terminate" json:"leave_on_terminate,omitempty"`
	SkipLeaveOnInterrupt bool `mapstructure:"skip_leave_on_interrupt" json:"skip_leave_on_interrupt,omitempty"`
	RejoinAfterLeave     bool `mapstructure:"rejoin_after_leave" json:"rejoin_after_leave,omitempty"`
}

// Cluster is the block cluster.
type Cluster struct {
	Name string `mapstructure:"name" json:"name,omitempty"`
	ID   string `mapstructure:"id" json:"id,omitempty"`
}

// Addresses is the block addresses: what single listeners bind.
type Addresses struct {
	HTTP  string `mapstructure:"http" json:"http,omitempty"`
	HTTPS string `mapstructure:"https" json:"https,omitempty"`
}

// Ports is the block ports.
type Ports struct {
	Server int `mapstructure:"server" json:"server,omitempty"`
	HTTP   int `mapstructure:"http" json:"http,omitempty"`
	HTTPS  int `mapstructure:"https" json:"https,omitempty"`
}

// Server is one element of servers. A server votes unless it says otherwise.
type Server struct {
	Name    string `mapstructure:"name" json:"name"`
	Address string `mapstructure:"address" json:"address"`
	Voter   *bool  `mapstructure:"voter" json:"voter,omitempty"`
}

// Store is one element of stores.
type Store struct {
	Path string `mapstructure:"path" json:"path"`
	// ID, when set, is the identity that Path must have. Without it an empty
	// directory is made a store.
	ID    string   `mapstructure:"id" json:"id,omitempty"`
	Attrs []string `mapstructure:"attrs" json:"attrs,omitempty"`
}

// RaftLogStore is Consul's block raft_logstore.
type RaftLogStore struct {
	Backend         string       `mapstructure:"backend" json:"backend,omitempty"`
	DisableLogCache bool         `mapstructure:"disable_log_cache" json:"disable_log_cache,omitempty"`
	Verification    Verification `mapstructure:"verification" json:"verification,omitzero"`
	BoltDB          BoltDB       `mapstructure:"boltdb" json:"boltdb,omitzero"`
	WAL             WAL          `mapstructure:"wal" json:"wal,omitzero"`
}

// Verification is raft_logstore.verification.
type Verification struct {
	Enabled  bool   `mapstructure:"enabled" json:"enabled,omitempty"`
	Interval string `mapstructure:"interval" json:"interval,omitempty"`
}

// BoltDB is raft_logstore.boltdb.
type BoltDB struct {
	NoFreelistSync bool `mapstructure:"no_freelist_sync" json:"no_freelist_sync,omitempty"`
}

// WAL is raft_logstore.wal.
type WAL struct {
	SegmentSizeMB int `mapstructure:"segment_size_mb" json:"segment_size_mb,omitempty"`
}

// FromSpec returns the file that says what a node spec says: the agent writes
// it, the engine reads it, and both get one Config from it. ids are those of
// the stores by path, certs is the directory of the engine's certificates where the
// spec has TLS. Nothing of what is in that directory is in the file: new certificates
// are no new configuration.
func FromSpec(s *agentapi.Spec, ids map[string]string, certs string) *File {
	f := &File{
		NodeName: s.Node,
		Cluster:  Cluster{Name: s.Cluster.Name, ID: s.Cluster.ID},
		BindAddr: s.BindAddress,
		Ports:    Ports{Server: s.Ports.Server, HTTP: s.Ports.HTTP},
		RaftLogStore: RaftLogStore{
			Backend:         s.RaftLogStore.Backend,
			DisableLogCache: s.RaftLogStore.DisableLogCache,
			Verification:    Verification{Enabled: s.RaftLogStore.Verification.Enabled, Interval: s.RaftLogStore.Verification.Interval},
			BoltDB:          BoltDB{NoFreelistSync: s.RaftLogStore.BoltDB.NoFreelistSync},
			WAL:             WAL{SegmentSizeMB: s.RaftLogStore.WAL.SegmentSizeMB},
		},
		WALFailover:          FailoverString(s.WALFailover, s.SideDisk),
		LogLevel:             s.Log.Level,
		LeaveOnTerminate:     s.ServerRules.LeaveOnTerminate,
		SkipLeaveOnInterrupt: s.ServerRules.SkipLeaveOnInterrupt,
		RejoinAfterLeave:     s.ServerRules.RejoinAfterLeave,
	}
	if s.TLS != nil {
		f.CertsDir, f.Ports.HTTPS = certs, s.Ports.HTTPS
		f.Addresses = Addresses{HTTP: plainHost(s.BindAddress), HTTPS: s.BindAddress}
	}
	for _, srv := range s.Servers {
		f.Servers = append(f.Servers, Server{Name: srv.Name, Address: srv.Address, Voter: new(srv.Voter)})
	}
	for _, st := range s.Stores {
		f.Stores = append(f.Stores, Store{Path: st.Path, ID: ids[st.Path], Attrs: st.Attrs})
	}
	return f
}

// FailoverString is the value of the key wal_failover that means f.
func FailoverString(f agentapi.WALFailover, side *agentapi.SideDisk) string {
	words := []string{f.Mode}
	if f.Mode == agentapi.SideDiskMode && side != nil {
		words[0] = "path=" + side.Path
	}
	for _, p := range f.PrevPaths {
		words = append(words, "prev_path="+p)
	}
	return strings.Join(words, ",")
}
