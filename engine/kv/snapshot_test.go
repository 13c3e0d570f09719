// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package kv

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite golden files")

// throughSnapshot returns a machine restored from m's snapshot, after checking
// that the restored one writes the same bytes.
func throughSnapshot(t interface {
	Helper()
	Fatalf(string, ...any)
}, m *StateMachine) *StateMachine {
	t.Helper()
	var first, second bytes.Buffer
	n, err := m.Snapshot().WriteTo(&first)
	if err != nil || n != int64(first.Len()) {
		t.Fatalf("WriteTo = %d, %v; wrote %d bytes", n, err, first.Len())
	}
	restored := New()
	if err := restored.Restore(bytes.NewReader(first.Bytes())); err != nil {
		t.Fatalf("Restore: %v", err)
	}
	if _, err := restored.Snapshot().WriteTo(&second); err != nil {
		t.Fatalf("WriteTo: %v", err)
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Fatalf("a restored machine writes another snapshot")
	}
	return restored
}

// golden compares got with a golden file: formats are promises.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s differs: a cluster's logs and snapshots hold the old format (-want +got):\n%s", name, diff)
	}
}

// sample is one command of every kind.
func sample() []Command {
	v := "50ms"
	return []Command{
		{ID: ID{Origin: 0xfeedfacecafebeef, Seq: 300, Floor: 299}, Op: OpPut, Key: "a/key", Value: []byte("value"), Flags: 1 << 63},
		{ID: ID{Origin: 1, Seq: 1, Floor: 1}, Op: OpCAS, Key: "cas", Value: []byte{0, 255}, Index: 12345},
		{ID: ID{Origin: 1, Seq: 2, Floor: 1}, Op: OpPut, Key: "empty"},
		{Op: OpPut, Key: "gone", Value: []byte("x")},
		{Op: OpDelete, Key: "gone"},
		{Op: OpDeleteTree, Key: "tree/"},
		{Op: OpDeleteCAS, Key: "never", Index: 7},
		{ID: ID{Origin: 2, Seq: 9, Floor: 3}, Op: OpSettings, Settings: map[string]*string{SettingUnhealthyOpThreshold: &v, SettingMaxSyncDuration: nil}},
		{ID: ID{Origin: 2, Seq: 10, Floor: 9}, Op: OpSettings, Settings: map[string]*string{"no.such": nil}},
		{Op: OpBarrier},
	}
}

func TestGoldenFormats(t *testing.T) {
	batch := AppendBatch(nil, sample()...)
	golden(t, "batch.v1.golden", batch)
	m := New()
	if _, err := m.Apply(batch); err != nil {
		t.Fatal(err)
	}
	var snap bytes.Buffer
	if _, err := m.Snapshot().WriteTo(&snap); err != nil {
		t.Fatal(err)
	}
	golden(t, "snapshot.v1.golden", snap.Bytes())
}

func TestRestoreRefuses(t *testing.T) {
	m := New()
	if _, err := m.Apply(AppendBatch(nil, sample()...)); err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	if _, err := m.Snapshot().WriteTo(&buf); err != nil {
		t.Fatal(err)
	}
	good := buf.Bytes()
	target := New()
	if _, err := target.Apply(AppendBatch(nil, Command{Op: OpPut, Key: "mine"})); err != nil {
		t.Fatal(err)
	}
	check := func(what string, b []byte, want ...error) {
		t.Helper()
		err := target.Restore(bytes.NewReader(b))
		if !slices.ContainsFunc(want, func(w error) bool { return errors.Is(err, w) }) {
			t.Errorf("%s: Restore = %v, want %v", what, err, want)
		}
		if target.Keys() != 1 || target.Index() != 1 {
			t.Fatalf("%s: a failed restore changed the state", what)
		}
	}
	for i := range good {
		check("cut off", good[:i], ErrCorrupt)
		bad := bytes.Clone(good)
		bad[i] ^= 0x10
		check("one bit", bad, ErrCorrupt, ErrVersion)
	}
	check("something behind the end", append(bytes.Clone(good), 0), ErrCorrupt)
	newer := bytes.Clone(good)
	newer[len(snapshotMagic)]++
	check("newer version", newer, ErrVersion)
}

// TestSnapshotIsAPointInTime: what is applied after Snapshot is not in it,
// the dedup window included.
func TestSnapshotIsAPointInTime(t *testing.T) {
	m := New()
	put := func(seq uint64, value string) {
		t.Helper()
		if _, err := m.Apply(AppendBatch(nil, Command{ID: ID{Origin: 1, Seq: seq, Floor: 1}, Op: OpPut, Key: "k", Value: []byte(value)})); err != nil {
			t.Fatal(err)
		}
	}
	put(1, "first")
	snap := m.Snapshot()
	put(2, "second")
	apply(t, m, Command{ID: ID{Origin: 1, Seq: 50, Floor: 50}, Op: OpBarrier}) // forgets the results of 1 and 2
	var buf bytes.Buffer
	if _, err := snap.WriteTo(&buf); err != nil {
		t.Fatal(err)
	}
	old := New()
	if err := old.Restore(&buf); err != nil {
		t.Fatal(err)
	}
	if a := old.Read(Query{Kind: QueryGet, Key: "k"}); string(a.Entries[0].Value) != "first" || old.Index() != 1 {
		t.Errorf("the snapshot holds %s at index %d", a.Entries[0].Value, old.Index())
	}
	if res := apply(t, old, Command{ID: ID{Origin: 1, Seq: 1, Floor: 1}, Op: OpPut, Key: "k"})[0]; res.Index != 1 || !res.OK {
		t.Errorf("seq 1 on the old state: %+v; want its first result", res)
	}
	if res := apply(t, old, Command{ID: ID{Origin: 1, Seq: 2, Floor: 1}, Op: OpPut, Key: "k"})[0]; res.Index != 2 {
		t.Errorf("seq 2 on the old state: %+v; want it applied", res)
	}
}

// TestRestoreRevives: a machine that stopped starts again from a good snapshot.
func TestRestoreRevives(t *testing.T) {
	var buf bytes.Buffer
	if _, err := New().Snapshot().WriteTo(&buf); err != nil {
		t.Fatal(err)
	}
	m := New()
	if _, err := m.Apply([]byte("garbage")); !errors.Is(err, ErrStopped) || !errors.Is(err, ErrCorrupt) {
		t.Fatalf("Apply = %v", err)
	}
	if err := m.Restore(&buf); err != nil || m.Err() != nil {
		t.Fatalf("Restore = %v, Err = %v", err, m.Err())
	}
}
