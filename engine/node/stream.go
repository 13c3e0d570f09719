// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package node

import (
	"context"
	"net"
	"time"

	"github.com/hashicorp/raft"
)

// stream is raft's StreamLayer over the mux. It keeps every connection, for
// raft's transport, when it is closed, leaves those that it accepted open and
// their goroutines waiting in a read.
type stream struct {
	mux       *mux
	partition string
	advertise net.Addr
	accepted  chan net.Conn // from the mux; depth 8; never closed
	done      chan struct{} // closed by Close
	conns     connSet
}

var _ raft.StreamLayer = (*stream)(nil)

func newStream(m *mux, partition, advertise string) *stream {
	s := &stream{
		mux: m, partition: partition, advertise: address(advertise),
		accepted: make(chan net.Conn, 8), done: make(chan struct{}),
	}
	m.handle(route{connRaft, partition}, func(conn net.Conn, _ string) {
		tracked, ok := s.conns.add(conn)
		if !ok {
			return
		}
		select {
		case s.accepted <- tracked:
		case <-s.done:
			_ = tracked.Close()
		}
	})
	return s
}

// Dial implements raft.StreamLayer.
func (s *stream) Dial(addr raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	conn, err := s.mux.dial(ctx, string(addr), route{connRaft, s.partition})
	if err != nil {
		return nil, err
	}
	tracked, ok := s.conns.add(conn)
	if !ok {
		return nil, net.ErrClosed
	}
	return tracked, nil
}

// Accept implements net.Listener.
func (s *stream) Accept() (net.Conn, error) {
	select {
	case conn := <-s.accepted:
		return conn, nil
	case <-s.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener; it closes every connection too.
func (s *stream) Close() error {
	if s.conns.close() {
		close(s.done)
	}
	return nil
}

// Addr implements net.Listener: what the peers call this server.
func (s *stream) Addr() net.Addr { return s.advertise }

// address is a host:port that is not resolved.
type address string

func (address) Network() string  { return "tcp" }
func (a address) String() string { return string(a) }
