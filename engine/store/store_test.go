// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package store

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var mine = Identity{Cluster: "orders", ClusterID: "c1", Node: "a", NodeID: "n1", StoreID: "s1"}

func TestCreateCheck(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deep", "store")
	if _, err := Check(dir, mine); !errors.Is(err, ErrNoIdentity) {
		t.Fatalf("a missing directory: %v", err)
	}
	if err := Create(dir, mine); err != nil {
		t.Fatal(err)
	}
	got, err := Check(dir, mine)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(mine, got); diff != "" {
		t.Error(diff)
	}
	if err := Create(dir, mine); !errors.Is(err, ErrExists) {
		t.Errorf("a second Create: %v", err)
	}
	unnamed := mine
	unnamed.StoreID = ""
	if _, err := Check(dir, unnamed); err != nil {
		t.Errorf("any store id: %v", err)
	}
	for _, p := range []string{"p2", "default", "p2"} {
		if err := MarkBootstrapped(dir, p); err != nil {
			t.Fatal(err)
		}
	}
	got, err = Check(dir, mine)
	if diff := cmp.Diff([]string{"default", "p2"}, got.Bootstrapped); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

func TestForeign(t *testing.T) {
	for _, tc := range []struct {
		field  string
		change func(*Identity)
	}{
		{"cluster", func(i *Identity) { i.Cluster = "other" }},
		{"cluster_id", func(i *Identity) { i.ClusterID = "other" }},
		{"node", func(i *Identity) { i.Node = "other" }},
		{"node_id", func(i *Identity) { i.NodeID = "other" }},
		{"store_id", func(i *Identity) { i.StoreID = "other" }},
	} {
		t.Run(tc.field, func(t *testing.T) {
			dir := t.TempDir()
			theirs := mine
			tc.change(&theirs)
			if err := Create(dir, theirs); err != nil {
				t.Fatal(err)
			}
			before := read(t, dir)
			_, _, err := Open(dir, mine)
			if !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), tc.field) || !strings.Contains(err.Error(), `"other"`) {
				t.Errorf("error: %v", err)
			}
			if !bytes.Equal(read(t, dir), before) {
				t.Error("the file was changed")
			}
			if _, err := os.Stat(filepath.Join(dir, LockName)); err == nil {
				t.Error("a lock file was made in a foreign store")
			}
		})
	}
}

func TestNotEmpty(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "lost+found"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(dir); !errors.Is(err, ErrNoIdentity) {
		t.Errorf("a fresh file system: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "photo.jpg"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Create(dir, mine); !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), "photo.jpg") {
		t.Errorf("somebody's files: %v", err)
	}
}

func TestLock(t *testing.T) {
	dir := t.TempDir()
	if err := Create(dir, mine); err != nil {
		t.Fatal(err)
	}
	_, lock, err := Open(dir, mine)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := Open(dir, mine); !errors.Is(err, ErrLocked) {
		t.Errorf("a second engine: %v", err)
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	_, lock, err = Open(dir, mine)
	if err != nil {
		t.Fatal(err)
	}
	_ = lock.Close()
}

func TestDamaged(t *testing.T) {
	good, err := encode(mine)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, old, new string
		want           error
	}{
		{"edited", `"a"`, `"b"`, ErrCorrupt},
		{"magic", formatMagic, "something-else", ErrCorrupt},
		{"newer", `"version": 1`, `"version": 2`, ErrVersion},
		{"cut off", "}\n", "", ErrCorrupt},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bad := strings.Replace(string(good), tc.old, tc.new, 1)
			if tc.name == "cut off" {
				bad = string(good[:len(good)/2])
			}
			if _, err := decode([]byte(bad)); !errors.Is(err, tc.want) {
				t.Errorf("error: %v, want %v", err, tc.want)
			}
		})
	}
	if _, err := decode(bytes.ReplaceAll(good, []byte("  "), []byte("\t"))); err != nil {
		t.Errorf("other white space: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	good, err := encode(mine)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		id, err := decode(data)
		if err != nil {
			return
		}
		again, err := encode(id)
		if err != nil {
			t.Fatal(err)
		}
		got, err := decode(again)
		if diff := cmp.Diff(id, got); diff != "" || err != nil {
			t.Error(diff, err)
		}
	})
}

func read(t *testing.T, dir string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, FileName))
	if err != nil {
		t.Fatal(err)
	}
	return b
}
