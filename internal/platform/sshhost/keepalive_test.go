// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package sshhost

import (
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// The network swallows everything: no close, no reset. Seen to hang with the
// keepalive's check of silence taken out.
func TestSilentPeer(t *testing.T) {
	s := startServer(t, serverOptions{})
	r := startRelay(t, s.Port)
	cfg := through(r, s.config())
	cfg.Keepalive = Keepalive{Interval: 20 * time.Millisecond, Dead: 300 * time.Millisecond}
	h := newHost(t, cfg)
	if err := h.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.Silent.Store(true)
	_, err := h.Run(within(t), Command{Args: []string{"true"}})
	wantError(t, err, ErrConnectionLost)
	wantError(t, err, ErrSilent)

	r.Silent.Store(false)
	if got := output(t, h, "echo again"); got != "again" {
		t.Errorf("got %q", got)
	}
}

// The machine vanishes behind a jump host that talks on. Seen to hang with
// the silence of the connection to the jump host looked at.
func TestSilentPeerBehindJump(t *testing.T) {
	jump, machine := startServer(t, serverOptions{}), startServer(t, serverOptions{})
	r := startRelay(t, machine.Port)
	cfg := through(r, machine.config())
	cfg.Jump = []Endpoint{jump.endpoint()}
	cfg.Keepalive = Keepalive{Interval: 20 * time.Millisecond, Dead: 300 * time.Millisecond}
	h := newHost(t, cfg)
	if err := h.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.Silent.Store(true)
	stop := make(chan struct{}) // closed below
	var talk sync.WaitGroup
	talk.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
				_, _, _ = h.mu.conn.chain[0].SendRequest("keepalive@openssh.com", true, nil)
			}
		}
	})
	_, err := h.Run(within(t), Command{Args: []string{"true"}})
	close(stop)
	talk.Wait()
	wantError(t, err, ErrSilent)
}

// A machine that is only quiet is not given up: the command runs for many times Dead.
func TestQuietPeer(t *testing.T) {
	s := startServer(t, serverOptions{})
	cfg := s.config()
	cfg.Keepalive = Keepalive{Interval: 50 * time.Millisecond, Dead: time.Second}
	h := newHost(t, cfg)
	mark := filepath.Join(t.TempDir(), "mark")
	if _, err := h.Run(within(t), Command{Args: []string{"sh", "-c", "sleep 3; : > " + mark}}); err != nil {
		t.Fatal(err)
	}
	if n := s.Accepted.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
}
