// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package node

import (
	"context"
	"net"
	"time"
)

// Network is how servers reach each other. Implementations are safe for
// concurrent use.
type Network interface {
	// Listen announces on host:port.
	Listen(address string) (net.Listener, error)
	// Dial connects to another server's host:port.
	Dial(ctx context.Context, address string) (net.Conn, error)
}

// TCP is the network of the operating system.
type TCP struct{}

// keepAlive finds a peer that vanished without closing, in some 10 s. Raft's
// heartbeats find it sooner; this is for connections that nobody waits on.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 2 * time.Second, Count: 3}

// Listen implements Network.
func (TCP) Listen(address string) (net.Listener, error) {
	lc := net.ListenConfig{KeepAliveConfig: keepAlive}
	return lc.Listen(context.Background(), "tcp", address)
}

// Dial implements Network.
func (TCP) Dial(ctx context.Context, address string) (net.Conn, error) {
	d := net.Dialer{KeepAliveConfig: keepAlive}
	return d.DialContext(ctx, "tcp", address)
}
