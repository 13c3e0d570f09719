// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package config

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
)

const consul = `
# A Consul server's own configuration.
datacenter       = "dc1"
server           = true
node_name        = "consul-1"
bind_addr        = "127.0.9.1"
client_addr      = "127.0.9.1"
data_dir         = "/var/lib/consul"
bootstrap_expect = 3
retry_join       = ["127.0.9.3", "127.0.9.1", "127.0.9.2:8300"]
encrypt          = "secret"
acl { enabled = true }
ports { http = 8501 dns = 8600 }
raft_logstore {
  backend = "boltdb"
  verification { enabled = true interval = "30s" }
}
leave_on_terminate = true
`

func decode(t *testing.T, texts ...string) (*File, []string) {
	t.Helper()
	f := &File{}
	var unknown []string
	for _, text := range texts {
		more, err := Decode(f, []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		unknown = append(unknown, more...)
	}
	return f, unknown
}

func TestConsulConfiguration(t *testing.T) {
	f, unknown := decode(t, consul)
	if diff := cmp.Diff([]string{"acl", "encrypt", "ports.dns"}, sorted(unknown)); diff != "" {
		t.Error(diff)
	}
	c, err := f.Config()
	if err != nil {
		t.Fatal(err)
	}
	want := (&agentapi.Spec{
		Cluster:     agentapi.Cluster{Name: "dc1", ID: c.Cluster.ID},
		Node:        "n1",
		BindAddress: "127.0.9.1",
		Ports:       agentapi.Ports{HTTP: 8501},
		Servers: []agentapi.Server{
			{Name: "n1", Address: "127.0.9.1:8300", Voter: true},
			{Name: "n2", Address: "127.0.9.2:8300", Voter: true},
			{Name: "n3", Address: "127.0.9.3:8300", Voter: true},
		},
		Stores:       []agentapi.StoreSpec{{Path: "/var/lib/consul"}},
		RaftLogStore: agentapi.RaftLogStore{Backend: "boltdb", Verification: agentapi.Verification{Enabled: true, Interval: "30s"}},
		ServerRules:  agentapi.ServerRules{LeaveOnTerminate: true},
	}).WithDefaults()
	if diff := cmp.Diff(want, c.Spec); diff != "" {
		t.Error(diff)
	}
	if c.HTTPAddress != "127.0.9.1:8501" || c.ServerAddress() != "127.0.9.1:8300" {
		t.Errorf("addresses: %s %s", c.HTTPAddress, c.ServerAddress())
	}
	if len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0], `node_name "consul-1" is not used`) {
		t.Errorf("warnings: %q", c.Warnings)
	}
	// Another server of the same list gets the same cluster.
	other, _ := decode(t, strings.ReplaceAll(strings.ReplaceAll(consul, `_addr        = "127.0.9.1"`, `_addr = "127.0.9.2"`), `client_addr      = "127.0.9.1"`, ""))
	oc, err := other.Config()
	if err != nil {
		t.Fatal(err)
	}
	if oc.Cluster.ID != c.Cluster.ID || oc.Node != "n2" || !oc.DerivedID {
		t.Errorf("the other server: cluster %s, node %s", oc.Cluster.ID, oc.Node)
	}
}

func sorted(s []string) []string {
	m := map[string]bool{}
	for _, k := range s {
		m[k] = true
	}
	return sortedKeys(m)
}

func TestFilesMerge(t *testing.T) {
	f, _ := decode(t,
		`servers = [{name="a", address="127.0.9.1:8300"}, {name="b", address="127.0.9.2:8300"}]
		 raft_logstore { backend = "wal" }
		 raft_logstore { wal { segment_size_mb = 8 } }
		 retry_join = ["x"]`,
		`{"servers": [{"name": "c", "address": "127.0.9.3:8300", "voter": false}], "raft_logstore": {"backend": "boltdb"}, "retry_join": ["y"]}`)
	want := &File{
		Servers:      []Server{{Name: "c", Address: "127.0.9.3:8300", Voter: new(false)}},
		RaftLogStore: RaftLogStore{Backend: "boltdb", WAL: WAL{SegmentSizeMB: 8}},
		RetryJoin:    []string{"x", "y"},
	}
	if diff := cmp.Diff(want, f); diff != "" {
		t.Error(diff)
	}
}

func TestRefusals(t *testing.T) {
	const base = `stores = [{path = "/data"}]` + "\n"
	for _, tc := range []struct{ name, text, field, says string }{
		{"no store", `node_name = "a"`, "stores or data_dir", "empty"},
		{"client", base + `server = false`, "server", "clients are not built yet"},
		{"backend", base + `raft_logstore { backend = "bolt" }`, "raft_logstore.backend", `raft_logstore.backend = "bolt": not known`},
		{"interval", base + `raft_logstore { verification { interval = "soon" } }`, "raft_logstore.verification.interval", "not a duration"},
		{"node name", base + `node_name = "a b"`, "", "not a name"},
		{"bind", base + `bind_addr = "10.1.2.3"`, "bind_addr", "there are no certificates"},
		{"http address", base + `addresses { http = "0.0.0.0" }`, "addresses.http", "plain HTTP has no TLS"},
		{"alone", base + `bootstrap_expect = 3`, "bootstrap_expect", "not named"},
		{"expects another number", base + `bootstrap_expect = 3
			retry_join = ["127.0.0.1", "127.0.0.2"]`, "bootstrap_expect", "2 servers are listed"},
		{"not in the list", base + `retry_join = ["127.0.0.2"]`, "retry_join", "127.0.0.1:8300, is not in it"},
		{"half named", base + `retry_join = ["a=127.0.0.1", "127.0.0.2"]`, "retry_join", "Name all"},
		{"cloud", base + `retry_join = ["provider=gce tag_value=x"]`, "retry_join", "cloud auto-join is not built"},
		{"failover", base + `wal_failover = "on"`, "wal_failover", "not known"},
		{"a side disk for several stores", base + `stores { path = "/d/1" } stores { path = "/d/2" } wal_failover = "path=/s"`, "wal_failover", "Use among-stores"},
		{"among one store", base + `wal_failover = "among-stores"`, "wal_failover", "Add a store"},
		{"failover inside", base + `wal_failover = "path=/data/side"`, "wal_failover path", "inside the other"},
		{"level", base + `log_level = "loud"`, "log_level", "not known"},
		{"ports", base + `ports { http = 99999 }`, "ports.http", "not a port"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f, _ := decode(t, tc.text)
			_, err := f.Config()
			e, ok := errors.AsType[*agentapi.Error](err)
			if !ok {
				t.Fatalf("got %v", err)
			}
			if !strings.Contains(e.Error(), tc.says) || e.Next == "" || tc.field != "" && e.Field != tc.field {
				t.Errorf("field %q: %v", e.Field, e)
			}
		})
	}
}

// The agent writes a file from a spec; the engine has to get the same configuration.
func TestSpecThroughFile(t *testing.T) {
	s := (&agentapi.Spec{
		Cluster: agentapi.Cluster{Name: "orders", ID: "6f2d1c9e-7a53-4c1e-9a55-0f5b3d1c2e4f"}, Node: "a", BindAddress: "127.0.1.1",
		Servers:      []agentapi.Server{{Name: "a", Address: "127.0.1.1:8300", Voter: true}, {Name: "b", Address: "127.0.1.2:8300"}},
		Stores:       []agentapi.StoreSpec{{Path: "/data/2", Attrs: []string{"ssd", "x"}}},
		SideDisk:     &agentapi.SideDisk{Path: "/side"},
		RaftLogStore: agentapi.RaftLogStore{DisableLogCache: true, BoltDB: agentapi.BoltDB{NoFreelistSync: true}},
		WALFailover:  agentapi.WALFailover{Mode: "side-disk", PrevPaths: agentapi.Paths{"/old", "/older"}},
		ServerRules:  agentapi.ServerRules{SkipLeaveOnInterrupt: true, RejoinAfterLeave: true},
	}).WithDefaults()
	b, err := json.Marshal(FromSpec(s, map[string]string{"/data/2": "x"}, "/certs"))
	if err != nil {
		t.Fatal(err)
	}
	f, unknown := decode(t, string(b))
	c, err := f.Config()
	if err != nil || len(unknown) > 0 {
		t.Fatalf("%v, unknown %v", err, unknown)
	}
	if diff := cmp.Diff(s, c.Spec); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]string{"/data/2": "x"}, c.StoreIDs); diff != "" {
		t.Error(diff)
	}
	if c.NodeID != NodeID(s.Cluster.ID, "a") || c.NodeID == NodeID(s.Cluster.ID, "b") {
		t.Errorf("node id %s", c.NodeID)
	}
	hash := c.Hash()
	c.Log.Level, c.WALFailover.PrevPaths = "debug", nil
	if c.Hash() != hash {
		t.Error("what needs no restart changes the hash")
	}
	c.RaftLogStore.Backend = "boltdb"
	if c.Hash() == hash {
		t.Error("the backend does not change the hash")
	}
}

func TestRead(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"b.json": `{"node_name": "b"}`, "a.hcl": `node_name = "a"`, "c.txt": `node_name = "c"`} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f, _, err := Read(nil, []string{dir})
	if err != nil {
		t.Fatal(err)
	}
	if f.NodeName != "b" {
		t.Errorf("node_name %q: the last file by name does not win", f.NodeName)
	}
	if _, _, err := Read(nil, []string{t.TempDir()}); err == nil || !strings.Contains(err.Error(), "there is no configuration") {
		t.Errorf("an empty directory: %v", err)
	}
	if _, _, err := Read([]string{filepath.Join(dir, "none.hcl")}, nil); !strings.Contains(err.Error(), "none.hcl") {
		t.Errorf("a missing file: %v", err)
	}
}
