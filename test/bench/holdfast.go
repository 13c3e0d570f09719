// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/api"
	"github.com/holdfastdb/terraform-provider-holdfast/test/bench/load"
)

const holdfastServer, holdfastHTTP = 8300, 8500

// The systems' addresses end in 1 to 3 and so on.
const (
	ourFirst      = 1
	peersFirst    = 11
	disabledFirst = 21
)

// holdfastSystem is a cluster of engines, as an agent would start them, without
// failover, as make bench measures it.
func holdfastSystem(o options) *system { return engines(o, ours, ourFirst, false) }

// failingOver is one whose logs fail over to side disks.
func failingOver(o options) *system { return engines(o, ours, ourFirst, true) }

// disabledSystem is one beside it that is told not to.
func disabledSystem(o options) *system { return engines(o, disabled, disabledFirst, false) }

func engines(o options, name string, first int, failover bool) *system {
	s := &system{name: name, withSides: failover}
	var servers []map[string]any
	for i := range nodes {
		servers = append(servers, map[string]any{
			"name":    nodeName(i),
			"address": net.JoinHostPort(address(o, first+i), strconv.Itoa(holdfastServer)),
		})
		s.addresses = append(s.addresses, address(o, first+i))
		s.endpoints = append(s.endpoints, net.JoinHostPort(address(o, first+i), strconv.Itoa(holdfastHTTP)))
	}
	s.ports = []int{holdfastServer, holdfastHTTP}
	s.command = func(i int, disk, work string) ([]string, error) {
		walFailover := "disabled"
		if failover {
			walFailover = "path=" + s.sides[i]
		}
		config := map[string]any{
			"node_name":     nodeName(i),
			"cluster":       map[string]any{"name": "bench", "id": clusterID},
			"bind_addr":     address(o, first+i),
			"ports":         map[string]any{"server": holdfastServer, "http": holdfastHTTP},
			"servers":       servers,
			"stores":        []map[string]any{{"path": filepath.Join(disk, "store")}},
			"raft_logstore": map[string]any{"backend": o.backend},
			"wal_failover":  walFailover,
			"log_level":     "warn",
		}
		data, err := json.MarshalIndent(config, "", "  ")
		if err != nil {
			return nil, err
		}
		file := filepath.Join(work, name+"-"+nodeName(i)+".json")
		if err := os.WriteFile(file, data, 0o600); err != nil {
			return nil, err
		}
		return []string{o.holdfast, "engine", "-config-file", file}, nil
	}
	s.loader = func() ([]string, error) {
		self, err := os.Executable()
		return []string{self, "load"}, err
	}
	s.leader = holdfastLeader
	return s
}

// clusterID is any; the cluster lives as long as the benchmark.
const clusterID = "0b0e4c1e-6d9b-4a52-9d0c-6b1f0c6e7a10"

// holdfastLeader returns the position of the leader among the endpoints.
func holdfastLeader(ctx context.Context, endpoints []string) (int, error) {
	c, err := api.New(api.Config{Addresses: endpoints})
	if err != nil {
		return 0, err
	}
	defer c.Close()
	leader, err := c.StatusLeader(ctx, "")
	if err != nil {
		return 0, err
	}
	return position(endpoints, leader)
}

// position finds the endpoint on the host of an address.
func position(endpoints []string, address string) (int, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return 0, fmt.Errorf("no leader: %q is no address", address)
	}
	for i, e := range endpoints {
		if h, _, err := net.SplitHostPort(e); err == nil && h == host {
			return i, nil
		}
	}
	return 0, fmt.Errorf("the leader %s is none of %v", address, endpoints)
}

// kv is Holdfast as one of the load's clients sees it: its operations go to
// the nodes in turn, as etcd's client sends them.
type kv struct {
	nodes []*api.Client // each prefers another node
	own   []*api.Client // each knows one node only
	next  int           // whose turn it is; a client does one operation at a time
}

func (s *kv) client() *api.Client {
	s.next = (s.next + 1) % len(s.nodes)
	return s.nodes[s.next]
}

func (s *kv) Put(ctx context.Context, key string, value []byte) error {
	return s.client().Put(ctx, key, value, api.Write{})
}

func (s *kv) Get(ctx context.Context, key, consistency string) error {
	o := api.Read{}
	switch consistency {
	case load.Consistent:
		o.Consistency = api.Consistent
	case load.Stale:
		o.Consistency = api.Stale
	}
	_, err := s.client().GetValue(ctx, key, o)
	return err
}

// List implements load.Lister.
func (s *kv) List(ctx context.Context, endpoint int, prefix string) (map[string][]byte, error) {
	pairs, _, err := s.own[endpoint].List(ctx, prefix, api.Read{Consistency: api.Stale})
	all := make(map[string][]byte, len(pairs))
	for _, p := range pairs {
		all[p.Key] = p.Value
	}
	return all, err
}

// connect makes the clients of a cell. All of them share one transport for
// each endpoint, which keeps a connection per operation under way.
func connect(spec load.Spec) (func(int) load.Client, func(), error) {
	var nodes, own []*api.Client
	for i, e := range spec.Endpoints {
		rotated, err := api.New(api.Config{Addresses: slices.Concat(spec.Endpoints[i:], spec.Endpoints[:i])})
		if err != nil {
			return nil, nil, err
		}
		single, err := api.New(api.Config{Addresses: []string{e}})
		if err != nil {
			return nil, nil, err
		}
		nodes, own = append(nodes, rotated), append(own, single)
	}
	closeAll := func() {
		for _, c := range slices.Concat(nodes, own) {
			c.Close()
		}
	}
	return func(i int) load.Client { return &kv{nodes: nodes, own: own, next: i % len(nodes)} }, closeAll, nil
}
