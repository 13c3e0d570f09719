// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"
)

// Security proves the nodes of a cluster, and its clients, to each other by
// certificates. What it returns may be another thing for each connection, so
// certificates change while the node runs. Safe for concurrent use; no method
// waits for a disk.
type Security interface {
	// Server is for the listener of the server RPC. It lets nodes of this
	// cluster in, and nobody else.
	Server() *tls.Config
	// Dial is for one connection to the node of a name, and to nobody else.
	Dial(node string) *tls.Config
	// Node is the name of the node at the other end of either.
	Node(state tls.ConnectionState) (string, error)
	// HTTPS is for the listener of the HTTP API. It does not offer HTTP/2.
	HTTPS() *tls.Config
	// Expirations are the ends of the certificates in use, by name.
	Expirations() map[string]time.Time
}

// errImpostor is a caller that is not the node it says.
var errImpostor = errors.New("the caller is refused")

// What it costs, in one process with three nodes and the clients, two cores
// (BenchmarkPutTLS in test/cluster): 98 → 104 µs of CPU per write with 64
// clients, 469 → 477 with one; a handshake, both ends of it, 1.4 ms on a busy
// machine (BenchmarkHandshake in hostagent/pki). Peers keep their connections.

// proven is a connection whose other end has proved which node it is, once
// something was read from it.
type proven interface{ Node() (string, error) }

// secured is a network with TLS over it. A connection that was dialed is
// proven when Dial returns; one that was accepted, at its first read, which
// the reader bounds.
type secured struct {
	Network
	security Security
	names    map[string]string // address → node name
}

func secure(n Network, s Security, servers []Server) *secured {
	t := &secured{Network: n, security: s, names: make(map[string]string)}
	for _, srv := range servers {
		t.names[srv.Address] = srv.Name
	}
	return t
}

// Listen implements Network.
func (t *secured) Listen(address string) (net.Listener, error) {
	ln, err := t.Network.Listen(address)
	if err != nil {
		return nil, err
	}
	return &securedListener{ln, t.security.Server(), t.security}, nil
}

// Dial implements Network. ctx bounds the handshake too.
func (t *secured) Dial(ctx context.Context, address string) (net.Conn, error) {
	name, ok := t.names[address]
	if !ok { // raft's configuration names a server that ours does not
		return nil, fmt.Errorf("%s is the address of no server in this node's list: it is not known whose certificate to expect", address)
	}
	raw, err := t.Network.Dial(ctx, address)
	if err != nil {
		return nil, err
	}
	conn := tls.Client(raw, t.security.Dial(name))
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = raw.Close() // the error to tell is the handshake's
		return nil, fmt.Errorf("TLS with node %s at %s: %w", name, address, err)
	}
	return &securedConn{conn, t.security}, nil
}

type securedListener struct {
	net.Listener
	cfg      *tls.Config
	security Security
}

// Accept implements net.Listener.
func (l *securedListener) Accept() (net.Conn, error) {
	raw, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &securedConn{tls.Server(raw, l.cfg), l.security}, nil
}

type securedConn struct {
	*tls.Conn
	security Security
}

// Node implements proven.
func (c *securedConn) Node() (string, error) { return c.security.Node(c.ConnectionState()) }

// Close implements net.Conn. It does not say goodbye first, as tls.Conn does
// for up to 5 s where the peer takes nothing: a node that ends because a disk
// hangs has to be gone at once, and every protocol above says itself where a
// message ends.
func (c *securedConn) Close() error { return c.NetConn().Close() }
