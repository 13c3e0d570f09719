// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package node

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
)

// noCerts is a Security that never gets as far as a certificate.
type noCerts struct{}

func (noCerts) Server() *tls.Config                      { return &tls.Config{MinVersion: tls.VersionTLS13} }
func (noCerts) HTTPS() *tls.Config                       { return &tls.Config{MinVersion: tls.VersionTLS13} }
func (noCerts) Node(tls.ConnectionState) (string, error) { return "", errors.New("nothing is proven") }
func (noCerts) Expirations() map[string]time.Time        { return nil }
func (noCerts) Dial(node string) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS13, ServerName: node}
}

// silent is a network whose other end never says a word.
type silent struct {
	Network
	other net.Conn
}

func (s *silent) Dial(context.Context, string) (net.Conn, error) {
	conn, other := net.Pipe()
	s.other = other
	go func() { // ends with the pipe
		b := make([]byte, 4096)
		for {
			if _, err := other.Read(b); err != nil {
				return
			}
		}
	}()
	return conn, nil
}

// A peer that stops in the middle of the handshake holds neither side for
// longer than handshakeTimeout. Without the deadline that handshake sets, and
// the bound of dial's context, the bubble deadlocks.
func TestHandshakeTimeout(t *testing.T) {
	t.Run("accepted", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			raw, peer := net.Pipe()
			defer func() { _ = peer.Close() }()
			m := &mux{node: "a", log: hclog.NewNullLogger()}
			conn := &securedConn{tls.Server(raw, noCerts{}.Server()), noCerts{}}
			start := time.Now()
			_, _, err := m.handshake(conn)
			if !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != handshakeTimeout {
				t.Errorf("after %v: %v", time.Since(start), err)
			}
			_ = conn.Close()
		})
	})
	t.Run("dialed", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			const address = "127.0.0.2:8300"
			net := &silent{}
			m := &mux{node: "a", network: secure(net, noCerts{}, []Server{{Name: "b", Address: address}}), names: map[string]string{address: "b"}}
			start := time.Now()
			_, err := m.dial(t.Context(), address, route{connRaft, "default"})
			if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != handshakeTimeout {
				t.Errorf("after %v: %v", time.Since(start), err)
			}
			_ = net.other.Close()
		})
	})
}

// With TLS a node dials those alone whose name it knows.
func TestUnknownAddress(t *testing.T) {
	n := secure(&silent{}, noCerts{}, []Server{{Name: "b", Address: "127.0.0.2:8300"}})
	if _, err := n.Dial(t.Context(), "127.0.0.3:8300"); err == nil || !strings.Contains(err.Error(), "127.0.0.3:8300 is the address of no server") {
		t.Errorf("error is %v", err)
	}
}

// What others can reach has TLS.
func TestListenerRules(t *testing.T) {
	base := Config{Cluster: "c", ClusterID: "c-1", Node: "a", NodeID: "a-1", Stores: []Store{{Path: "/data"}},
		Servers: []Server{{Name: "a", Address: "10.0.0.1:8300", Voter: true}}, AdvertiseAddress: "10.0.0.1:8300"}
	for _, tc := range []struct {
		name   string
		change func(*Config)
		says   string
	}{
		{"TLS beyond loopback", func(c *Config) { c.BindAddress, c.Security = "10.0.0.1", noCerts{} }, ""},
		{"everywhere", func(c *Config) { c.BindAddress, c.Security = "0.0.0.0", noCerts{} }, ""},
		{"no TLS beyond loopback", func(c *Config) { c.BindAddress = "10.0.0.1" }, "BindAddress"},
		{"plain HTTP beyond loopback", func(c *Config) { c.HTTPAddress, c.Security = "10.0.0.1:8500", noCerts{} }, "HTTPAddress"},
		{"a name", func(c *Config) { c.BindAddress, c.Security = "db1", noCerts{} }, "BindAddress"},
		{"no port", func(c *Config) { c.HTTPSAddress, c.Security = "10.0.0.1", noCerts{} }, "HTTPSAddress"},
		{"one address for both", func(c *Config) { c.HTTPSAddress, c.Security = "127.0.0.1:8500", noCerts{} }, "HTTPSAddress"},
		{"nobody can dial it", func(c *Config) {
			c.AdvertiseAddress, c.Security = "0.0.0.0:8300", noCerts{}
			c.Servers = []Server{{Name: "a", Address: "0.0.0.0:8300", Voter: true}}
		}, "AdvertiseAddress"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := base
			tc.change(&c)
			err := c.Validate()
			switch {
			case tc.says == "" && err != nil:
				t.Error(err)
			case tc.says != "" && (!errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), ": "+tc.says+" = ")):
				t.Errorf("error is %v", err)
			}
		})
	}
	c := base
	c.BindAddress, c.Security = "10.0.0.1", noCerts{}
	c.setDefaults()
	if c.HTTPAddress != "127.0.0.1:8500" || c.HTTPSAddress != "10.0.0.1:8501" {
		t.Errorf("defaults: %s, %s", c.HTTPAddress, c.HTTPSAddress)
	}
}
