// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
)

var errCut = errors.New("the network between the nodes is cut")

// network joins the nodes of a cluster by TCP and can be cut between any two.
type network struct {
	mu    sync.Mutex
	names map[string]string // address → node
	cut   map[[2]string]bool
	conns map[*conn]struct{}
	// deaf nodes lose the next answer to what they forward, with the connection.
	deaf map[string]bool
}

func newNetwork() *network {
	return &network{names: make(map[string]string), cut: make(map[[2]string]bool), conns: make(map[*conn]struct{}), deaf: make(map[string]bool)}
}

// pair is an unordered pair of nodes.
func pair(a, b string) [2]string {
	if a > b {
		a, b = b, a
	}
	return [2]string{a, b}
}

// set cuts or heals the network between two nodes. Cutting breaks the
// connections that are there.
func (n *network) set(a, b string, cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[pair(a, b)] = cut
	if !cut {
		return
	}
	for c := range n.conns {
		if c.pair == pair(a, b) {
			_ = c.Conn.Close() // both ends see it
		}
	}
}

// loseAnswer makes a node lose the next answer to what it forwards.
func (n *network) loseAnswer(node string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.deaf[node] = true
}

// isDeaf tells whether the answer is yet to be lost.
func (n *network) isDeaf(node string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.deaf[node]
}

// view is the network as one node has it.
type view struct {
	net  *network
	node string
}

// Listen implements node.Network.
func (v *view) Listen(address string) (net.Listener, error) { return net.Listen("tcp", address) }

// Dial implements node.Network.
func (v *view) Dial(ctx context.Context, address string) (net.Conn, error) {
	v.net.mu.Lock()
	peer := v.net.names[address]
	cut := v.net.cut[pair(v.node, peer)]
	v.net.mu.Unlock()
	if cut {
		return nil, fmt.Errorf("%w: %s to %s", errCut, v.node, peer)
	}
	var d net.Dialer
	raw, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	v.net.mu.Lock()
	defer v.net.mu.Unlock()
	if v.net.cut[pair(v.node, peer)] {
		_ = raw.Close()
		return nil, errCut
	}
	c := &conn{Conn: raw, net: v.net, node: v.node, pair: pair(v.node, peer)}
	v.net.conns[c] = struct{}{}
	return c, nil
}

// conn is a connection that the network can break.
type conn struct {
	net.Conn
	net  *network
	node string // who dialed
	pair [2]string
	// first is what was written first: a preamble, whose sixth byte tells
	// raft's connections from those for forwarding. Written before any read.
	first []byte
}

const kindForward = 2

// Write implements net.Conn.
func (c *conn) Write(b []byte) (int, error) {
	if c.first == nil {
		c.first = bytes.Clone(b[:min(len(b), 6)])
	}
	return c.Conn.Write(b)
}

// Read implements net.Conn.
func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n == 0 || len(c.first) < 6 || c.first[5] != kindForward {
		return n, err
	}
	c.net.mu.Lock()
	lose := c.net.deaf[c.node]
	delete(c.net.deaf, c.node)
	c.net.mu.Unlock()
	if lose {
		_ = c.Conn.Close()
		return 0, errCut
	}
	return n, err
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.net.mu.Lock()
	delete(c.net.conns, c)
	c.net.mu.Unlock()
	return c.Conn.Close()
}
