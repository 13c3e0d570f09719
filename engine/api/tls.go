// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package api

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync/atomic"
)

// dialTLS connects and finishes the handshake, so that what fails in it is
// known to have sent nothing.
func dialTLS(dial func(context.Context, string, string) (net.Conn, error), base *tls.Config) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		raw, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		cfg := &tls.Config{MinVersion: tls.VersionTLS12}
		if base != nil {
			cfg = base.Clone()
		}
		if cfg.ServerName == "" {
			if cfg.ServerName, _, err = net.SplitHostPort(address); err != nil {
				cfg.ServerName = address
			}
		}
		conn := tls.Client(raw, cfg)
		ctx, cancel := context.WithTimeout(ctx, tlsHandshakeTimeout)
		defer cancel()
		if err := conn.HandshakeContext(ctx); err != nil {
			_ = raw.Close() // the error to tell is the handshake's
			return nil, &dialError{err}
		}
		return &tlsConn{Conn: conn}, nil
	}
}

// tlsConn knows whether the node refused the client's certificate. With TLS 1.3
// the client hears of that at its first read, its request sent and not served.
type tlsConn struct {
	*tls.Conn
	answered atomic.Bool // the node has sent something, so it took the certificate
}

// Read implements net.Conn.
func (c *tlsConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.answered.Store(true)
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "remote error" && !c.answered.Load() {
		err = &dialError{err}
	}
	return n, err
}
