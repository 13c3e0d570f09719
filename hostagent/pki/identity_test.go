// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package pki

import (
	"testing"
)

func TestParseIdentity(t *testing.T) {
	for _, tc := range []struct {
		text string
		want Identity // zero: refused
	}{
		{"holdfast://" + ours + "/ca", Identity{ours, Authority, ""}},
		{"holdfast://" + ours + "/node/a", Identity{ours, Node, "a"}},
		{"holdfast://" + ours + "/client/root-1", Identity{ours, Client, "root-1"}},
		{"holdfast://" + ours + "/ca/", Identity{}},
		{"holdfast://" + ours + "/ca/a", Identity{}},
		{"holdfast://" + ours + "/node/", Identity{}},
		{"holdfast://" + ours + "/node", Identity{}},
		{"holdfast://" + ours + "/node/a/b", Identity{}},
		{"holdfast://" + ours + "/node/a%2fb", Identity{}},
		{"holdfast://" + ours + "/admin/a", Identity{}},
		{"holdfast://" + ours + "/node/a?b", Identity{}},
		{"holdfast://" + ours, Identity{}},
		{"https://" + ours + "/node/a", Identity{}},
		{"holdfast://5F1D3C52-0000-4000-8000-000000000001/node/a", Identity{}},
		{"spiffe://dc1.consul/agent/server/dc/dc1", Identity{}},
		{"", Identity{}},
	} {
		got, err := ParseIdentity(tc.text)
		if (err == nil) != (tc.want != Identity{}) || got != tc.want {
			t.Errorf("%q: %+v %v", tc.text, got, err)
		}
	}
}

// What is read is written the same, and as a URI too.
func FuzzParseIdentity(f *testing.F) {
	f.Add("holdfast://" + ours + "/node/a")
	f.Add("holdfast://" + ours + "/ca")
	f.Add("holdfast://" + ours + "/client/a/../b")
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ParseIdentity(s)
		if err != nil {
			return
		}
		if id.String() != s || id.uri().String() != s {
			t.Errorf("%q is read as %+v and written %q, %q", s, id, id, id.uri())
		}
	})
}

func FuzzFiles(f *testing.F) {
	key, err := NewKey()
	if err != nil {
		f.Fatal(err)
	}
	b, err := encodeKey(key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if certs, err := parseCerts(b); err == nil && len(certs) == 0 {
			t.Error("no certificate and no error")
		}
		if key, err := parseKey(b); err == nil && key == nil {
			t.Error("no key and no error")
		}
	})
}
