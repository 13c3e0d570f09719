// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package node

import (
	"context"
	"net"
	"sync"
)

// connSet holds listeners and open connections, so that all can be closed.
type connSet struct {
	mu struct {
		sync.Mutex
		listeners []net.Listener
		conns     map[*trackedConn]struct{}
		closed    bool
	}
}

// add takes a connection in; it closes it and returns false after close.
func (s *connSet) add(conn net.Conn) (*trackedConn, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.closed {
		_ = conn.Close()
		return nil, false
	}
	if s.mu.conns == nil {
		s.mu.conns = make(map[*trackedConn]struct{})
	}
	t := &trackedConn{Conn: conn, set: s}
	s.mu.conns[t] = struct{}{}
	return t, true
}

// listen takes in a listener and whatever it will accept.
func (s *connSet) listen(ln net.Listener) net.Listener {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.closed {
		_ = ln.Close() // the first Accept tells
	}
	s.mu.listeners = append(s.mu.listeners, ln)
	return &trackedListener{ln, s}
}

// close closes all of them, and returns when the kernel has; it returns false if
// it was called before.
func (s *connSet) close() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.closed {
		return false
	}
	s.mu.closed = true
	for _, ln := range s.mu.listeners {
		_ = ln.Close() // nothing is lost with a listener
	}
	for c := range s.mu.conns {
		_ = c.Conn.Close() // whoever uses it sees the error
	}
	return true
}

// trackedConn leaves its set when it is closed.
type trackedConn struct {
	net.Conn
	set *connSet
}

// Close implements net.Conn.
func (c *trackedConn) Close() error {
	c.set.mu.Lock()
	delete(c.set.mu.conns, c)
	c.set.mu.Unlock()
	return c.Conn.Close()
}

// CloseWrite is asked for by net/http: without it a client that still sends
// what was refused gets a reset instead of the answer.
func (c *trackedConn) CloseWrite() error {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return nil
}

// trackedListener has a set know what it accepts.
type trackedListener struct {
	net.Listener
	set *connSet
}

// Accept implements net.Listener.
func (l *trackedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	tracked, ok := l.set.add(conn)
	if !ok {
		return nil, net.ErrClosed
	}
	return tracked, nil
}

// trackedNetwork has a set know every socket of a network. It is below TLS,
// whose goodbye waits for who is to take it.
type trackedNetwork struct {
	Network
	set *connSet
}

// Listen implements Network.
func (t *trackedNetwork) Listen(address string) (net.Listener, error) {
	ln, err := t.Network.Listen(address)
	if err != nil {
		return nil, err
	}
	return t.set.listen(ln), nil
}

// Dial implements Network.
func (t *trackedNetwork) Dial(ctx context.Context, address string) (net.Conn, error) {
	conn, err := t.Network.Dial(ctx, address)
	if err != nil {
		return nil, err
	}
	tracked, ok := t.set.add(conn)
	if !ok {
		return nil, net.ErrClosed
	}
	return tracked, nil
}
