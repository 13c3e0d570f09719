// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package sshdtest

import (
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// Relay is a TCP proxy that can do harm.
type Relay struct {
	Port     int
	listener net.Listener
	wg       sync.WaitGroup
	// Budget is after how many bytes from the client the next connection is cut; below 0: never.
	Budget atomic.Int64
	// Down has every connection closed at once; with DownAfterCut, a budget that is used up
	// sets it.
	Down, DownAfterCut atomic.Bool
	// Silent swallows everything and closes nothing.
	Silent atomic.Bool
	Up     atomic.Int64 // bytes from clients
	mu     struct {
		sync.Mutex
		conns    []net.Conn
		onAccept func()
	}
}

// StartRelay starts a relay to a port of 127.0.0.1. port is its own; 0 is a free one.
func StartRelay(t *testing.T, port, target int) *Relay {
	t.Helper()
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	r := &Relay{Port: portOf(l), listener: l}
	r.Budget.Store(-1)
	r.wg.Go(func() { r.serve(target) })
	t.Cleanup(func() {
		r.Leave()
		r.Cut()
		r.wg.Wait()
	})
	return r
}

func (r *Relay) serve(target int) {
	for {
		client, err := r.listener.Accept()
		if err != nil {
			return
		}
		r.mu.Lock()
		onAccept := r.mu.onAccept
		r.mu.Unlock()
		if onAccept != nil {
			onAccept()
		}
		if r.Down.Load() {
			_ = client.Close()
			continue
		}
		machine, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", target))
		if err != nil {
			_ = client.Close()
			continue
		}
		r.mu.Lock()
		r.mu.conns = append(r.mu.conns, client, machine)
		r.mu.Unlock()
		budget := r.Budget.Swap(-1)
		r.wg.Go(func() { r.pump(machine, client, true, budget) })
		r.wg.Go(func() { r.pump(client, machine, false, -1) })
	}
}

// OnAccept has f called with every connection from now on, before anything is done with it.
func (r *Relay) OnAccept(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.onAccept = f
}

// Leave takes no more connections and gives the port back; those that are there stay.
func (r *Relay) Leave() { _ = r.listener.Close() }

// Cut closes all connections.
func (r *Relay) Cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.mu.conns {
		_ = c.Close()
	}
	r.mu.conns = nil
}

func (r *Relay) pump(to, from net.Conn, counted bool, budget int64) {
	defer func() { _ = to.Close(); _ = from.Close() }()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if r.Silent.Load() {
			if err != nil {
				return
			}
			continue
		}
		if counted {
			r.Up.Add(int64(n))
			if budget >= 0 {
				if int64(n) >= budget {
					if r.DownAfterCut.Load() {
						r.Down.Store(true)
					}
					_, _ = to.Write(buf[:budget])
					return
				}
				budget -= int64(n)
			}
		}
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
