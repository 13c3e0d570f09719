// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package pki

import (
	"crypto/ecdsa"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const (
	ours   = "5f1d3c52-0000-4000-8000-000000000001"
	theirs = "5f1d3c52-0000-4000-8000-000000000002"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func newCA(t testing.TB, cluster string) *CA {
	t.Helper()
	return must[*CA](t)(NewCA(cluster, now.Add(-time.Hour), CALifetime))
}

func newKey(t testing.TB) *ecdsa.PrivateKey { t.Helper(); return must[*ecdsa.PrivateKey](t)(NewKey()) }

// issue writes a certificate with a new key.
func issue(t testing.TB, ca *CA, id Identity, to Paths) {
	t.Helper()
	key := newKey(t)
	var hosts []string
	if id.Role == Node {
		hosts = []string{"127.0.0.1"}
	}
	cert := must[*x509.Certificate](t)(ca.Sign(key.Public(), id, hosts, now, LeafLifetime))
	check(t, WriteKey(to.Key, key))
	check(t, WriteCerts(to.Cert, cert))
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// nodeDir is a directory of the node a of our cluster.
func nodeDir(t testing.TB, ca *CA) Dir {
	t.Helper()
	d := Dir(filepath.Join(t.TempDir(), "certs"))
	check(t, d.Make())
	check(t, WriteCerts(d.CA(), ca.Cert))
	issue(t, ca, Identity{ours, Node, "a"}, d.Node())
	return d
}

// Each row spoils a directory that loads. Without its row of checks in Load,
// the directory is taken.
func TestRefusals(t *testing.T) {
	ca := newCA(t, ours)
	for _, tc := range []struct {
		name  string
		spoil func(t *testing.T, d Dir)
		at    time.Time // now by default
		field string
		says  []string
	}{
		{name: "well", spoil: func(*testing.T, Dir) {}},
		{name: "wrong CA", spoil: func(t *testing.T, d Dir) { check(t, WriteCerts(d.CA(), newCA(t, ours).Cert)) },
			field: "the CA", says: []string{"node.crt", "one of ", "ca.crt", "unknown authority"}},
		{name: "both are of another cluster", spoil: func(t *testing.T, d Dir) {
			other := newCA(t, theirs)
			check(t, WriteCerts(d.CA(), other.Cert))
			issue(t, other, Identity{theirs, Node, "a"}, d.Node())
		}, field: "cluster", says: []string{"ca.crt", ours, theirs}},
		{name: "a CA of another cluster beside ours", spoil: func(t *testing.T, d Dir) { check(t, WriteCerts(d.CA(), ca.Cert, newCA(t, theirs).Cert)) },
			field: "cluster", says: []string{"ca.crt", ours, theirs}},
		{name: "the node's is of another cluster", spoil: func(t *testing.T, d Dir) { issue(t, newCA(t, theirs), Identity{theirs, Node, "a"}, d.Node()) },
			field: "cluster", says: []string{"node.crt", ours, theirs}},
		{name: "a leaf for a CA", spoil: func(t *testing.T, d Dir) {
			certs := must[[]*x509.Certificate](t)(ReadCerts(d.Node().Cert))
			check(t, WriteCerts(d.CA(), certs...))
		}, field: "a certificate", says: []string{"a CA of Holdfast's"}},
		{name: "expired", spoil: func(*testing.T, Dir) {}, at: now.Add(LeafLifetime + time.Second),
			field: "valid until", says: []string{"node.crt", "2027-03-01T12:00:00Z", "2027-03-01T12:00:01Z"}},
		{name: "not yet valid", spoil: func(*testing.T, Dir) {}, at: now.Add(-backdate - time.Second),
			field: "valid from", says: []string{"2026-03-01T11:55:00Z", "2026-03-01T11:54:59Z"}},
		{name: "the CA expired", spoil: func(*testing.T, Dir) {}, at: now.Add(CALifetime),
			field: "valid until", says: []string{"ca.crt"}},
		{name: "wrong name", spoil: func(t *testing.T, d Dir) { issue(t, ca, Identity{ours, Node, "b"}, d.Node()) },
			field: "name", says: []string{`"b"`, `"a"`}},
		{name: "a client's", spoil: func(t *testing.T, d Dir) { issue(t, ca, Identity{ours, Client, "a"}, d.Node()) },
			field: "role", says: []string{`"client"`, `"node"`}},
		{name: "key readable", spoil: func(t *testing.T, d Dir) { check(t, os.Chmod(d.Node().Key, 0o644)) },
			field: "mode", says: []string{"node.key", "0644", "0600"}},
		{name: "CA writable", spoil: func(t *testing.T, d Dir) { check(t, os.Chmod(d.CA(), 0o620)) },
			field: "mode", says: []string{"ca.crt", "0620"}},
		{name: "directory writable", spoil: func(t *testing.T, d Dir) { check(t, os.Chmod(string(d), 0o770)) },
			field: "mode", says: []string{"0770"}},
		{name: "key of another", spoil: func(t *testing.T, d Dir) { check(t, WriteKey(d.Node().Key, newKey(t))) },
			field: "the key", says: []string{"node.key", "node.crt"}},
		{name: "key torn", spoil: func(t *testing.T, d Dir) { check(t, os.Truncate(d.Node().Key, 100)) },
			field: "the content", says: []string{"node.key"}},
		{name: "no key", spoil: func(t *testing.T, d Dir) { check(t, os.Remove(d.Node().Key)) },
			field: "the file", says: []string{"node.key", "missing"}},
		{name: "no CA", spoil: func(t *testing.T, d Dir) { check(t, os.Truncate(d.CA(), 0)) },
			field: "the content", says: []string{"ca.crt", "there is none"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := nodeDir(t, ca)
			secret, err := os.ReadFile(d.Node().Key)
			check(t, err)
			tc.spoil(t, d)
			at := now
			if !tc.at.IsZero() {
				at = tc.at
			}
			_, err = Load(d.Node(), Identity{ours, Node, "a"}, at)
			if tc.field == "" {
				check(t, err)
				return
			}
			r, ok := errors.AsType[*Refusal](err)
			if !ok {
				t.Fatalf("error is %v", err)
			}
			if r.Field != tc.field || r.Next == "" {
				t.Errorf("field %q, wanted %q: %v", r.Field, tc.field, r)
			}
			for _, s := range tc.says {
				if !strings.Contains(r.Error(), s) {
					t.Errorf("%q does not say %q", r, s)
				}
			}
			for line := range strings.Lines(string(secret)) {
				if strings.Contains(r.Error()+r.Next, strings.TrimSpace(line)) {
					t.Errorf("%q tells of the key", r)
				}
			}
		})
	}
}

// An old CA in the bundle that has expired does no harm.
func TestExpiredBesideValid(t *testing.T) {
	ca := newCA(t, ours)
	d := nodeDir(t, ca)
	old := must[*CA](t)(NewCA(ours, now.Add(-time.Hour), time.Minute))
	check(t, WriteCerts(d.CA(), ca.Cert, old.Cert))
	b := must[*Bundle](t)(Load(d.Node(), Identity{}, now))
	if len(b.CAs) != 1 {
		t.Errorf("%d CAs", len(b.CAs))
	}
}

func TestFiles(t *testing.T) {
	d := nodeDir(t, newCA(t, ours))
	files, err := os.ReadDir(string(d))
	check(t, err)
	if len(files) != 3 {
		t.Errorf("files: %v", files)
	}
	for _, f := range files {
		fi, err := f.Info()
		check(t, err)
		if fi.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", f.Name(), fi.Mode())
		}
	}
	check(t, os.Chmod(string(d), 0o755))
	if r, ok := errors.AsType[*Refusal](d.Make()); !ok || r.Field != "mode" {
		t.Errorf("a directory that others read was taken: %v", r)
	}
}

// What a CA signs, and what not.
func TestSign(t *testing.T) {
	ca, key := newCA(t, ours), newKey(t)
	cert := must[*x509.Certificate](t)(ca.Sign(key.Public(), Identity{ours, Node, "A1"}, []string{"10.0.0.1", "db.example.com"}, now, 2*CALifetime))
	if !cert.NotAfter.Equal(ca.Cert.NotAfter) {
		t.Errorf("valid until %v, the CA until %v", cert.NotAfter, ca.Cert.NotAfter)
	}
	if ca.Cert.MaxPathLen != 0 || !ca.Cert.MaxPathLenZero || len(ca.Cert.PermittedDNSDomains) != 0 {
		t.Errorf("the CA may sign CAs, or has constraints: %+v", ca.Cert)
	}
	for _, name := range []string{"10.0.0.1", "db.example.com", "a1." + ours + ".holdfast"} {
		if err := cert.VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}
	for _, tc := range []struct {
		id    Identity
		hosts []string
	}{
		{Identity{theirs, Node, "a"}, nil}, {Identity{ours, Node, "a/b"}, nil}, {Identity{ours, Node, ""}, nil},
		{Identity{ours, Authority, ""}, nil}, {Identity{ours, "admin", "a"}, nil}, {Identity{ours, Client, "a"}, []string{"10.0.0.1"}},
	} {
		if _, err := ca.Sign(key.Public(), tc.id, tc.hosts, now, time.Hour); err == nil {
			t.Errorf("%v %q was signed", tc.id, tc.hosts)
		}
	}
}

// A request gives its key and nothing else to the certificate.
func TestRequest(t *testing.T) {
	key := newKey(t)
	der := must[[]byte](t)(NewRequest(key))
	path := filepath.Join(t.TempDir(), "node.csr")
	check(t, WriteRequest(path, der))
	der = must[[]byte](t)(ReadRequest(path))
	pub, err := RequestedKey(der)
	check(t, err)
	if !sameKey(pub, key.Public()) {
		t.Error("it is another key")
	}
	der[len(der)-1] ^= 1
	if _, err := RequestedKey(der); err == nil {
		t.Error("a request was taken whose sender does not have the key")
	}
}
