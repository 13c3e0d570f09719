// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cluster

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/api"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/node"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/pki"
)

const clusterID = "5f1d3c52-0000-4000-8000-0000000000aa"

// authority issues the certificates of a cluster into directories.
type authority struct {
	tb   testing.TB
	root string
	ca   *pki.CA
}

func newAuthority(tb testing.TB) *authority {
	a := &authority{tb: tb, root: tb.TempDir()}
	a.newCA()
	return a
}

func (a *authority) fatal(err error) {
	a.tb.Helper()
	if err != nil {
		a.tb.Fatal(err)
	}
}

func (a *authority) newCA() *x509.Certificate {
	ca, err := pki.NewCA(clusterID, time.Now(), pki.CALifetime)
	a.fatal(err)
	a.ca = ca
	return ca.Cert
}

func (a *authority) dir(name string) pki.Dir {
	d := pki.Dir(filepath.Join(a.root, name))
	a.fatal(d.Make())
	return d
}

func (a *authority) trust(name string, cas ...*x509.Certificate) {
	a.fatal(pki.WriteCerts(a.dir(name).CA(), cas...))
}

func (a *authority) issue(name string, role pki.Role) {
	key, err := pki.NewKey()
	a.fatal(err)
	var hosts []string
	if role == pki.Node {
		hosts = []string{"127.0.0.1"}
	}
	cert, err := a.ca.Sign(key.Public(), pki.Identity{Cluster: clusterID, Role: role, Name: name}, hosts, time.Now(), time.Hour)
	a.fatal(err)
	p := a.dir(name).Node()
	a.fatal(pki.WriteKey(p.Key, key))
	a.fatal(pki.WriteCerts(p.Cert, cert))
}

func (a *authority) open(name string, role pki.Role) *pki.Certs {
	certs, err := pki.Open(a.dir(name).Node(), pki.Identity{Cluster: clusterID, Role: role, Name: name}, pki.Options{})
	a.fatal(err)
	return certs
}

// client is what a program that starts now would use.
func (a *authority) client(name string, c *Cluster) *api.Client {
	b, err := pki.Load(a.dir(name).Node(), pki.Identity{}, time.Now())
	a.fatal(err)
	var urls []string
	for _, n := range c.Names() {
		urls = append(urls, "https://"+c.Node(n).HTTPSAddr())
	}
	client, err := api.New(api.Config{Addresses: urls, TLS: &tls.Config{
		MinVersion: tls.VersionTLS13, RootCAs: b.Pool(), Certificates: []tls.Certificate{b.Certificate()},
	}})
	a.fatal(err)
	return client
}

// secureCluster is three servers with TLS between them, and their certificates.
func secureCluster(tb testing.TB, configure ...func(*node.Config)) (*Cluster, *authority, map[string]*pki.Certs) {
	a := newAuthority(tb)
	certs := make(map[string]*pki.Certs)
	for _, name := range []string{"a", "b", "c"} {
		a.trust(name, a.ca.Cert)
		a.issue(name, pki.Node)
		certs[name] = a.open(name, pki.Node)
	}
	a.trust("root", a.ca.Cert)
	a.issue("root", pki.Client)
	c := New(tb, Options{ID: clusterID, Configure: func(cfg *node.Config) {
		cfg.Security, cfg.HTTPSAddress = certs[cfg.Node], "127.0.0.1:0"
		for _, change := range configure {
			change(cfg)
		}
	}})
	return c, a, certs
}

// TestTLSRotation changes the CA and every certificate of a cluster under load:
// no request fails, and at the end nothing of the old CA is left. Each request
// is a connection of its own, and connections between nodes are broken at each
// step, so that every pair shakes hands with what it has then.
//
// Without the steps in which both CAs are trusted it fails: seen with the first
// "both" left out.
func TestTLSRotation(t *testing.T) {
	c, a, certs := secureCluster(t)
	c.Leader("default")
	old := a.ca.Cert
	var clients sync.RWMutex // the client's files change as a whole
	var stop atomic.Bool
	var writes atomic.Int64
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for n := 0; !stop.Load(); n++ {
				clients.RLock()
				client := a.client("root", c)
				clients.RUnlock()
				ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
				err := client.Put(ctx, fmt.Sprintf("k/%d/%d", i, n), []byte("v"), api.Write{})
				cancel()
				client.Close()
				if err != nil {
					t.Errorf("write %d of %d: %v", n, i, err)
					return
				}
				writes.Add(1)
			}
		})
	}
	finish := func() { stop.Store(true); wg.Wait() }
	defer finish()
	settle := func(step string) {
		t.Helper()
		from := writes.Load()
		for leader, names := c.Leader("default"), c.Names(); len(names) > 0; names = names[1:] {
			if names[0] != leader {
				c.Isolate(names[0], true)
				c.Isolate(names[0], false)
			}
		}
		for end := time.Now().Add(20 * time.Second); writes.Load() < from+20 && time.Now().Before(end) && !t.Failed(); time.Sleep(time.Millisecond) {
		}
		if writes.Load() < from+20 {
			t.Fatalf("%s: writes stopped", step)
		}
	}
	each := func(step string, do func(name string, role pki.Role)) {
		for _, name := range c.Names() {
			do(name, pki.Node)
			if err := certs[name].Reload(); err != nil {
				t.Fatalf("%s: %s: %v", step, name, err)
			}
			settle(step + " at " + name)
		}
		clients.Lock()
		do("root", pki.Client)
		clients.Unlock()
		settle(step)
	}
	settle("before")
	fresh := a.newCA()
	each("both", func(name string, _ pki.Role) { a.trust(name, fresh, old) })
	each("certificates", a.issue)
	each("the new one", func(name string, _ pki.Role) { a.trust(name, fresh) })
	finish()
	for _, name := range c.Names() {
		if got := certs[name].Current(); len(got.CAs) != 1 || !got.CAs[0].Equal(fresh) {
			t.Errorf("node %s trusts %d CAs", name, len(got.CAs))
		}
	}
	c.Stop("a")
	c.Start("a")
	client := a.client("root", c)
	defer client.Close()
	if err := client.Put(t.Context(), "end", []byte("v"), api.Write{}); err != nil {
		t.Error(err)
	}
}

// TestTLSImpostor: a node of the cluster that says it is another one is
// refused, with words, and so is one that the list of servers does not have.
// Seen to be let in with recognize taken out of the handshake.
func TestTLSImpostor(t *testing.T) {
	c, a, _ := secureCluster(t)
	a.trust("z", a.ca.Cert)
	a.issue("z", pki.Node)
	for _, tc := range []struct{ as, from, says string }{
		{"b", "b", ""},
		{"b", "c", `that of node "b", the caller says it is "c"`},
		{"z", "z", `"z" is not in the list of servers`},
	} {
		address := net.JoinHostPort("127.0.0.1", fmt.Sprint(c.Config("a").ServerPort))
		conn, err := tls.Dial("tcp", address, a.open(tc.as, pki.Node).Dial("a"))
		if err != nil {
			t.Fatal(err)
		}
		body := []byte{}
		for _, s := range []string{clusterID, "default", tc.from, "a"} {
			body = append(append(body, byte(len(s))), s...)
		}
		preamble := binary.LittleEndian.AppendUint16([]byte("HFRP\x01\x02"), uint16(len(body)))
		if _, err := conn.Write(append(preamble, body...)); err != nil {
			t.Fatal(err)
		}
		head := make([]byte, 3)
		if _, err := io.ReadFull(conn, head); err != nil {
			t.Fatal(err)
		}
		text := make([]byte, binary.LittleEndian.Uint16(head[1:]))
		if _, err := io.ReadFull(conn, text); err != nil {
			t.Fatal(err)
		}
		if (head[0] == 0) != (tc.says == "") || !strings.Contains(string(text), tc.says) {
			t.Errorf("%s as %s: %d %q", tc.as, tc.from, head[0], text)
		}
		_ = conn.Close()
	}
}

// TestTLSMetrics: when certificates end is among the metrics.
func TestTLSMetrics(t *testing.T) {
	c, _, certs := secureCluster(t)
	want := certs["a"].Current().Leaf.NotAfter.Unix()
	Eventually(t, "the gauges", func() error {
		resp, err := http.Get("http://" + c.Node("a").HTTPAddr() + "/v1/agent/metrics?format=prometheus")
		if err != nil {
			return err
		}
		defer func() { _ = resp.Body.Close() }() // read only
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			return err
		}
		var got float64
		for line := range strings.Lines(string(b)) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
			if strings.HasSuffix(name, "security_certificate_expiration_node") {
				got, _ = strconv.ParseFloat(value, 64)
			}
		}
		if d := int64(got) - want; d < -60 || d > 60 { // all nodes of this process share the gauge
			return fmt.Errorf("the gauge is %v, wanted %d", got, want)
		}
		return nil
	})
}

// TestTLSClients: who gets an answer of the HTTP API over TLS, and that a
// client that was refused knows that nothing was written.
func TestTLSClients(t *testing.T) {
	c, a, _ := secureCluster(t)
	c.Leader("default")
	client := a.client("root", c)
	defer client.Close()
	if err := client.Put(t.Context(), "k", []byte("v"), api.Write{}); err != nil {
		t.Error(err)
	}
	b := a.open("root", pki.Client).Current()
	for name, cfg := range map[string]*tls.Config{
		"no certificate": {MinVersion: tls.VersionTLS13, RootCAs: b.Pool()},
		"no trust":       {MinVersion: tls.VersionTLS13, RootCAs: x509.NewCertPool(), Certificates: []tls.Certificate{b.Certificate()}},
		"wrong name":     {MinVersion: tls.VersionTLS13, RootCAs: b.Pool(), Certificates: []tls.Certificate{b.Certificate()}, ServerName: "z." + clusterID + ".holdfast"},
	} {
		refused, err := api.New(api.Config{Addresses: []string{"https://" + c.Node("a").HTTPSAddr()}, TLS: cfg})
		if err != nil {
			t.Fatal(err)
		}
		err = refused.Put(t.Context(), "k", []byte("v"), api.Write{})
		if !errors.Is(err, api.ErrNotReached) {
			t.Errorf("%s: %v", name, err)
		}
		refused.Close()
	}
}

// BenchmarkPutTLS is BenchmarkPut over HTTP/HTTPS, without and with TLS
// everywhere. Connections are kept, as a program keeps them.
func BenchmarkPutTLS(b *testing.B) {
	for _, secured := range []bool{false, true} {
		for _, clients := range []int{1, 64} {
			b.Run(fmt.Sprintf("tls=%v/clients=%d", secured, clients), func(b *testing.B) {
				var c *Cluster
				var client *api.Client
				if secured {
					var a *authority
					c, a, _ = secureCluster(b, production)
					client = a.client("root", c)
				} else {
					c = New(b, Options{Configure: production})
					var err error
					if client, err = api.New(api.Config{Addresses: []string{c.Node("a").HTTPAddr()}}); err != nil {
						b.Fatal(err)
					}
				}
				defer client.Close()
				c.Leader("default")
				value := bytes.Repeat([]byte{'v'}, valueBytes)
				load(b, clients, func(i, n int) error {
					return client.Put(b.Context(), fmt.Sprintf("bench/%d/%d", i, n%100), value, api.Write{})
				})
			})
		}
	}
}
