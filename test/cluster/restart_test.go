// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cluster

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"errors"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/httpapi"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/kv"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/node"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/store"
)

func TestRestart(t *testing.T) {
	for _, backend := range []string{"wal", "boltdb"} {
		t.Run(backend, func(t *testing.T) {
			c := New(t, Options{Stores: 2, Configure: func(c *node.Config) { c.LogStore.Backend = backend }})
			leader := c.Leader("default")
			c.Leader("p2")
			for i := range 50 {
				c.Put(leader, fmt.Sprint("k", i), fmt.Sprint("v", i))
			}
			p2 := kv.Command{Op: kv.OpPut, Key: "k", Value: []byte("in p2")}
			if _, err := c.Node("a").Apply(t.Context(), "p2", p2); err != nil {
				t.Fatal(err)
			}
			index := c.Put(leader, "last", "one").Index
			for _, name := range c.Names() {
				c.Stop(name)
			}
			for _, name := range c.Names() {
				c.Start(name)
			}
			leader = c.Leader("default")
			if got := c.Get(leader, "k49", httpapi.Default); got != "v49" {
				t.Errorf("after the restart: %q", got)
			}
			if got := c.Put(leader, "next", "").Index; got != index+1 {
				t.Errorf("the index went from %d to %d", index, got)
			}
			a, _, err := c.Node("b").Read(t.Context(), "p2", kv.Query{Kind: kv.QueryGet, Key: "k"}, httpapi.Consistent)
			if err != nil || !a.Found || string(a.Entries[0].Value) != "in p2" {
				t.Errorf("p2: %+v, %v", a, err)
			}
			for _, s := range c.Node("a").Stores().Stores {
				if s.EffectiveBackend != backend || len(s.Partitions) != 1 || s.SizeBytes == 0 {
					t.Errorf("status: %+v", s)
				}
			}
		})
	}
}

// Stores that are given in another order, or without the first, are refused: each
// would begin an empty log beside its old one. Seen to start, and to lose what was
// acknowledged, while only the identities were looked at.
func TestStoresInAnotherOrder(t *testing.T) {
	c := New(t, Options{Servers: 1, Stores: 2})
	c.Leader("default")
	c.Leader("p2")
	c.Put("a", "k", "v")
	c.Stop("a")
	given := c.Config("a").Stores
	for name, stores := range map[string][]node.Store{
		"swapped": {given[1], given[0]}, "without the first": {given[1]},
	} {
		c.Config("a").Stores = stores
		if _, err := c.TryStart("a"); !errors.Is(err, node.ErrOrder) {
			t.Errorf("%s: %v", name, err)
		}
	}
	c.Config("a").Stores = given
	c.Start("a")
	c.Leader("default")
	if got := c.Get("a", "k", httpapi.Consistent); got != "v" {
		t.Errorf("k is %q", got)
	}
}

// TestSnapshotToLaggingFollower: the log that a follower misses is compacted
// away, so that only a snapshot can bring it back.
func TestSnapshotToLaggingFollower(t *testing.T) {
	c := New(t, Options{Configure: func(c *node.Config) {
		c.Timing.SnapshotThreshold, c.Timing.TrailingLogs, c.Timing.SnapshotInterval = 20, 5, 20*time.Millisecond
	}})
	leader := c.Leader("default")
	behind := c.Follower("default")
	c.Put(leader, "before", "v")
	c.Stop(behind)
	for i := range 200 {
		c.Put(leader, fmt.Sprint("k", i%10), fmt.Sprint(i))
	}
	Eventually(t, "a snapshot on the leader", func() error {
		found, err := filepath.Glob(filepath.Join(c.Config(leader).Stores[0].Path, "raft/default/snapshots/*/state.bin"))
		if err == nil && len(found) == 0 {
			err = errors.New("none yet")
		}
		return err
	})
	c.Put(leader, "after", "w")
	c.Start(behind)
	Eventually(t, "the follower to catch up", func() error {
		for key, want := range map[string]string{"before": "v", "after": "w", "k9": "199"} {
			if got := c.Get(behind, key, httpapi.Stale); got != want {
				return fmt.Errorf("%s is %q", key, got)
			}
		}
		return nil
	})
	snaps, err := filepath.Glob(filepath.Join(c.Config(behind).Stores[0].Path, "raft/default/snapshots/*/state.bin"))
	if err != nil || len(snaps) == 0 {
		t.Errorf("the follower has no snapshot (%v): it was not what brought it back", err)
	}
}

// TestLostLog: a server whose log is gone must not begin another one; it
// would have forgotten its votes.
func TestLostLog(t *testing.T) {
	c := New(t, Options{})
	c.Put(c.Leader("default"), "k", "v")
	c.Stop("a")
	dir := c.Config("a").Stores[0].Path
	if err := os.RemoveAll(filepath.Join(dir, "raft")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.TryStart("a"); !errors.Is(err, node.ErrLogLost) {
		t.Errorf("without its log: %v", err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := c.TryStart("a"); !errors.Is(err, store.ErrNoIdentity) {
		t.Errorf("without its identity: %v", err)
	}
}

func TestSecondEngineIsRefused(t *testing.T) {
	c := New(t, Options{Servers: 1})
	cfg := *c.Config("a")
	cfg.Network = nil
	if n, err := node.Start(t.Context(), cfg); !errors.Is(err, store.ErrLocked) {
		t.Errorf("a second engine on the store: %v, %v", n, err)
	}
	other := cfg
	other.Stores = []node.Store{{Path: filepath.Join(t.TempDir(), "s")}}
	err := store.Create(other.Stores[0].Path, store.Identity{Cluster: cfg.Cluster, ClusterID: cfg.ClusterID, Node: "a", NodeID: cfg.NodeID, StoreID: "x"})
	if err != nil {
		t.Fatal(err)
	}
	n, err := node.Start(t.Context(), other)
	if err == nil || !strings.Contains(err.Error(), "address already in use") || !strings.Contains(err.Error(), "ServerPort") {
		t.Errorf("a port in use: %v, %v", n, err)
	}
	if _, err := os.Stat(filepath.Join(other.Stores[0].Path, "raft")); err == nil {
		t.Error("the engine that was refused made a log")
	}
}

// TestForeignCluster: a server of another cluster that has our address in its
// configuration is refused before raft hears of it.
func TestForeignCluster(t *testing.T) {
	c := New(t, Options{Servers: 1})
	leader := c.Leader("default")
	conn, err := net.Dial("tcp", c.servers[0].Address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	// "HFRP", version 1, kind raft, length, cluster id, partition, from, to.
	if _, err := conn.Write([]byte("HFRP\x01\x01\x11\x00\x05other\x07default\x01z\x00")); err != nil {
		t.Fatal(err)
	}
	var answer bytes.Buffer
	if _, err := answer.ReadFrom(conn); err != nil {
		t.Fatal(err)
	}
	if b := answer.String(); len(b) < 3 || b[0] != 1 || !strings.Contains(b, `"other"`) || !strings.Contains(b, c.id) {
		t.Errorf("the answer was %q", b)
	}
	c.Put(leader, "k", "v") // unharmed
}

func TestNonLoopbackIsRefused(t *testing.T) {
	c := New(t, Options{Servers: 1})
	cfg := *c.Config("a")
	cfg.BindAddress = "0.0.0.0"
	err := cfg.Validate()
	if !errors.Is(err, node.ErrConfig) || !strings.Contains(err.Error(), `BindAddress = "0.0.0.0"`) {
		t.Errorf("error: %v", err)
	}
}

func TestMetricsAndStatusOverHTTP(t *testing.T) {
	c := New(t, Options{})
	c.Put(c.Follower("default"), "k", "v")
	for path, want := range map[string]string{
		"/v1/agent/metrics":                   `"Name":"raft.commitTime"`,
		"/v1/agent/metrics?format=prometheus": `kv_entry_commands_count{partition="default"}`,
		"/_status/stores":                     `"effective_backend":"wal"`,
		"/v1/operator/raft/configuration":     `"Voter":true`,
		"/v1/kv/k?raw":                        "v",
	} {
		res, err := http.Get("http://" + c.Node("a").HTTPAddr() + path)
		if err != nil {
			t.Fatal(err)
		}
		var body bytes.Buffer
		_, err = body.ReadFrom(res.Body)
		_ = res.Body.Close()
		if err != nil || res.StatusCode != http.StatusOK || !strings.Contains(body.String(), want) {
			t.Errorf("%s: %d, %v, without %q: %.300s", path, res.StatusCode, err, want, body.String())
		}
	}
}
