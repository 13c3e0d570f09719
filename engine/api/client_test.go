// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package api_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/api"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/httpapi"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/httpapi/httpapitest"
)

// node serves a backend and returns its address.
func node(t *testing.T, b httpapi.Backend) string {
	t.Helper()
	srv := httptest.NewServer(httpapi.NewHandler(httpapi.Config{Backend: b}))
	t.Cleanup(srv.Close)
	return strings.TrimPrefix(srv.URL, "http://")
}

func client(t *testing.T, addresses ...string) *api.Client {
	t.Helper()
	c, err := api.New(api.Config{Addresses: addresses})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// closedAddress is an address that nobody listens on.
func closedAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestKV(t *testing.T) {
	ctx := t.Context()
	c := client(t, node(t, httpapitest.NewMemory("p2")))

	_, _, err := c.Get(ctx, "none", api.Read{})
	if !errors.Is(err, api.ErrNotFound) {
		t.Errorf("Get of nothing: %v", err)
	}
	if _, err := c.GetValue(ctx, "none", api.Read{}); !errors.Is(err, api.ErrNotFound) {
		t.Errorf("GetValue of nothing: %v", err)
	}
	if pairs, _, err := c.List(ctx, "none/", api.Read{}); err != nil || len(pairs) != 0 {
		t.Errorf("List of nothing: %v, %v", pairs, err)
	}
	if keys, _, err := c.Keys(ctx, "none/", "", api.Read{}); err != nil || len(keys) != 0 {
		t.Errorf("Keys of nothing: %v, %v", keys, err)
	}

	odd := "odd/ %2F?&#\"é//../x"
	must(t, c.Put(ctx, "a/1", []byte("one"), api.Write{Flags: 7}))
	must(t, c.Put(ctx, "a/b/2", []byte{0, 255}, api.Write{}))
	must(t, c.Put(ctx, odd, nil, api.Write{}))
	must(t, c.Put(ctx, "elsewhere", []byte("x"), api.Write{Partition: "p2"}))

	got, m, err := c.Get(ctx, "a/1", api.Read{Consistency: api.Consistent})
	must(t, err)
	if diff := cmp.Diff(api.KVPair{Key: "a/1", Value: []byte("one"), Flags: 7, CreateIndex: 1, ModifyIndex: 1}, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(api.Meta{Index: 1, KnownLeader: true, Effective: "consistent"}, m); diff != "" {
		t.Error(diff)
	}
	if got, _, err := c.Get(ctx, odd, api.Read{}); err != nil || got.Key != odd || got.Value != nil {
		t.Errorf("%q came back as %+v, %v", odd, got, err)
	}
	if v, err := c.GetValue(ctx, "a/b/2", api.Read{Consistency: api.Stale}); err != nil || string(v) != "\x00\xff" {
		t.Errorf("GetValue = %q, %v", v, err)
	}
	if _, _, err := c.Get(ctx, "elsewhere", api.Read{}); !errors.Is(err, api.ErrNotFound) {
		t.Errorf("partitions mix: %v", err)
	}
	if v, err := c.GetValue(ctx, "elsewhere", api.Read{Partition: "p2"}); err != nil || string(v) != "x" {
		t.Errorf("GetValue in p2 = %q, %v", v, err)
	}
	pairs, m, err := c.List(ctx, "a/", api.Read{})
	must(t, err)
	if len(pairs) != 2 || pairs[1].Key != "a/b/2" || m.Index != 2 {
		t.Errorf("List = %+v, %+v", pairs, m)
	}
	keys, _, err := c.Keys(ctx, "a/", "/", api.Read{})
	must(t, err)
	if diff := cmp.Diff([]string{"a/1", "a/b/"}, keys); diff != "" {
		t.Error(diff)
	}

	if ok, err := c.CAS(ctx, "a/1", []byte("two"), 99, api.Write{}); err != nil || ok {
		t.Errorf("CAS with the wrong index: %v, %v", ok, err)
	}
	if ok, err := c.CAS(ctx, "a/1", []byte("two"), 1, api.Write{}); err != nil || !ok {
		t.Errorf("CAS: %v, %v", ok, err)
	}
	if ok, err := c.DeleteCAS(ctx, "a/1", 1, api.Write{}); err != nil || ok {
		t.Errorf("DeleteCAS with the wrong index: %v, %v", ok, err)
	}
	must(t, c.Delete(ctx, odd, api.Write{}))
	must(t, c.DeleteTree(ctx, "a/", api.Write{}))
	if keys, _, err := c.Keys(ctx, "", "", api.Read{}); err != nil || len(keys) != 0 {
		t.Errorf("left over: %v, %v", keys, err)
	}
	for _, err := range []error{c.Put(ctx, "", nil, api.Write{}), c.Delete(ctx, "", api.Write{})} {
		if err == nil {
			t.Error("an empty key is accepted")
		}
	}
}

func TestErrorsAreTyped(t *testing.T) {
	b := httpapitest.NewMemory()
	addr := node(t, b)
	c := client(t, addr)
	check := func(err error, status int, text string) {
		t.Helper()
		var e *api.Error
		if !errors.As(err, &e) || e.Status != status || !strings.Contains(e.Body, text) || e.Node != addr {
			t.Errorf("%v: want %d %q", err, status, text)
		}
	}
	_, _, err := c.Get(t.Context(), "k", api.Read{Partition: "p9"})
	check(err, 404, "no such partition")
	check(c.Put(t.Context(), "k", make([]byte, 600<<10), api.Write{}), 413, "too large")
	check(c.Put(t.Context(), strings.Repeat("k", 600), nil, api.Write{}), 400, "the limit is 512")
	v := "soon"
	check(c.SetSettings(t.Context(), map[string]*string{"storage.max_sync_duration": &v}), 400, "not a duration")
	b.Err = httpapi.ErrNoLeader
	check(c.Put(t.Context(), "k", nil, api.Write{}), 500, "No cluster leader")
}

func TestOperator(t *testing.T) {
	b := httpapitest.NewMemory()
	b.Raft = api.RaftConfiguration{Index: 3, Servers: []api.RaftServer{{ID: "n1", Address: "127.0.0.1:8300", Voter: true}}}
	b.Node = api.NodeStores{Node: "n1", Stores: []api.Store{{ID: "s1", Partitions: []api.Partition{{Name: "default", LastContactMS: -1}}}}}
	c := client(t, node(t, b))
	ctx := t.Context()
	leader, err := c.StatusLeader(ctx, "")
	must(t, err)
	peers, err := c.StatusPeers(ctx, "default")
	must(t, err)
	if leader != "127.0.0.1:8300" || len(peers) != 1 || peers[0] != leader {
		t.Errorf("leader %q, peers %q", leader, peers)
	}
	b.Leader = ""
	conf, err := c.RaftConfiguration(ctx, "")
	must(t, err)
	if diff := cmp.Diff(b.Raft, conf); diff != "" {
		t.Error(diff)
	}
	stores, err := c.Stores(ctx)
	must(t, err)
	if diff := cmp.Diff(b.Node, stores); diff != "" {
		t.Error(diff)
	}
	v := "30s"
	must(t, c.SetSettings(ctx, map[string]*string{"storage.max_sync_duration": &v}))
	s, err := c.Settings(ctx)
	must(t, err)
	if s.Settings["storage.max_sync_duration"] != "30s" || len(s.Set) != 1 || s.Index != 1 {
		t.Errorf("settings %+v", s)
	}
	must(t, c.SetSettings(ctx, map[string]*string{"storage.max_sync_duration": nil}))
}

// TestNextAddress: a node that cannot be connected to is passed over, for
// reads and writes, and the one that answered is asked first from then on.
func TestNextAddress(t *testing.T) {
	dead, alive := closedAddress(t), node(t, httpapitest.NewMemory())
	var dials atomic.Int32
	c, err := api.New(api.Config{Addresses: []string{dead, alive}, DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		if address == dead {
			dials.Add(1)
		}
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}})
	must(t, err)
	defer c.Close()
	for range 3 {
		must(t, c.Put(t.Context(), "k", []byte("v"), api.Write{}))
		if _, err := c.GetValue(t.Context(), "k", api.Read{}); err != nil {
			t.Fatal(err)
		}
	}
	if n := dials.Load(); n != 1 {
		t.Errorf("the dead node was tried %d times", n)
	}
	none := client(t, dead)
	if err := none.Put(t.Context(), "k", nil, api.Write{}); !errors.Is(err, api.ErrNotReached) || errors.Is(err, api.ErrOutcomeUnknown) {
		t.Errorf("no node at all: %v", err)
	}
}

// breaks takes a request and closes the connection without an answer.
func breaks(t *testing.T, requests *atomic.Int32) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		requests.Add(1)
		panic(http.ErrAbortHandler)
	}))
	t.Cleanup(srv.Close)
	return strings.TrimPrefix(srv.URL, "http://")
}

// TestBrokenConnection: a write that was sent is not sent again, to nobody; a
// read goes to the next node.
func TestBrokenConnection(t *testing.T) {
	var requests atomic.Int32
	b := httpapitest.NewMemory()
	alive := node(t, b)
	must(t, client(t, alive).Put(t.Context(), "k", []byte("v"), api.Write{}))
	c := client(t, breaks(t, &requests), alive)
	err := c.Put(t.Context(), "k", []byte("again"), api.Write{})
	if !errors.Is(err, api.ErrOutcomeUnknown) {
		t.Errorf("Put = %v", err)
	}
	if n := requests.Load(); n != 1 {
		t.Errorf("the write was sent %d times", n)
	}
	if v, err := client(t, alive).GetValue(t.Context(), "k", api.Read{}); err != nil || string(v) != "v" {
		t.Errorf("the write went to another node: %q, %v", v, err)
	}
	if v, err := c.GetValue(t.Context(), "k", api.Read{}); err != nil || string(v) != "v" {
		t.Errorf("the read was not repeated: %q, %v", v, err)
	}
}

func TestContext(t *testing.T) {
	release := make(chan struct{}) // closed by the test
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}))
	defer srv.Close()
	defer close(release)
	c := client(t, srv.URL, srv.URL)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, _, err := c.Get(ctx, "k", api.Read{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Get = %v", err)
	}
	if err := c.Put(ctx, "k", nil, api.Write{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Put = %v", err)
	}
}

func TestNewRefuses(t *testing.T) {
	for _, a := range []string{"", "ftp://x", "http://", "host:port/path", "http://u:p@host:1", "host:1?x", ":8500", "a b"} {
		if _, err := api.New(api.Config{Addresses: []string{a}}); err == nil {
			t.Errorf("address %q is accepted", a)
		}
	}
	if _, err := api.New(api.Config{}); err == nil {
		t.Error("no address is accepted")
	}
	for _, a := range []string{"127.0.0.1:8500", "http://node1:8500/", "https://[::1]:8501"} {
		if _, err := api.New(api.Config{Addresses: []string{a}}); err != nil {
			t.Error(err)
		}
	}
}

// TestConnectionsAreReused: else each of 256 writers would dial for each write.
func TestConnectionsAreReused(t *testing.T) {
	var conns atomic.Int32
	srv := httptest.NewUnstartedServer(httpapi.NewHandler(httpapi.Config{Backend: httpapitest.NewMemory()}))
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			conns.Add(1)
		}
	}
	srv.Start()
	defer srv.Close()
	c := client(t, srv.URL)
	const clients, rounds = 32, 20
	errs := make(chan error, clients) // each client once
	for range clients {
		go func() {
			var err error
			for range rounds {
				err = errors.Join(err, c.Put(t.Context(), "k", []byte("v"), api.Write{}))
			}
			errs <- err
		}()
	}
	for range clients {
		must(t, <-errs)
	}
	if n := conns.Load(); n > 2*clients {
		t.Errorf("%d connections for %d clients", n, clients)
	}
}

func BenchmarkPut(b *testing.B) {
	srv := httptest.NewServer(httpapi.NewHandler(httpapi.Config{Backend: httpapitest.NewMemory()}))
	defer srv.Close()
	c, err := api.New(api.Config{Addresses: []string{srv.URL}})
	if err != nil {
		b.Fatal(err)
	}
	value := make([]byte, 256)
	b.ReportAllocs()
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := c.Put(context.Background(), "bench/key", value, api.Write{}); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
