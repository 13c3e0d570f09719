// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package sshhost

import (
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"
)

// watchedConn remembers when it last heard of its peer.
type watchedConn struct {
	net.Conn
	began time.Time
	heard atomic.Int64 // nanoseconds after began
}

func watch(c net.Conn) *watchedConn { return &watchedConn{Conn: c, began: time.Now()} }

// Read implements net.Conn.
func (c *watchedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.heard.Store(int64(time.Since(c.began)))
	}
	return n, err
}

// silence is for how long nothing was heard.
func (c *watchedConn) silence() time.Duration {
	return time.Since(c.began) - time.Duration(c.heard.Load())
}

// connection is one login, through all jump hosts.
//
// Its goroutines are the watcher, which waits for the end, the keepalive, and
// at most one request of the keepalive. All end when base is closed, and
// close waits for them.
type connection struct {
	client *ssh.Client
	base   *watchedConn  // from this machine; closing it ends all
	last   *watchedConn  // to the machine, through the jump hosts
	chain  []*ssh.Client // jump hosts, then client
	// done is closed by the watcher when the connection is over. Nothing is sent.
	done chan struct{}
	wg   sync.WaitGroup
	mu   struct {
		sync.Mutex
		cause error // why it ended, where that is known better than by the transport
	}
}

func newConnection(base, last *watchedConn, chain []*ssh.Client, k Keepalive) *connection {
	c := &connection{client: chain[len(chain)-1], base: base, last: last, chain: chain, done: make(chan struct{})}
	c.wg.Go(func() {
		err := c.client.Wait()
		c.lose(err)
		close(c.done)
	})
	c.wg.Go(func() { c.keepAlive(k) })
	return c
}

// keepAlive asks for signs of life. Whatever the machine sends is one: an answer may be
// queued behind an upload, whose progress shows that the machine lives.
func (c *connection) keepAlive(k Keepalive) {
	tick := time.NewTicker(k.Interval)
	defer tick.Stop()
	var asking atomic.Bool
	for {
		select {
		case <-c.done:
			return
		case <-tick.C:
		}
		if c.last.silence() >= k.Dead {
			c.lose(ErrSilent)
			return
		}
		if asking.CompareAndSwap(false, true) {
			c.wg.Go(func() {
				// sshd knows no such request and says so, which is an answer.
				_, _, _ = c.client.SendRequest("keepalive@openssh.com", true, nil)
				asking.Store(false)
			})
		}
	}
}

// lose ends the connection for a reason; the first one stays.
func (c *connection) lose(cause error) {
	c.mu.Lock()
	if c.mu.cause == nil {
		c.mu.cause = cause
	}
	c.mu.Unlock()
	closeChain(c.base, c.chain)
}

// closeChain closes the connection of this machine first: that cannot block,
// while a word to a peer that is gone could.
func closeChain(base net.Conn, chain []*ssh.Client) {
	_ = base.Close()
	for _, c := range chain {
		_ = c.Close() // its transport is closed already
	}
}

// ended tells whether the connection is over.
func (c *connection) ended() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// cause is why the connection ended; nil before.
func (c *connection) cause() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.cause
}

// close ends the connection and waits for its goroutines.
func (c *connection) close() {
	c.lose(ErrClosed)
	c.wg.Wait()
}
