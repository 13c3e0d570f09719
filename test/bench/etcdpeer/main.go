// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

//go:build peers

// Command etcdpeer is etcd for the benchmark: a node as etcd itself would run
// with the same flags, and a load generator over etcd's own client. It is
// built with -tags peers only, because etcd takes minutes to compile.
//
//	etcdpeer server NAME DIRECTORY CLIENT-URL PEER-URL INITIAL-CLUSTER
//	etcdpeer load < cell
package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"

	"github.com/holdfastdb/terraform-provider-holdfast/test/bench/load"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "etcdpeer:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	switch {
	case len(args) == 6 && args[0] == "server":
		return server(ctx, args[1], args[2], args[3], args[4], args[5])
	case len(args) == 1 && args[0] == "load":
		// Its client logs every retry otherwise, thousands while a disk hangs.
		if err := os.Setenv("ETCD_CLIENT_DEBUG", "error"); err != nil {
			return err
		}
		return load.Main(ctx, os.Stdin, os.Stdout, connect)
	}
	return errors.New("usage: etcdpeer server NAME DIRECTORY CLIENT-URL PEER-URL INITIAL-CLUSTER | etcdpeer load")
}

// server runs a node with etcd's defaults, except for the size at which its
// backend refuses writes: the benchmark compacts nothing.
func server(ctx context.Context, name, dir, client, peer, cluster string) error {
	c, err := url.Parse(client)
	if err != nil {
		return err
	}
	p, err := url.Parse(peer)
	if err != nil {
		return err
	}
	cfg := embed.NewConfig()
	cfg.Name, cfg.Dir, cfg.InitialCluster = name, dir, cluster
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{*c}, []url.URL{*c}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{*p}, []url.URL{*p}
	cfg.LogLevel = "error"
	cfg.QuotaBackendBytes = 8 << 30
	e, err := embed.StartEtcd(cfg)
	if err != nil {
		return err
	}
	defer e.Close()
	select {
	case <-ctx.Done():
		return nil
	case err := <-e.Err():
		return err
	}
}

// kv is etcd as the load sees it.
type kv struct {
	client *clientv3.Client
	own    []*clientv3.Client // each knows one node only
}

func (s kv) Put(ctx context.Context, key string, value []byte) error {
	_, err := s.client.Put(ctx, key, string(value))
	return err
}

func (s kv) Get(ctx context.Context, key, consistency string) error {
	var options []clientv3.OpOption
	if consistency == load.Stale {
		options = append(options, clientv3.WithSerializable())
	}
	r, err := s.client.Get(ctx, key, options...)
	if err == nil && len(r.Kvs) == 0 {
		err = fmt.Errorf("no key %q", key)
	}
	return err
}

// List implements load.Lister.
func (s kv) List(ctx context.Context, endpoint int, prefix string) (map[string][]byte, error) {
	r, err := s.own[endpoint].Get(ctx, prefix, clientv3.WithPrefix(), clientv3.WithSerializable())
	if err != nil {
		return nil, err
	}
	all := make(map[string][]byte, len(r.Kvs))
	for _, pair := range r.Kvs {
		all[string(pair.Key)] = pair.Value
	}
	return all, nil
}

// connect makes the clients of a cell. Each balances over all endpoints by
// itself, one HTTP/2 connection to each; many goroutines share one.
func connect(spec load.Spec) (func(int) load.Client, func(), error) {
	n := min(max(spec.Connections, 1), spec.Clients)
	var clients, own []*clientv3.Client
	closeAll := func() {
		for _, c := range slices.Concat(clients, own) {
			_ = c.Close() // the connections go with the process anyway
		}
	}
	add := func(to *[]*clientv3.Client, endpoints []string) error {
		c, err := clientv3.New(clientv3.Config{Endpoints: endpoints, DialTimeout: 5 * time.Second})
		if err == nil {
			*to = append(*to, c)
		}
		return err
	}
	var err error
	for range n {
		err = errors.Join(err, add(&clients, spec.Endpoints))
	}
	if spec.Operation == load.Paced { // it is checked on every node
		for _, e := range spec.Endpoints {
			err = errors.Join(err, add(&own, []string{e}))
		}
	}
	if err != nil {
		closeAll()
		return nil, nil, err
	}
	return func(i int) load.Client { return kv{clients[i%n], own} }, closeAll, nil
}
