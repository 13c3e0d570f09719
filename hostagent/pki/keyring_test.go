// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package pki

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs/vfstest"
)

func owner(node string) Owner { return Owner{ClusterName: "orders", Cluster: ours, Node: node} }

func newKeyring(t testing.TB) *Keyring {
	t.Helper()
	return NewKeyring(vfs.OS{}, Dir(filepath.Join(t.TempDir(), "pki")))
}

func held(t testing.TB, k *Keyring) Held { t.Helper(); return must[Held](t)(k.Held(now)) }

// handOver is what travels from one node to another.
func handOver(t testing.TB, from, to *Keyring) Exported {
	t.Helper()
	_, x, err := from.Export(now, must[string](t)(to.Recipient()))
	check(t, err)
	return x
}

// From the first CA on one node to the second on two, with every step taken twice.
func TestKeyring(t *testing.T) {
	a, b := newKeyring(t), newKeyring(t)
	if h := held(t, a); len(h.CAs) > 0 || h.CAKey || h.Leaf != nil || h.Cluster != "" {
		t.Errorf("a new one holds %+v", h)
	}
	twice := func(do func() error) { t.Helper(); check(t, do()); check(t, do()) }
	twice(func() error { return a.MakeCA(owner("a"), "1", now) })
	first := held(t, a)
	if len(first.CAs) != 1 || !first.CAKey || first.CARotation != "1" || first.Owner != owner("a") {
		t.Errorf("%+v", first)
	}
	twice(func() error { return b.Import(owner("b"), handOver(t, a, b), now) })
	for _, k := range []*Keyring{a, b} {
		check(t, k.Issue([]string{"127.0.0.1"}, "r", now))
		if h := held(t, k); h.Leaf == nil || Issuer(h.Leaf, h.CAs) == nil || !h.Leaf.NotAfter.Equal(now.Add(LeafLifetime)) || h.Rotation != "r" {
			t.Errorf("%+v", h)
		}
	}
	twice(func() error { return b.MakeCA(owner("b"), "2", now) })
	stale := handOver(t, a, b)
	if r, ok := errors.AsType[*Refusal](b.Import(owner("b"), stale, now)); !ok || r.Field != "the newest CA" {
		t.Errorf("an older CA was taken: %v", r)
	}
	twice(func() error { return a.Import(owner("a"), handOver(t, b, a), now) })
	for _, k := range []*Keyring{a, b} {
		h := held(t, k)
		if len(h.CAs) != 2 || !h.CAs[1].Equal(first.CAs[0]) || !h.CAKey || h.CARotation != "2" || h.Leaf == nil {
			t.Errorf("%+v", h)
		}
		if r, ok := errors.AsType[*Refusal](k.Forget(now)); !ok || r.Field != "the CA" {
			t.Errorf("the CA of its certificate was forgotten: %v", r)
		}
		check(t, k.Issue([]string{"127.0.0.1"}, "r", now))
		twice(func() error { return k.Forget(now) })
		if h := held(t, k); len(h.CAs) != 1 || h.Leaf == nil {
			t.Errorf("%+v", h)
		}
	}
	// What was forgotten does not come back.
	check(t, a.Import(owner("a"), handOver(t, b, a), now))
	// A CA that has expired is replaced by one that has not.
	later := now.Add(CALifetime + time.Hour)
	check(t, a.MakeCA(owner("a"), "2", later))
	if h := must[Held](t)(a.Held(later)); len(h.CAs) != 1 || !h.CAKey {
		t.Errorf("%+v", h)
	}
}

// Whatever operation on the disk is the last one of a process, the next goes on.
func TestKeyringKilled(t *testing.T) {
	source := newKeyring(t)
	check(t, source.MakeCA(owner("s"), "2", now))
	for _, tc := range []struct {
		name string
		do   func(k *Keyring) error
		done func(h Held) bool
	}{
		{"first CA", func(k *Keyring) error { return k.MakeCA(owner("a"), "1", now) },
			func(h Held) bool { return len(h.CAs) == 1 && h.CAKey && h.CARotation == "1" }},
		{"first CA, from another node", func(k *Keyring) error {
			return k.Import(owner("a"), handOver(t, source, NewKeyring(vfs.OS{}, k.dir)), now)
		},
			func(h Held) bool { return len(h.CAs) == 1 && h.CAKey && h.CARotation == "2" }},
		{"another CA", func(k *Keyring) error { return k.MakeCA(owner("a"), "2", now) },
			func(h Held) bool { return len(h.CAs) == 2 && h.CAKey && h.CARotation == "2" && h.Leaf != nil }},
		{"another CA, from another node", func(k *Keyring) error {
			return k.Import(owner("a"), handOver(t, source, NewKeyring(vfs.OS{}, k.dir)), now)
		},
			func(h Held) bool { return len(h.CAs) == 2 && h.CAKey && h.CARotation == "2" && h.Leaf != nil }},
		{"certificate", func(k *Keyring) error { return k.Issue(nil, "r2", now) },
			func(h Held) bool { return len(h.CAs) == 1 && h.Leaf != nil && h.Rotation == "r2" }},
		{"forgotten", func(k *Keyring) error { return k.Forget(now) },
			func(h Held) bool { return len(h.CAs) == 1 && h.Leaf != nil }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			first := strings.HasPrefix(tc.name, "first")
			points := 0
			for cut := 0; ; cut++ {
				dir := Dir(filepath.Join(t.TempDir(), "pki"))
				k := NewKeyring(vfs.OS{}, dir)
				if !first {
					check(t, k.MakeCA(owner("a"), "1", now))
					check(t, k.Issue(nil, "r1", now))
				}
				if tc.name == "forgotten" {
					check(t, k.MakeCA(owner("a"), "2", now))
					check(t, k.Issue(nil, "r1", now))
				}
				before := held(t, k)
				faults := vfstest.NewFaults(vfs.OS{})
				dead := faults.Add(vfstest.Fault{Err: errors.New("killed"), Skip: cut})
				err := tc.do(NewKeyring(faults, dir))
				if dead.Hits() == 0 {
					check(t, err)
					break
				}
				points++
				next := NewKeyring(vfs.OS{}, dir) // of the next process
				h := held(t, next)
				if !tc.done(h) && !first {
					// As it was, or a pair that does not fit, which is told.
					if h.CARotation != before.CARotation || !h.CAKey || h.Leaf == nil && h.Unfit == nil {
						t.Fatalf("cut at %d: neither before nor after: %+v", cut, h)
					}
				}
				if err := tc.do(next); err != nil {
					t.Fatalf("cut at %d: %v", cut, err)
				}
				if h := held(t, next); !tc.done(h) {
					t.Fatalf("cut at %d: %+v", cut, h)
				}
				check(t, next.Issue(nil, "r3", now)) // the key that is there signs
				if h := held(t, next); h.Leaf == nil {
					t.Fatalf("cut at %d: %v", cut, h.Unfit)
				}
			}
			if points < 4 {
				t.Errorf("%d points of interruption", points)
			}
		})
	}
}

// What is refused changes nothing, and names both values.
func TestKeyringRefusals(t *testing.T) {
	good := newKeyring(t)
	check(t, good.MakeCA(owner("s"), "1", now))
	other := newKeyring(t)
	check(t, other.MakeCA(Owner{"theirs", theirs, "s"}, "1", now))
	for _, tc := range []struct {
		name  string
		do    func(k *Keyring) error
		field string
		says  []string
	}{
		{"a CA for another cluster", func(k *Keyring) error { return k.MakeCA(Owner{"x", theirs, "a"}, "1", now) }, "cluster", []string{ours, theirs}},
		{"a CA for another node", func(k *Keyring) error { return k.MakeCA(owner("b"), "1", now) }, "node", []string{`"a"`, `"b"`}},
		{"a bundle for another cluster", func(k *Keyring) error { return k.Import(Owner{"x", theirs, "a"}, handOver(t, other, k), now) }, "cluster", []string{ours, theirs}},
		{"a bundle for another node", func(k *Keyring) error { return k.Import(owner("b"), handOver(t, good, k), now) }, "node", []string{`"a"`, `"b"`}},
		{"another cluster's CA under our name", func(k *Keyring) error { return k.Import(owner("a"), handOver(t, other, k), now) }, "cluster", []string{ours, theirs}},
		{"the key of another CA", func(k *Keyring) error {
			x, y := handOver(t, good, k), handOver(t, other, k)
			x.CAKey = y.CAKey
			return k.Import(owner("a"), x, now)
		}, "the content", []string{"another CA"}},
		{"a key for another host", func(k *Keyring) error { return k.Import(owner("a"), handOver(t, good, other), now) }, "the content", []string{"not encrypted for this host"}},
		{"no key", func(k *Keyring) error {
			x := handOver(t, good, k)
			x.CAKey = nil
			return k.Import(owner("a"), x, now)
		}, "the content", nil},
		{"no certificate", func(k *Keyring) error {
			x := handOver(t, good, k)
			x.CAs = []byte("-----BEGIN X")
			return k.Import(owner("a"), x, now)
		}, "the content", nil},
		{"expired", func(k *Keyring) error {
			return k.Import(owner("a"), handOver(t, good, k), now.Add(CALifetime+time.Hour))
		}, "valid until", nil},
		{"without the key", func(k *Keyring) error {
			check(t, os.Remove(k.dir.CAKey()))
			return k.MakeCA(owner("a"), "2", now)
		}, "the file", []string{"ca.key"}},
		{"a record of another version", func(k *Keyring) error {
			check(t, write(k.dir.record(), []byte(`{"format": 7}`)))
			return k.Issue(nil, "", now)
		}, "format", []string{"7"}},
		{"a torn record", func(k *Keyring) error {
			check(t, write(k.dir.record(), []byte(`{"format"`)))
			return k.Issue(nil, "", now)
		}, "the content", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			k := newKeyring(t)
			check(t, k.MakeCA(owner("a"), "1", now))
			before := must[[]byte](t)(os.ReadFile(k.dir.CA()))
			r, ok := errors.AsType[*Refusal](tc.do(k))
			if !ok || r.Field != tc.field || r.Next == "" {
				t.Fatalf("%+v", r)
			}
			for _, s := range tc.says {
				if !strings.Contains(r.Error(), s) {
					t.Errorf("%q does not say %q", r, s)
				}
			}
			if after := must[[]byte](t)(os.ReadFile(k.dir.CA())); !bytes.Equal(before, after) {
				t.Error("ca.crt was changed")
			}
		})
	}
	k := newKeyring(t)
	if err := k.Issue(nil, "", now); !errors.Is(err, ErrNoCA) {
		t.Error(err)
	}
	if err := k.Forget(now); !errors.Is(err, ErrNoCA) {
		t.Error(err)
	}
}

// Nothing in the directory has the CA's key in the clear, also half way.
func TestKeyringSecret(t *testing.T) {
	k := newKeyring(t)
	faults := vfstest.NewFaults(vfs.OS{})
	check(t, k.MakeCA(owner("a"), "1", now))
	ca := must[*CA](t)(OpenCA(k.dir.CA(), k.dir.CAKey(), k.dir.HostKey(), now))
	half := NewKeyring(faults, k.dir)
	faults.Add(vfstest.Fault{Match: vfstest.Match{Name: "ca.key.new"}, Err: errors.New("killed")})
	if err := half.MakeCA(owner("a"), "2", now); err == nil {
		t.Fatal("it was not cut")
	}
	record := must[[]byte](t)(os.ReadFile(k.dir.record()))
	if !bytes.Contains(record, []byte(`"next"`)) {
		t.Fatalf("%s", record)
	}
	secret := strings.Split(string(must[[]byte](t)(encodeKey(ca.key))), "\n")[1:3] // the third line is of the public key
	entries, err := os.ReadDir(string(k.dir))
	check(t, err)
	for _, e := range entries {
		b := must[[]byte](t)(os.ReadFile(filepath.Join(string(k.dir), e.Name())))
		if slices.ContainsFunc(secret, func(l string) bool { return bytes.Contains(b, []byte(l)) }) || bytes.Contains(b, []byte("PRIVATE")) {
			t.Errorf("%s has the key", e.Name())
		}
	}
}
