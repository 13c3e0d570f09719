// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package logs

import (
	"context"
	"errors"
	"net"
	"os"
	"time"
)

// serverTimeout bounds a dial and one write to a server.
const serverTimeout = 2 * time.Second

// conn is a connection that is dialled when it is needed.
type conn struct {
	networks []string // tried in order
	address  string
	c        net.Conn // nil where there is none
}

// use returns a connection that the other side has not closed, as far as is known.
func (c *conn) use(ctx context.Context) (net.Conn, error) {
	if c.c != nil && c.gone() {
		c.reset()
	}
	if c.c == nil {
		d := net.Dialer{Timeout: serverTimeout}
		var errs []error
		for _, network := range c.networks {
			n, err := d.DialContext(ctx, network, c.address)
			if err == nil {
				c.c = n
				break
			}
			errs = append(errs, err)
		}
		if c.c == nil {
			return nil, errors.Join(errs...)
		}
	}
	return c.c, c.c.SetWriteDeadline(time.Now().Add(serverTimeout))
}

// gone looks whether a stream has ended. The first write after that would
// succeed, and its lines would be lost.
func (c *conn) gone() bool {
	if n := c.c.RemoteAddr().Network(); n != "tcp" && n != "unix" {
		return false
	}
	if err := c.c.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
		return true
	}
	_, err := c.c.Read(make([]byte, 512)) // what a server says is no news
	return err != nil && !errors.Is(err, os.ErrDeadlineExceeded)
}

// reset closes the connection; the next use dials.
func (c *conn) reset() {
	if c.c != nil {
		_ = c.c.Close() // it was given up
		c.c = nil
	}
}

func (c *conn) close() error {
	if c.c == nil {
		return nil
	}
	return c.c.Close()
}
