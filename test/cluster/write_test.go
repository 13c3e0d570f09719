// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/httpapi"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/kv"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/node"
)

func TestWriteOnAnyNodeReadOnAny(t *testing.T) {
	c := New(t, Options{})
	c.Leader("default")
	for _, via := range c.Names() {
		c.Put(via, "k/"+via, "v"+via)
		for _, at := range c.Names() {
			for _, how := range []httpapi.Consistency{httpapi.Default, httpapi.Consistent} {
				if got := c.Get(at, "k/"+via, how); got != "v"+via {
					t.Errorf("written through %s, read from %s with consistency %d: %q", via, at, how, got)
				}
			}
		}
	}
	for _, at := range c.Names() { // followers learn of the last write a little later
		Eventually(t, "a stale read of the last write", func() error {
			if got := c.Get(at, "k/c", httpapi.Stale); got != "vc" {
				return fmt.Errorf("node %s has %q", at, got)
			}
			return nil
		})
	}
}

func TestLargeValue(t *testing.T) {
	c := New(t, Options{})
	big := strings.Repeat("x", kv.MaxValueBytes)
	c.Put(c.Follower("default"), "big", big)
	var wg sync.WaitGroup // several wait together: two do not fit one entry
	for i := range 4 {
		wg.Go(func() { c.Put(c.Names()[i%3], fmt.Sprint("big", i), big) })
	}
	wg.Wait()
	for _, at := range c.Names() {
		if got := c.Get(at, "big3", httpapi.Default); got != big {
			t.Errorf("node %s: %d bytes came back", at, len(got))
		}
	}
}

// TestWritesAcrossElection: clients increment a counter by cas through every
// node, while the leader is taken away again and again. Every acknowledged
// increment must be there once, and none may fail.
func TestWritesAcrossElection(t *testing.T) {
	for _, tc := range []struct {
		name string
		stop func(c *Cluster, leader string)
	}{
		{"stop", func(c *Cluster, l string) { c.Stop(l); c.LeaderOther("default", l); c.Start(l) }},
		{"kill", func(c *Cluster, l string) { c.Kill(l); c.LeaderOther("default", l); c.Start(l) }},
		{"cut off", func(c *Cluster, l string) {
			c.Isolate(l, true)
			c.LeaderOther("default", l)
			c.Isolate(l, false)
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := New(t, Options{})
			leader := c.Leader("default")
			stop := make(chan struct{})
			var wg sync.WaitGroup
			counts := make([]int, 6)
			for i := range counts {
				via := c.Names()[i%3]
				if via == leader {
					via = c.Follower("default") // its node will be gone
				}
				n := c.Node(via)
				wg.Go(func() { counts[i] = increment(t, n, fmt.Sprint("counter", i), stop) })
			}
			tc.stop(c, leader)
			c.Leader("default")
			close(stop)
			wg.Wait()
			total := 0
			for i, want := range counts {
				total += want
				if got := c.Get(leader, fmt.Sprint("counter", i), httpapi.Consistent); got != fmt.Sprint(want) {
					t.Errorf("counter%d is %s, %d increments were acknowledged", i, got, want)
				}
			}
			t.Logf("%d increments", total)
		})
	}
}

// increment counts a key up by cas until stop, and returns how often. It is
// the only writer of the key: a cas that fails was applied twice.
func increment(t *testing.T, n *node.Node, key string, stop <-chan struct{}) int {
	index := uint64(0)
	for i := 1; ; i++ {
		select {
		case <-stop:
			return i - 1
		default:
		}
		res, err := n.Apply(context.Background(), "default", kv.Command{Op: kv.OpCAS, Key: key, Index: index, Value: []byte(fmt.Sprint(i))})
		if err != nil || !res.OK {
			t.Errorf("increment %d of %s: %+v, %v", i, key, res, err)
			return i - 1
		}
		index = res.Index
	}
}

func TestNoLeader(t *testing.T) {
	c := New(t, Options{Configure: func(c *node.Config) { c.RetryWindow = 300 * time.Millisecond }})
	leader := c.Leader("default")
	c.Put(leader, "k", "v")
	for _, name := range c.Names() {
		if name != leader {
			c.Kill(name)
		}
	}
	n := c.Node(leader)
	Eventually(t, "the leader to step down", func() error {
		if addr, _ := n.LeaderAddress("default"); addr != "" {
			return errors.New(addr)
		}
		return nil
	})
	begun := time.Now()
	_, err := n.Apply(t.Context(), "default", kv.Command{Op: kv.OpPut, Key: "k", Value: []byte("w")})
	if !errors.Is(err, httpapi.ErrNoLeader) {
		t.Errorf("a write: %v", err)
	}
	_, _, err = n.Read(t.Context(), "default", kv.Query{Kind: kv.QueryGet, Key: "k"}, httpapi.Default)
	if !errors.Is(err, httpapi.ErrNoLeader) {
		t.Errorf("a read: %v", err)
	}
	if took := time.Since(begun); took < 500*time.Millisecond || took > 5*time.Second {
		t.Errorf("both took %v, the window is 300ms each", took)
	}
	if got := c.Get(leader, "k", httpapi.Stale); got != "v" {
		t.Errorf("a stale read: %q", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := n.Apply(ctx, "default", kv.Command{Op: kv.OpPut, Key: "k"}); !errors.Is(err, context.Canceled) {
		t.Errorf("a write whose client left: %v", err)
	}
}

// TestLostAnswer: the leader applies a write, and its answer is lost. The node
// sends the write again, and the client hears what became of it the first
// time. With the lookup of results taken out of the state machine the cas says
// false, and the put takes two steps of the index.
func TestLostAnswer(t *testing.T) {
	c := New(t, Options{})
	via := c.Follower("default")
	before := c.Put(via, "warm", "") // the connection is there
	c.net.loseAnswer(via)
	res, err := c.Node(via).Apply(t.Context(), "default", kv.Command{Op: kv.OpCAS, Key: "once", Value: []byte("v")})
	if err != nil || !res.OK {
		t.Errorf("a cas whose first answer was lost: %+v, %v", res, err)
	}
	c.net.loseAnswer(via)
	res = c.Put(via, "k", "v")
	if c.net.isDeaf(via) {
		t.Fatal("no answer was lost")
	}
	if want := before.Index + 2; res.Index != want {
		t.Errorf("the put has index %d, want %d", res.Index, want)
	}
	if got := c.Put(via, "k", "w").Index; got != res.Index+1 {
		t.Errorf("the next put has index %d after %d: something was applied twice", got, res.Index)
	}
}

// TestSharedEntry makes puts of one key share log entries: while the first is
// under way, the others wait, and go together.
func TestSharedEntry(t *testing.T) {
	c := New(t, Options{Servers: 1, Configure: func(c *node.Config) { c.Timing.EntriesInFlight = 1 }})
	leader := c.Leader("default")
	n := c.Node(leader)
	before := n.Stores().Stores[0].Partitions[0].LastIndex
	const clients = 64
	indexes := make([]uint64, clients)
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() { indexes[i] = c.Put(leader, "k", fmt.Sprint(i)).Index })
	}
	wg.Wait()
	entries := n.Stores().Stores[0].Partitions[0].LastIndex - before
	if entries >= clients {
		t.Fatalf("%d puts took %d entries: none were shared", clients, entries)
	}
	seen := make(map[uint64]bool)
	last := uint64(0)
	for _, i := range indexes {
		if seen[i] {
			t.Fatalf("two puts have the ModifyIndex %d", i)
		}
		seen[i] = true
		last = max(last, i)
	}
	cas := func(i uint64) bool {
		res, err := n.Apply(t.Context(), "default", kv.Command{Op: kv.OpCAS, Key: "k", Index: i, Value: []byte("cas")})
		if err != nil {
			t.Fatal(err)
		}
		return res.OK
	}
	for i := range seen {
		if i != last && cas(i) {
			t.Errorf("cas on ModifyIndex %d succeeded, the last one is %d", i, last)
		}
	}
	if !cas(last) {
		t.Errorf("cas on the last ModifyIndex, %d, failed", last)
	}
	t.Logf("%d puts in %d entries", clients, entries)
}

// Whoever changes a setting through a node finds it there. Seen to fail, through a
// follower, without the wait.
func TestSettingsAreThere(t *testing.T) {
	c := New(t, Options{})
	through := c.Follower("default")
	for i := range 20 {
		value := fmt.Sprintf("%ds", 30+i)
		res, err := c.Node(through).Apply(t.Context(), "default", kv.Command{Op: kv.OpSettings, Settings: map[string]*string{kv.SettingMaxSyncDuration: &value}})
		if err != nil || res.Code != kv.CodeOK {
			t.Fatalf("%+v, %v", res, err)
		}
		if got := c.Node(through).Settings().Settings[kv.SettingMaxSyncDuration]; got != value {
			t.Fatalf("%s, after it was set to %s", got, value)
		}
	}
}
