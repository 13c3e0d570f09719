// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package agent

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/pki"
)

const ordersID = "6f2d1c9e-7a53-4c1e-9a55-0f5b3d1c2e4f"

// Why a certificate is made anew, and why not.
func TestDue(t *testing.T) {
	now := time.Now()
	k := pki.NewKeyring(vfs.OS{}, pki.Dir(filepath.Join(t.TempDir(), "pki")))
	spec := func(change func(*agentapi.Spec)) *agentapi.Spec {
		s := &agentapi.Spec{Node: "a", BindAddress: "10.0.0.1", TLS: &agentapi.TLS{Hosts: []string{"db1.example.com", "2001:DB8::1"}, Rotation: "r"}}
		change(s)
		return s
	}
	same := spec(func(*agentapi.Spec) {})
	o := pki.Owner{ClusterName: "orders", Cluster: ordersID, Node: "a"}
	if err := k.MakeCA(o, "1", now); err != nil {
		t.Fatal(err)
	}
	hold := func(at time.Time) pki.Held {
		t.Helper()
		h, err := k.Held(at)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	if why := due(same, hold(now), now); why != "there is none" {
		t.Errorf("without one: %q", why)
	}
	if err := k.Issue(certificateHosts(same), "r", now); err != nil {
		t.Fatal(err)
	}
	fresh := hold(now)
	if err := k.MakeCA(o, "2", now); err != nil {
		t.Fatal(err)
	}
	rotating := hold(now)
	third := pki.LeafLifetime / 3
	for _, tc := range []struct {
		name string
		spec *agentapi.Spec
		held pki.Held
		at   time.Time
		says string
	}{
		{"as asked", same, fresh, now, ""},
		{"another host", spec(func(s *agentapi.Spec) { s.TLS.Hosts = []string{"db2.example.com"} }), fresh, now, "localhost, and shall be for 10.0.0.1, 127.0.0.1, ::1, a, a."},
		{"another address", spec(func(s *agentapi.Spec) { s.BindAddress = "10.0.0.2" }), fresh, now, "10.0.0.2"},
		{"another rotation", spec(func(s *agentapi.Spec) { s.TLS.Rotation = "s" }), fresh, now, `rotation is "r", and shall be "s"`},
		{"two thirds", same, fresh, now.Add(2*third - time.Hour), ""},
		{"the last third", same, fresh, now.Add(2*third + time.Hour), "last third"},
		{"expired", same, hold(now.Add(pki.LeafLifetime + time.Hour)), now.Add(pki.LeafLifetime + time.Hour), "expired"},
		// Others may not trust the newest CA yet.
		{"of an older CA, in the last third", same, rotating, now.Add(2*third + time.Hour), ""},
		{"of an older CA, another rotation", spec(func(s *agentapi.Spec) { s.TLS.Rotation = "s" }), rotating, now, ""},
	} {
		if why := due(tc.spec, tc.held, tc.at); (why == "") != (tc.says == "") || !strings.Contains(why, tc.says) {
			t.Errorf("%s: %q", tc.name, why)
		}
	}
}

// A CA that ends is told in time, and whatever runs goes on.
func TestEndingCA(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for name, tc := range map[string]struct {
		left   time.Duration // of the newest
		issuer string        // of the node's certificate: "old" has five days left
		says   string
	}{
		"years are left":              {left: caWarning},
		"weeks are left":              {left: caWarning - time.Hour, says: "it ends at 2026-05-30T11:00:00Z, in 89 days"},
		"it has ended":                {left: -time.Hour, says: "it ended at 2026-03-01T11:00:00Z"},
		"in the middle of a rotation": {left: 2 * caWarning, issuer: "old", says: "it ends at 2026-03-06T12:00:00Z, in 5 days"},
		"the old one is not needed":   {left: 2 * caWarning, issuer: "new"},
	} {
		held := &agentapi.PKI{CAs: []agentapi.Certificate{{Fingerprint: "new", NotAfter: now.Add(tc.left)}, {Fingerprint: "old", NotAfter: now.Add(5 * 24 * time.Hour)}}}
		if tc.issuer != "" {
			held.Certificate = &agentapi.Certificate{Issuer: tc.issuer}
		}
		got := endingCA(held, now)
		if tc.says == "" && len(got) > 0 || tc.says != "" && (len(got) != 1 || !strings.Contains(got[0].Why, tc.says) || !got[0].Beside) {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if got := endingCA(&agentapi.PKI{}, now); got != nil {
		t.Errorf("a node without a CA: %+v", got)
	}
}

// Between convergences a certificate that is old is renewed, and nothing else is done.
func TestRenew(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	a := &Agent{opts: Options{Dir: dir}, log: hclog.NewNullLogger(), turn: make(chan struct{}, 1), keyring: pki.NewKeyring(vfs.OS{}, pki.Dir(filepath.Join(dir, pkiDir)))}
	a.turn <- struct{}{}
	old := now.Add(-pki.LeafLifetime * 3 / 4)
	spec := &agentapi.Spec{Cluster: agentapi.Cluster{Name: "orders", ID: ordersID}, Node: "a", BindAddress: "127.0.0.1", Ports: agentapi.Ports{HTTPS: 1}, TLS: &agentapi.TLS{}}
	a.mu.spec = spec
	if err := a.keyring.MakeCA(pki.Owner{ClusterName: "orders", Cluster: ordersID, Node: "a"}, "", old); err != nil {
		t.Fatal(err)
	}
	if err := a.keyring.Issue(certificateHosts(spec), "", old); err != nil {
		t.Fatal(err)
	}
	ops := a.pendingCertificates(spec)
	if len(ops) != 1 || ops[0].Part != agentapi.PartCertificates || !strings.Contains(ops[0].Text, "last third") {
		t.Errorf("%+v", ops)
	}
	a.renewCertificates(t.Context())
	if ops := a.pendingCertificates(spec); len(ops) != 0 || a.knownPKI() == nil || a.knownPKI().Certificate.NotAfter.Before(now) {
		t.Errorf("%+v %+v", ops, a.knownPKI())
	}
	if err := os.Remove(filepath.Join(dir, "certs", "ca.crt")); err != nil {
		t.Fatal(err)
	}
	if ops := a.pendingCertificates(spec); len(ops) != 1 || !strings.Contains(ops[0].Text, "copy ca.crt to ") {
		t.Errorf("%+v", ops)
	}
	if a.mu.next != nil {
		t.Error("a convergence was asked for")
	}
}

// Copies for an engine of another user: his alone, from their first moment, in a
// directory that he cannot write.
func TestInstallForUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root gives files away")
	}
	dir := t.TempDir()
	a := &Agent{opts: Options{Dir: dir}, log: hclog.NewNullLogger(), keyring: pki.NewKeyring(vfs.OS{}, pki.Dir(filepath.Join(dir, pkiDir)))}
	now := time.Now()
	if err := a.keyring.MakeCA(pki.Owner{ClusterName: "orders", Cluster: ordersID, Node: "a"}, "", now); err != nil {
		t.Fatal(err)
	}
	if err := a.keyring.Issue([]string{"127.0.0.1"}, "", now); err != nil {
		t.Fatal(err)
	}
	at := place{dir: filepath.Join(dir, "etc"), uid: 65534, gid: 65533}
	install := func(want bool) {
		t.Helper()
		changed, err := a.installCertificates(at)
		if err != nil || changed != want {
			t.Errorf("changed %v, %v", changed, err)
		}
	}
	install(true)
	install(false)
	want := map[string]struct {
		mode     os.FileMode
		uid, gid uint32
	}{"certs": {0o750, 0, 65533}, "certs/ca.crt": {0o600, 65534, 65533}, "certs/node.crt": {0o600, 65534, 65533}, "certs/node.key": {0o600, 65534, 65533}}
	for name, w := range want {
		fi, err := os.Lstat(filepath.Join(at.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if st := fi.Sys().(*syscall.Stat_t); fi.Mode().Perm() != w.mode || st.Uid != w.uid || st.Gid != w.gid {
			t.Errorf("%s: %v %d:%d", name, fi.Mode(), st.Uid, st.Gid)
		}
	}
	if entries, err := os.ReadDir(at.certs()); err != nil || len(entries) != 3 {
		t.Errorf("%v %v", entries, err)
	}
	// Whatever somebody did to a copy is mended, and seen before.
	for name, spoil := range map[string]func(path string) error{
		"mode":    func(p string) error { return os.Chmod(p, 0o644) },
		"owner":   func(p string) error { return os.Chown(p, 0, 0) },
		"content": func(p string) error { return os.Truncate(p, 10) },
		"missing": os.Remove,
		"a link":  func(p string) error { return os.Rename(p, p+".moved") },
	} {
		key := filepath.Join(at.certs(), "node.key")
		if err := spoil(key); err != nil {
			t.Fatal(err)
		}
		if name == "a link" {
			if err := os.Symlink(key+".moved", key); err != nil {
				t.Fatal(err)
			}
		}
		if differ, err := a.copiesDiffer(at); err != nil || strings.Join(differ, ",") != "node.key" {
			t.Errorf("%s: %q differ, %v", name, differ, err)
		}
		install(true)
		install(false)
	}
	if _, err := pki.Load(pki.Dir(at.certs()).Node(), pki.Identity{Cluster: ordersID, Role: pki.Node, Name: "a"}, now); err != nil {
		t.Error(err)
	}
}
