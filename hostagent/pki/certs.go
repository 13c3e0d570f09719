// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package pki

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
)

// PollInterval is how soon a file that was replaced is noticed without a
// signal.
const PollInterval = 10 * time.Second

// Certs are the certificates of a process, kept up to date. A configuration
// that it gave follows them: every handshake uses what was loaded last.
//
// Goroutines: none but the one that the owner runs Watch in.
type Certs struct {
	paths   Paths
	want    Identity
	options Options
	current atomic.Pointer[Bundle]
	wake    chan struct{} // Wake → Watch; depth 1; never closed

	mu struct {
		sync.Mutex // held while files are read, which a disk may make long; no handshake takes it
		seen       stamp
		failure    string // the newest, so that it is logged once
	}
}

// Options of Certs.
type Options struct {
	// AnyClient lets clients of HTTPS in without a certificate. Servers always
	// need one.
	AnyClient bool
	Logger    hclog.Logger
	now       func() time.Time // of the clock; time.Now by default
}

// Open loads the certificates. It fails where Load does.
func Open(paths Paths, want Identity, options Options) (*Certs, error) {
	if options.Logger == nil {
		options.Logger = hclog.NewNullLogger()
	}
	if options.now == nil {
		options.now = time.Now
	}
	c := &Certs{paths: paths, want: want, options: options, wake: make(chan struct{}, 1)}
	seen := stampOf(paths)
	b, err := Load(paths, want, options.now())
	if err != nil {
		return nil, err
	}
	c.current.Store(b)
	c.mu.seen = seen
	return c, nil
}

// Current is what was loaded last.
func (c *Certs) Current() *Bundle { return c.current.Load() }

// Reload reads the files again. Where they are refused, what was there before
// stays in force. Connections that are open go on either way.
func (c *Certs) Reload() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reloadLocked(stampOf(c.paths))
}

func (c *Certs) reloadLocked(seen stamp) error {
	b, err := Load(c.paths, c.want, c.options.now())
	if err != nil {
		return err // seen stays: the next poll tries again
	}
	c.mu.seen, c.mu.failure = seen, ""
	c.current.Store(b)
	c.options.Logger.Info("certificates loaded", "name", b.Self.Name, "valid_until", instant(b.Leaf.NotAfter),
		"ca_valid_until", instant(b.signer.NotAfter), "cas", len(b.CAs))
	return nil
}

// poll reloads if a file was replaced since, or if it must.
func (c *Certs) poll(must bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	seen := stampOf(c.paths)
	if seen.same(&c.mu.seen) && !must {
		return
	}
	if err := c.reloadLocked(seen); err != nil && (must || err.Error() != c.mu.failure) {
		c.mu.failure = err.Error()
		c.options.Logger.Error("certificates are refused: those from before stay in force", "error", err)
	}
}

// Wake makes Watch reload now. It does not wait: a disk may hang.
func (c *Certs) Wake() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Watch reloads when a file was replaced, until ctx ends.
func (c *Certs) Watch(ctx context.Context, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			c.poll(false)
		case <-c.wake:
			c.poll(true)
		case <-ctx.Done():
			return
		}
	}
}

// stamp tells versions of the three files apart: by the file, for what write
// replaces may be as long and, on a coarse clock, as old.
type stamp [3]os.FileInfo

func stampOf(p Paths) (s stamp) {
	for i, path := range []string{p.CA, p.Cert, p.Key} {
		if fi, err := os.Stat(path); err == nil { // what is missing is told by Load
			s[i] = fi
		}
	}
	return s
}

func (s *stamp) same(t *stamp) bool {
	for i := range s {
		a, b := s[i], t[i]
		switch {
		case (a == nil) != (b == nil):
			return false
		case a != nil && (!os.SameFile(a, b) || !a.ModTime().Equal(b.ModTime()) || a.Size() != b.Size() || a.Mode() != b.Mode()):
			return false
		}
	}
	return true
}

// Expirations are the ends of the certificates in use, by file name without
// extension: ca, that signed the other, and node.
func (c *Certs) Expirations() map[string]time.Time {
	b := c.current.Load()
	return map[string]time.Time{"ca": b.signer.NotAfter, string(b.Self.Role): b.Leaf.NotAfter}
}

// rpcProtocol is what servers speak to each other, in ALPN's words.
const rpcProtocol = "holdfast-rpc"

// Server is for a listener that other nodes of the cluster connect to.
func (c *Certs) Server() *tls.Config {
	return c.follow(func(b *Bundle) *tls.Config {
		cfg := b.config(rpcProtocol)
		cfg.ClientAuth, cfg.ClientCAs = tls.RequireAndVerifyClientCert, b.pool
		cfg.VerifyConnection = func(s tls.ConnectionState) error { _, err := b.node(s); return err }
		return cfg
	})
}

// HTTPS is for a listener that nodes and clients of the cluster connect to.
func (c *Certs) HTTPS() *tls.Config {
	return c.follow(func(b *Bundle) *tls.Config {
		cfg := b.config("http/1.1")
		if !c.options.AnyClient {
			cfg.ClientAuth, cfg.ClientCAs = tls.RequireAndVerifyClientCert, b.pool
			cfg.VerifyConnection = func(s tls.ConnectionState) error { _, err := b.peer(s); return err }
		}
		return cfg
	})
}

// follow is a listener's configuration that asks for each handshake.
func (c *Certs) follow(of func(*Bundle) *tls.Config) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return of(c.current.Load()), nil
		},
	}
}

// Dial is for one connection to the node of a name, and to nobody else.
func (c *Certs) Dial(node string) *tls.Config {
	b := c.current.Load()
	cfg := b.config(rpcProtocol)
	cfg.RootCAs = b.pool
	cfg.ServerName = Identity{Cluster: b.Self.Cluster, Role: Node, Name: node}.DNSName()
	cfg.VerifyConnection = func(s tls.ConnectionState) error {
		name, err := b.node(s)
		if err == nil && name != node {
			err = fmt.Errorf("it is node %q, %q was looked for", name, node)
		}
		return err
	}
	return cfg
}

// Node is the name of the node at the other end of a connection of Server or
// Dial.
func (c *Certs) Node(s tls.ConnectionState) (string, error) { return c.current.Load().node(s) }

func (b *Bundle) config(protocol string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{b.pair}, NextProtos: []string{protocol},
		SessionTicketsDisabled: true,
	}
}

// peer is who is at the other end. The chain was verified.
func (b *Bundle) peer(s tls.ConnectionState) (Identity, error) {
	if len(s.PeerCertificates) == 0 {
		return Identity{}, errors.New("the other end has no certificate")
	}
	id, err := IdentityOf(s.PeerCertificates[0])
	if err == nil && id.Cluster != b.Self.Cluster {
		err = fmt.Errorf("the other end is of cluster %s, this node of %s", id.Cluster, b.Self.Cluster)
	}
	return id, err
}

func (b *Bundle) node(s tls.ConnectionState) (string, error) {
	id, err := b.peer(s)
	if err == nil && id.Role != Node {
		err = fmt.Errorf("the other end is the %s %q, and no node", id.Role, id.Name)
	}
	return id.Name, err
}
