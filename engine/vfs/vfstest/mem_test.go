// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package vfstest

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs"
)

func TestConformance(t *testing.T) {
	for name, fsys := range map[string]vfs.FS{
		"Mem":    NewMem("/d"),
		"Stall":  NewStall(NewMem("/d")),
		"Faults": NewFaults(NewMem("/d")),
		"stack":  NewStall(NewFaults(NewMem("/d"))),
		"kill":   NewMem("/d").KillClone(),
		"crash":  NewMem("/d").CrashClone(Tear(1)),
	} {
		t.Run(name, func(t *testing.T) { Conformance(t, fsys, "/d") })
	}
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func ok(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, f vfs.File, off int64, p []byte) {
	t.Helper()
	if _, err := f.WriteAt(p, off); err != nil {
		t.Fatal(err)
	}
}

// read returns a file's content, or "-" where there is no file.
func read(t *testing.T, fsys vfs.FS, name string) string {
	t.Helper()
	f, err := fsys.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return "-"
	}
	ok(t, err)
	b := make([]byte, must[int64](t)(f.Size()))
	if _, err := f.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestPowerCut(t *testing.T) {
	type step = func(t *testing.T, m *Mem, f vfs.File)
	sync := func(t *testing.T, _ *Mem, f vfs.File) { ok(t, f.SyncData()) }
	syncDir := func(t *testing.T, m *Mem, _ vfs.File) { ok(t, m.SyncDir("/d")) }
	put := func(s string) step { return func(t *testing.T, _ *Mem, f vfs.File) { write(t, f, 0, []byte(s)) } }
	rename := func(t *testing.T, m *Mem, _ vfs.File) { ok(t, m.Rename("/d/a", "/d/b")) }
	remove := func(t *testing.T, m *Mem, _ vfs.File) { ok(t, m.Remove("/d/a")) }
	allocate := func(t *testing.T, _ *Mem, f vfs.File) { ok(t, f.Allocate(3)) }
	for _, tc := range []struct {
		name       string
		steps      []step
		lose, keep string // a and b afterwards
	}{
		{"created", nil, "- -", " -"},
		{"written", []step{put("1")}, "- -", "1 -"},
		{"synced, without a name", []step{put("1"), sync}, "- -", "1 -"},
		{"named, not synced", []step{put("1"), syncDir}, " -", "1 -"},
		{"durable", []step{put("1"), sync, syncDir}, "1 -", "1 -"},
		{"overwritten", []step{put("1"), sync, syncDir, put("2")}, "1 -", "2 -"},
		{"longer", []step{put("1"), sync, syncDir, allocate}, "1 -", "1\x00\x00 -"},
		{"longer, synced", []step{put("1"), allocate, sync, syncDir}, "1\x00\x00 -", "1\x00\x00 -"},
		{"renamed", []step{put("1"), sync, syncDir, rename}, "1 -", "- 1"},
		{"renamed, synced", []step{put("1"), sync, rename, syncDir}, "- 1", "- 1"},
		{"renamed, without content", []step{put("1"), rename, syncDir}, "- ", "- 1"},
		{"removed", []step{put("1"), sync, syncDir, remove}, "1 -", "- -"},
		{"removed, synced", []step{put("1"), sync, syncDir, remove, syncDir}, "- -", "- -"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := NewMem("/d")
			f := must[vfs.File](t)(m.Create("/d/a"))
			for _, s := range tc.steps {
				s(t, m, f)
			}
			for want, clone := range map[*string]*Mem{&tc.lose: m.CrashClone(LoseAll()), &tc.keep: m.CrashClone(KeepAll())} {
				if got := read(t, clone, "/d/a") + " " + read(t, clone, "/d/b"); got != *want {
					t.Errorf("got %q, want %q", got, *want)
				}
				if left := clone.Unsynced(); len(left) > 0 {
					t.Errorf("after a restart %v are not durable", left)
				}
			}
			// Whoever dies without a power cut leaves the rest to the next one.
			killed := m.KillClone()
			if diff := cmp.Diff(m.Unsynced(), killed.Unsynced()); diff != "" {
				t.Errorf("unsynced before and after a kill:\n%s", diff)
			}
			killed = killed.CrashClone(LoseAll())
			if got := read(t, killed, "/d/a") + " " + read(t, killed, "/d/b"); got != tc.lose {
				t.Errorf("kill and power cut: %q, want %q", got, tc.lose)
			}
		})
	}
}

func TestCloneSharesNothing(t *testing.T) {
	m := NewMem("/d")
	lock := must[interface{ Close() error }](t)(m.Lock("/d/LOCK"))
	f := must[vfs.File](t)(m.Create("/d/a"))
	write(t, f, 0, []byte("old"))
	ok(t, f.SyncData(), m.SyncDir("/d"))
	for _, clone := range []*Mem{m.CrashClone(LoseAll()), m.CrashClone(KeepAll()), m.CrashClone(Tear(3)), m.KillClone()} {
		write(t, f, 0, []byte("late"))
		ok(t, f.SyncData())
		if got := read(t, clone, "/d/a"); !strings.HasPrefix(got, "old") && got != "late" {
			t.Errorf("the clone reads %q", got)
		}
		before := read(t, clone, "/d/a")
		write(t, f, 0, []byte("LATE"))
		if got := read(t, clone, "/d/a"); got != before {
			t.Errorf("a late write reached the clone: %q", got)
		}
		ok(t, must[interface{ Close() error }](t)(clone.Lock("/d/LOCK")).Close())
		write(t, f, 0, []byte("old"))
	}
	ok(t, lock.Close())
}

// TestTear draws many power cuts and wants every kind of damage seen and
// nothing else.
func TestTear(t *testing.T) {
	m := NewMem("/d")
	f := must[vfs.File](t)(m.Create("/d/a"))
	write(t, f, 0, bytes.Repeat([]byte{'o'}, 2*sector))
	ok(t, f.SyncData(), m.SyncDir("/d"))
	write(t, f, 0, bytes.Repeat([]byte{'1'}, 3*sector))
	write(t, f, sector/2, bytes.Repeat([]byte{'2'}, sector))
	seen := map[string]bool{}
	for seed := range uint64(2000) {
		clone := m.CrashClone(Tear(seed))
		got := read(t, clone, "/d/a")
		if again := read(t, m.CrashClone(Tear(seed)), "/d/a"); again != got {
			t.Fatalf("seed %d is not repeatable", seed)
		}
		seen[summary(got)] = true
	}
	for _, want := range []string{"o|o", "1|1|1", "12|21|1", "o|1", "1|o", "12|o|1", "o|21|0", "12|1"} {
		if !seen[want] {
			t.Errorf("never seen: %s", want)
		}
	}
	allowed := []string{"o", "1", "12", "21", "0"}
	for s := range seen {
		for _, part := range strings.Split(s, "|") {
			if !slices.Contains(allowed, part) {
				t.Errorf("a sector of %s was torn: %q", s, part)
			}
		}
	}
}

// summary writes each sector as the bytes in it, repetitions left out.
func summary(content string) string {
	var parts []string
	for s := range slices.Chunk([]byte(strings.ReplaceAll(content, "\x00", "0")), sector) {
		parts = append(parts, string(slices.Compact(s)))
	}
	return strings.Join(parts, "|")
}

func TestTearNames(t *testing.T) {
	m := NewMem("/d")
	for _, name := range []string{"/d/old", "/d/gone"} {
		f := must[vfs.File](t)(m.Create(name))
		write(t, f, 0, []byte(name))
		ok(t, f.SyncData(), f.Close())
	}
	ok(t, m.SyncDir("/d"))
	f := must[vfs.File](t)(m.Create("/d/new"))
	write(t, f, 0, []byte("new"))
	ok(t, f.SyncData(), m.Rename("/d/new", "/d/old"), m.Remove("/d/gone"))
	seen := map[string]bool{}
	for seed := range uint64(200) {
		clone := m.CrashClone(Tear(seed))
		seen[fmt.Sprint(read(t, clone, "/d/new"), read(t, clone, "/d/old"), read(t, clone, "/d/gone"))] = true
	}
	want := map[string]bool{}
	for _, gone := range []string{"/d/gone", "-"} {
		want["-/d/old"+gone], want["new/d/old"+gone], want["-new"+gone] = true, true, true
	}
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Errorf("new, old and gone after a power cut (-want +got):\n%s", diff)
	}
}
