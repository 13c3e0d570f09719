// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package pki

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCAKey(t *testing.T) {
	d := Dir(t.TempDir())
	ca := newCA(t, ours)
	host := must[*HostKey](t)(EnsureHostKey(d.HostKey()))
	check(t, WriteCerts(d.CA(), ca.Cert))
	check(t, WriteCAKey(d.CAKey(), ca, host))
	if again := must[*HostKey](t)(EnsureHostKey(d.HostKey())); again.Public() != host.Public() {
		t.Error("the host key was made anew")
	}
	opened := must[*CA](t)(OpenCA(d.CA(), d.CAKey(), d.HostKey(), now))
	if !sameKey(opened.key.Public(), ca.key.Public()) || opened.Cluster != ours {
		t.Errorf("it is the CA of %s", opened.Cluster)
	}
	sealed, err := os.ReadFile(d.CAKey())
	check(t, err)
	secret := must[[]byte](t)(encodeKey(ca.key))
	for line := range strings.Lines(string(secret)) {
		if bytes.Contains(sealed, []byte(strings.TrimSpace(line))) {
			t.Errorf("the file has %q in the clear", line)
		}
	}

	other := Dir(t.TempDir())
	stranger := must[*HostKey](t)(EnsureHostKey(other.HostKey()))
	for _, tc := range []struct {
		name  string
		spoil func(t *testing.T)
		field string
		says  string
	}{
		{"readable", func(t *testing.T) { check(t, os.Chmod(d.CAKey(), 0o644)) }, "mode", "0644"},
		{"host key readable", func(t *testing.T) { check(t, os.Chmod(d.HostKey(), 0o640)) }, "mode", "0640"},
		{"for another host", func(t *testing.T) { check(t, WriteCAKey(d.CAKey(), ca, stranger)) }, "the content", host.Public()},
		{"of another CA", func(t *testing.T) { check(t, WriteCAKey(d.CAKey(), newCA(t, ours), host)) }, "the content", "another CA"},
		{"in the clear", func(t *testing.T) { check(t, WriteKey(d.CAKey(), ca.key)) }, "the content", "encrypted"},
		{"no host key", func(t *testing.T) { check(t, os.Remove(d.HostKey())) }, "the file", "missing"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			hostKey, err := os.ReadFile(d.HostKey())
			check(t, err)
			t.Cleanup(func() { check(t, write(d.HostKey(), hostKey)); check(t, write(d.CAKey(), sealed)) })
			tc.spoil(t)
			_, err = OpenCA(d.CA(), d.CAKey(), d.HostKey(), now)
			r, ok := errors.AsType[*Refusal](err)
			if !ok || r.Field != tc.field || !strings.Contains(err.Error(), tc.says) || r.Next == "" {
				t.Errorf("error is %v", err)
			}
		})
	}
}

// Whatever byte of the key's file is changed, another key never comes out.
func TestTampered(t *testing.T) {
	ca := newCA(t, ours)
	host := must[*HostKey](t)(EnsureHostKey(filepath.Join(t.TempDir(), "host.key")))
	sealed := must[[]byte](t)(ca.Export(host.Public()))
	for i := range sealed {
		b := bytes.Clone(sealed)
		b[i] ^= 1
		got, err := host.unseal(b, "ca.key", ca.Cert)
		if err == nil && !sameKey(got.key.Public(), ca.key.Public()) {
			t.Fatalf("byte %d: another key", i)
		}
		if r, ok := errors.AsType[*Refusal](err); err != nil && (!ok || r.Field != "the content") {
			t.Fatalf("byte %d: %v", i, err)
		}
		if _, err := host.unseal(sealed[:i], "ca.key", ca.Cert); err == nil && i < len(sealed)-1 {
			t.Fatalf("%d of %d bytes were enough", i, len(sealed))
		}
	}
}

// The key goes to another server wrapped, and to no third.
func TestExport(t *testing.T) {
	a, b, c := Dir(t.TempDir()), Dir(t.TempDir()), Dir(t.TempDir())
	ca := newCA(t, ours)
	hostB := must[*HostKey](t)(EnsureHostKey(b.HostKey()))
	hostC := must[*HostKey](t)(EnsureHostKey(c.HostKey()))
	check(t, WriteCerts(a.CA(), ca.Cert))
	wrapped := must[[]byte](t)(ca.Export(hostB.Public()))
	got := must[*CA](t)(hostB.Import(bytes.NewReader(wrapped), a.CA(), now))
	if !sameKey(got.key.Public(), ca.key.Public()) {
		t.Error("another key came out")
	}
	if _, err := hostC.Import(bytes.NewReader(wrapped), a.CA(), now); err == nil {
		t.Error("a third host opened it")
	}
	if _, err := ca.Export("age1nobody"); err == nil {
		t.Error("it was encrypted to a key that is none")
	}
}
