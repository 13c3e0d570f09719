// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package pki

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
)

func open(t testing.TB, p Paths, o Options) *Certs {
	t.Helper()
	o.now = func() time.Time { return now }
	return must[*Certs](t)(Open(p, Identity{}, o))
}

// shake makes a connection between two configurations and sends a byte each
// way, which with TLS 1.3 is when the client hears that it was refused.
func shake(t testing.TB, server, client *tls.Config) (s, c *tls.Conn, err error) {
	t.Helper()
	at := func(cfg *tls.Config) *tls.Config {
		cfg = cfg.Clone()
		cfg.Time = func() time.Time { return now }
		return cfg
	}
	if of := server.GetConfigForClient; of != nil {
		server = server.Clone()
		server.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
			cfg, err := of(h)
			return at(cfg), err
		}
	}
	a, b := connect(t) // buffered: TLS may have both ends write at once
	s, c = tls.Server(a, server), tls.Client(b, at(client))
	t.Cleanup(func() { _, _ = a.Close(), b.Close() })
	served := make(chan error, 1)
	go func() { // ends with the pipe
		one := make([]byte, 1)
		_, err := s.Read(one)
		if err == nil {
			_, err = s.Write(one)
		}
		if err != nil {
			_ = a.Close()
		}
		served <- err
	}()
	err = speak(c)
	if err != nil {
		_ = b.Close()
	}
	return s, c, errors.Join(err, <-served)
}

// connect makes a TCP connection.
func connect(t testing.TB) (a, b net.Conn) {
	t.Helper()
	ln := must[net.Listener](t)(net.Listen("tcp", "127.0.0.1:0"))
	defer func() { _ = ln.Close() }()
	b = must[net.Conn](t)(net.Dial("tcp", ln.Addr().String()))
	return must[net.Conn](t)(ln.Accept()), b
}

func speak(c net.Conn) error {
	if _, err := c.Write([]byte{7}); err != nil {
		return err
	}
	_, err := c.Read(make([]byte, 1))
	return err
}

// Who is let in where. Each row was seen to fail with what refuses it taken
// out of Server, HTTPS or Dial.
func TestHandshakes(t *testing.T) {
	ca, foreign, strange := newCA(t, ours), newCA(t, theirs), newCA(t, ours)
	a := open(t, nodeDir(t, ca).Node(), Options{})
	lax := open(t, nodeDir(t, ca).Node(), Options{AnyClient: true})
	as := func(ca *CA, id Identity) *tls.Config { // that trusts ours, whoever it is itself
		d := nodeDir(t, newCA(t, ours))
		check(t, WriteCerts(d.CA(), ca.Cert))
		issue(t, ca, id, d.Node())
		cfg := open(t, d.Node(), Options{}).Dial("a")
		cfg.RootCAs, cfg.ServerName, cfg.VerifyConnection = a.Current().pool, "127.0.0.1", nil
		// Also where the server says that it will not take it.
		cert := cfg.Certificates[0]
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
		return cfg
	}
	nobody := as(ca, Identity{ours, Client, "root"})
	nobody.Certificates, nobody.GetClientCertificate = nil, nil
	old := nobody.Clone()
	old.MaxVersion, old.MinVersion = tls.VersionTLS12, tls.VersionTLS12
	web := func(c *tls.Config) *tls.Config { c = c.Clone(); c.NextProtos = nil; return c }
	otherNode := nodeDir(t, ca)
	issue(t, ca, Identity{ours, Node, "b"}, otherNode.Node())
	b := open(t, otherNode.Node(), Options{})

	twofold := nodeDir(t, ca)
	key := newKey(t)
	check(t, WriteKey(twofold.Node().Key, key))
	check(t, WriteCerts(twofold.Node().Cert, must[*x509.Certificate](t)(
		ca.Sign(key.Public(), Identity{ours, Node, "b"}, []string{Identity{ours, Node, "a"}.DNSName()}, now, time.Hour))))

	for _, tc := range []struct {
		name           string
		server, client *tls.Config
		says           string // empty: let in
	}{
		{"a node to a node", a.Server(), b.Dial("a"), ""},
		{"a node to itself", a.Server(), a.Dial("a"), ""},
		{"to the wrong node", b.Server(), a.Dial("a"), "not a." + ours},
		{"to the wrong node that has the right name too", open(t, twofold.Node(), Options{}).Server(), a.Dial("a"), `it is node "b", "a" was looked for`},
		{"a client to the servers' port", a.Server(), as(ca, Identity{ours, Client, "root"}), "and no node"},
		{"without a certificate", a.Server(), nobody, "didn't provide a certificate"},
		{"of another CA", a.Server(), as(strange, Identity{ours, Node, "b"}), "unknown authority"},
		{"of another cluster", a.Server(), as(foreign, Identity{theirs, Node, "b"}), "unknown authority"},
		{"TLS 1.2", a.Server(), old, "protocol version"},
		{"another protocol", a.Server(), func() *tls.Config { c := b.Dial("a"); c.NextProtos = []string{"http/1.1"}; return c }(), "no application protocol"},
		{"https: a client", a.HTTPS(), web(as(ca, Identity{ours, Client, "root"})), ""},
		{"https: a node", a.HTTPS(), web(as(ca, Identity{ours, Node, "b"})), ""},
		{"https: without a certificate", a.HTTPS(), web(nobody), "didn't provide a certificate"},
		{"https: of another cluster", a.HTTPS(), web(as(foreign, Identity{theirs, Client, "root"})), "unknown authority"},
		{"https without verification: nobody", lax.HTTPS(), web(nobody), ""},
		{"servers' port without verification: nobody", lax.Server(), nobody, "didn't provide a certificate"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, _, err := shake(t, tc.server, tc.client)
			switch {
			case tc.says == "" && err != nil:
				t.Error(err)
			case tc.says != "" && (err == nil || !strings.Contains(err.Error(), tc.says)):
				t.Errorf("error is %v, wanted one of %q", err, tc.says)
			}
		})
	}
}

// Whatever a CA of ours signed by mistake or by force is not of our cluster.
func TestClusterBesideChain(t *testing.T) {
	a := open(t, nodeDir(t, newCA(t, ours)).Node(), Options{})
	cert := a.Current().Leaf
	b := *a.Current()
	b.Self.Cluster = theirs
	if _, err := b.peer(tls.ConnectionState{PeerCertificates: append(a.Current().CAs[:0:0], cert)}); err == nil {
		t.Error("a certificate of another cluster passed")
	}
}

// A connection goes on while certificates change below it, and the next one has
// the new ones.
func TestRotation(t *testing.T) {
	before, after := newCA(t, ours), newCA(t, ours)
	d, e := nodeDir(t, before), nodeDir(t, before)
	issue(t, before, Identity{ours, Node, "b"}, e.Node())
	a, b := open(t, d.Node(), Options{}), open(t, e.Node(), Options{})
	server := a.Server() // as a listener has it: once
	s, c, err := shake(t, server, b.Dial("a"))
	check(t, err)

	steps := []struct {
		name string
		do   func()
	}{
		{"both CAs at a", func() { check(t, WriteCerts(d.CA(), after.Cert, before.Cert)) }},
		{"both CAs at b", func() { check(t, WriteCerts(e.CA(), after.Cert, before.Cert)) }},
		{"a's certificate", func() { issue(t, after, Identity{ours, Node, "a"}, d.Node()) }},
		{"b's certificate", func() { issue(t, after, Identity{ours, Node, "b"}, e.Node()) }},
		{"the new CA alone at a", func() { check(t, WriteCerts(d.CA(), after.Cert)) }},
		{"the new CA alone at b", func() { check(t, WriteCerts(e.CA(), after.Cert)) }},
	}
	for _, step := range steps {
		step.do()
		check(t, a.Reload())
		check(t, b.Reload())
		if _, _, err := shake(t, server, b.Dial("a")); err != nil {
			t.Errorf("%s: %v", step.name, err)
		}
		if _, _, err := shake(t, b.Server(), a.Dial("b")); err != nil {
			t.Errorf("%s: %v", step.name, err)
		}
	}
	go func() { one := make([]byte, 1); _, _ = s.Read(one); _, _ = s.Write(one) }() // its error is the client's
	if err := speak(c); err != nil {
		t.Errorf("the connection from before: %v", err)
	}
	stale := nodeDir(t, before)
	check(t, WriteCerts(stale.CA(), before.Cert, after.Cert))
	if _, _, err := shake(t, server, open(t, stale.Node(), Options{}).Dial("a")); err == nil {
		t.Error("a certificate of the CA that was retired is let in")
	}
	want := a.Current().Leaf.NotAfter
	if got := a.Expirations(); !got["node"].Equal(want) || !got["ca"].Equal(after.Cert.NotAfter) {
		t.Errorf("expirations: %v", got)
	}
}

// Files that were replaced are noticed; bad ones change nothing, are told of
// once, and are tried again.
func TestWatch(t *testing.T) {
	ca := newCA(t, ours)
	d := nodeDir(t, ca)
	var text bytes.Buffer // written in the bubble's Watch, read while that waits
	synctest.Test(t, func(t *testing.T) {
		c := open(t, d.Node(), Options{Logger: hclog.New(&hclog.LoggerOptions{Output: &text})})
		first := c.Current()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { c.Watch(ctx, PollInterval); close(done) }()
		wait := func(d time.Duration) { time.Sleep(d); synctest.Wait() }

		check(t, WriteKey(d.Node().Key, newKey(t)))
		wait(3 * PollInterval)
		if c.Current() != first {
			t.Error("a key that does not fit was taken")
		}
		if n := strings.Count(text.String(), "refused"); n != 1 {
			t.Errorf("told of %d times:\n%s", n, &text)
		}
		issue(t, ca, Identity{ours, Node, "a"}, d.Node())
		wait(PollInterval)
		second := c.Current()
		if second == first {
			t.Errorf("the new certificate was not taken:\n%s", &text)
		}
		wait(PollInterval)
		if c.Current() != second {
			t.Error("it was loaded again without need")
		}
		c.Wake()
		wait(0)
		if c.Current() == second {
			t.Error("Wake did not load")
		}
		check(t, os.Chmod(d.Node().Key, 0o644))
		wait(PollInterval)
		if !strings.Contains(text.String(), "0644") {
			t.Errorf("the mode was not noticed:\n%s", &text)
		}
		cancel()
		<-done
	})
	if strings.Contains(text.String(), "PRIVATE") {
		t.Errorf("the log has a key:\n%s", &text)
	}
}

func BenchmarkHandshake(b *testing.B) {
	ca := newCA(b, ours)
	c := open(b, nodeDir(b, ca).Node(), Options{})
	server := c.Server()
	for b.Loop() {
		s, cl, err := shake(b, server, c.Dial("a"))
		if err != nil {
			b.Fatal(err)
		}
		_, _ = s.NetConn().Close(), cl.NetConn().Close()
	}
}
