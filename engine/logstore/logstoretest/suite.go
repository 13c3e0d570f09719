// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package logstoretest

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/raft"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/logstore"
)

// Opener opens the same log each time it is called for the same dir.
type Opener func(dir string) (logstore.Store, error)

// Run asks everything of the store that open opens.
func Run(t *testing.T, open Opener) {
	for _, c := range []struct {
		name string
		test func(*testing.T, *harness)
	}{
		{"Empty", testEmpty},
		{"AppendAndGet", testAppendAndGet},
		{"FirstEntryAnywhere", testFirstEntryAnywhere},
		{"AppendRefusals", testAppendRefusals},
		{"BatchKeptByValue", testBatchKeptByValue},
		{"LargeEntries", testLargeEntries},
		{"TruncateSuffixAndRewrite", testTruncateSuffix},
		{"TruncatePrefix", testTruncatePrefix},
		{"TruncateMiddle", testTruncateMiddle},
		{"TruncateNothing", testTruncateNothing},
		{"RemoveAll", testRemoveAll},
		{"Stable", testStable},
		{"ReopenAfterEveryStep", testReopenAfterEveryStep},
		{"Model", testModel},
		{"ReadersBesideWriters", testReadersBesideWriters},
		{"CloseBesideCalls", testCloseBesideCalls},
		{"Closed", testClosed},
		{"RaftUsesIt", testRaft},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := &harness{Store: nil, dir: t.TempDir(), opener: open}
			h.open(t)
			t.Cleanup(func() { h.close(t) })
			c.test(t, h)
		})
	}
}

// harness is a store that can be reopened.
type harness struct {
	logstore.Store

	dir    string
	opener Opener
}

func (h *harness) open(t *testing.T) {
	t.Helper()
	s, err := h.opener(h.dir)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	h.Store = s
}

func (h *harness) close(t *testing.T) {
	t.Helper()
	if err := h.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
}

func (h *harness) reopen(t *testing.T) {
	t.Helper()
	h.close(t)
	h.open(t)
}

// Entry makes entry i of a term, its content a function of both.
func Entry(i, term uint64) *raft.Log {
	return &raft.Log{
		Index: i, Term: term, Type: raft.LogCommand,
		Data:       fmt.Appendf(nil, "entry %d of term %d", i, term),
		Extensions: fmt.Appendf(nil, "ext %d", i%7),
		AppendedAt: time.Unix(1_700_000_000+int64(i), 0).UTC(),
	}
}

// Entries makes entries first to last of a term.
func Entries(first, last, term uint64) []*raft.Log {
	var logs []*raft.Log
	for i := first; i <= last; i++ {
		logs = append(logs, Entry(i, term))
	}
	return logs
}

func (h *harness) mustStore(t *testing.T, logs ...*raft.Log) {
	t.Helper()
	if err := h.StoreLogs(logs); err != nil {
		t.Fatalf("StoreLogs: %v", err)
	}
}

func (h *harness) mustDelete(t *testing.T, first, last uint64) {
	t.Helper()
	if err := h.DeleteRange(first, last); err != nil {
		t.Fatalf("DeleteRange(%d, %d): %v", first, last, err)
	}
}

// Check fails the test unless s holds exactly want, consecutive entries.
func Check(t testing.TB, s raft.LogStore, want []*raft.Log) {
	t.Helper()
	var first, last uint64
	if len(want) > 0 {
		first, last = want[0].Index, want[len(want)-1].Index
	}
	gotFirst, err := s.FirstIndex()
	if err != nil {
		t.Fatalf("FirstIndex: %v", err)
	}
	gotLast, err := s.LastIndex()
	if err != nil {
		t.Fatalf("LastIndex: %v", err)
	}
	if gotFirst != first || gotLast != last {
		t.Fatalf("log is %d to %d, want %d to %d", gotFirst, gotLast, first, last)
	}
	for _, w := range want {
		var got raft.Log
		if err := s.GetLog(w.Index, &got); err != nil {
			t.Fatalf("GetLog(%d): %v", w.Index, err)
		}
		// cmp takes seconds for a megabyte.
		if bytes.Equal(w.Data, got.Data) {
			got.Data = w.Data
		}
		if diff := cmp.Diff(*w, got, cmp.Comparer(sameBytes)); diff != "" {
			t.Fatalf("entry %d (-want +got):\n%s", w.Index, diff)
		}
	}
	for _, i := range []uint64{0, first - 1, last + 1, last + 1000} {
		if first <= i && i <= last && last > 0 {
			continue
		}
		if err := s.GetLog(i, new(raft.Log)); err != raft.ErrLogNotFound { //nolint:errorlint // raft compares with ==
			t.Fatalf("GetLog(%d) outside of %d to %d: %v, want raft.ErrLogNotFound itself", i, first, last, err)
		}
	}
}

// sameBytes compares by identity before content.
func sameBytes(a, b []byte) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0] || bytes.Equal(a, b))
}

func testEmpty(t *testing.T, h *harness) {
	Check(t, h, nil)
	h.reopen(t)
	Check(t, h, nil)
	if err := h.StoreLogs(nil); err != nil {
		t.Fatalf("empty batch: %v", err)
	}
	if err := h.Err(); err != nil {
		t.Fatal(err)
	}
	Check(t, h, nil)
}

func testAppendAndGet(t *testing.T, h *harness) {
	want := Entries(1, 300, 1)
	if err := h.StoreLog(want[0]); err != nil {
		t.Fatal(err)
	}
	h.mustStore(t, want[1:7]...)
	for i := 7; i < len(want); i += 11 {
		h.mustStore(t, want[i:min(i+11, len(want))]...)
	}
	Check(t, h, want)
	h.reopen(t)
	Check(t, h, want)
	want = append(want, Entry(301, 2))
	h.mustStore(t, want[300])
	Check(t, h, want)
}

func testFirstEntryAnywhere(t *testing.T, h *harness) {
	want := Entries(77, 79, 3)
	h.mustStore(t, want...)
	Check(t, h, want)
	h.reopen(t)
	Check(t, h, want)
}

func testAppendRefusals(t *testing.T, h *harness) {
	want := Entries(5, 9, 1)
	h.mustStore(t, want...)
	if !h.IsMonotonic() {
		// A gap after a snapshot's restore, and an entry that replaces one.
		h.mustStore(t, Entry(20, 2))
		h.mustStore(t, Entry(9, 2))
		h.mustDelete(t, 20, 20)
		Check(t, h, append(want[:4:4], Entry(9, 2)))
		return
	}
	for _, bad := range [][]*raft.Log{
		{Entry(0, 1)}, {Entry(9, 2)}, {Entry(11, 1)}, {Entry(4, 1)},
		{Entry(10, 1), Entry(12, 1)}, {Entry(10, 1), Entry(10, 1)},
	} {
		if err := h.StoreLogs(bad); err == nil {
			t.Errorf("batch beginning with %d after %d was taken", bad[0].Index, 9)
		}
	}
	if err := h.Err(); err != nil {
		t.Fatalf("a refusal is sticky: %v", err)
	}
	want = append(want, Entry(10, 1))
	h.mustStore(t, want[5])
	Check(t, h, want)
	h.reopen(t)
	Check(t, h, want)
}

// The caller may reuse what it handed in, and own what it got out.
func testBatchKeptByValue(t *testing.T, h *harness) {
	l := Entry(1, 1)
	h.mustStore(t, l)
	for i := range l.Data {
		l.Data[i] = 'x'
	}
	var got raft.Log
	if err := h.GetLog(1, &got); err != nil {
		t.Fatal(err)
	}
	for i := range got.Data {
		got.Data[i] = 'y'
	}
	Check(t, h, Entries(1, 1, 1))
}

func testLargeEntries(t *testing.T, h *harness) {
	var want []*raft.Log
	for i := uint64(1); i <= 12; i++ {
		l := Entry(i, 1)
		l.Data = bytes.Repeat([]byte{byte(i), 0, 3}, 1<<20/3+int(i))
		want = append(want, l)
	}
	h.mustStore(t, want[0])
	h.mustStore(t, want[1:9]...)
	h.mustStore(t, want[9:]...)
	Check(t, h, want)
	h.reopen(t)
	Check(t, h, want)
}

func testTruncateSuffix(t *testing.T, h *harness) {
	for n, newLast := range []uint64{9, 5, 1} {
		term := uint64(n + 2)
		if first, _ := h.FirstIndex(); first == 0 {
			h.mustStore(t, Entries(1, 10, 1)...)
		}
		var kept []*raft.Log
		for i := uint64(1); i <= newLast; i++ {
			var l raft.Log
			if err := h.GetLog(i, &l); err != nil {
				t.Fatal(err)
			}
			kept = append(kept, &l)
		}
		h.mustDelete(t, newLast+1, 10)
		Check(t, h, kept)
		want := append(kept, Entries(newLast+1, 10, term)...)
		h.mustStore(t, want[newLast:]...)
		Check(t, h, want)
		h.reopen(t)
		Check(t, h, want)
	}
}

func testTruncatePrefix(t *testing.T, h *harness) {
	want := Entries(1, 30, 1)
	h.mustStore(t, want...)
	for _, newFirst := range []uint64{2, 10, 30} {
		h.mustDelete(t, 1, newFirst-1)
		Check(t, h, want[newFirst-1:])
		h.reopen(t)
		Check(t, h, want[newFirst-1:])
	}
	want = append(want, Entry(31, 1))
	h.mustStore(t, want[30])
	Check(t, h, want[29:])
}

func testTruncateMiddle(t *testing.T, h *harness) {
	want := Entries(1, 9, 1)
	h.mustStore(t, want...)
	err := h.DeleteRange(4, 6)
	if !h.IsMonotonic() {
		if err != nil {
			t.Fatal(err)
		}
		if err := h.GetLog(5, new(raft.Log)); !errors.Is(err, raft.ErrLogNotFound) {
			t.Fatalf("deleted entry: %v", err)
		}
		return
	}
	if err == nil {
		t.Fatal("a range in the middle was deleted")
	}
	if err := h.Err(); err != nil {
		t.Fatalf("a refusal is sticky: %v", err)
	}
	Check(t, h, want)
}

func testTruncateNothing(t *testing.T, h *harness) {
	h.mustDelete(t, 1, 10)
	Check(t, h, nil)
	want := Entries(5, 9, 1)
	h.mustStore(t, want...)
	for _, r := range [][2]uint64{{1, 4}, {10, 20}, {8, 7}} {
		h.mustDelete(t, r[0], r[1])
		Check(t, h, want)
	}
}

func testRemoveAll(t *testing.T, h *harness) {
	for _, r := range [][2]uint64{{1, 6}, {0, 100}, {1, 6}} {
		h.mustStore(t, Entries(1, 6, 1)...)
		h.mustDelete(t, r[0], r[1])
		Check(t, h, nil)
	}
	h.reopen(t)
	Check(t, h, nil)
	// What raft does after the restore of a snapshot: a new beginning, anywhere.
	want := Entries(1000, 1003, 4)
	h.mustStore(t, want...)
	Check(t, h, want)
	h.reopen(t)
	Check(t, h, want)
}

func testStable(t *testing.T, h *harness) {
	if _, err := h.GetUint64([]byte("CurrentTerm")); !errors.Is(err, logstore.ErrKeyNotFound) || err.Error() != "not found" {
		t.Fatalf("GetUint64 of a key never set: %v", err)
	}
	if v, err := h.Get([]byte("LastVoteCand")); !errors.Is(err, logstore.ErrKeyNotFound) || len(v) > 0 {
		t.Fatalf("Get of a key never set: %q, %v", v, err)
	}
	for term := uint64(1); term < 5; term++ {
		if err := h.SetUint64([]byte("CurrentTerm"), term); err != nil {
			t.Fatal(err)
		}
		if err := h.Set([]byte("LastVoteCand"), fmt.Appendf(nil, "node-%d", term)); err != nil {
			t.Fatal(err)
		}
		if term%2 == 0 {
			h.reopen(t)
		}
		if got, err := h.GetUint64([]byte("CurrentTerm")); err != nil || got != term {
			t.Fatalf("term %d, %v; want %d", got, err, term)
		}
		if got, err := h.Get([]byte("LastVoteCand")); err != nil || string(got) != fmt.Sprintf("node-%d", term) {
			t.Fatalf("vote %q, %v in term %d", got, err, term)
		}
	}
	if err := h.SetUint64([]byte("zero"), 0); err != nil {
		t.Fatal(err)
	}
	if got, err := h.GetUint64([]byte("zero")); err != nil || got != 0 {
		t.Fatalf("zero reads as %d, %v", got, err)
	}
	if err := h.Set([]byte("empty"), []byte{}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Get([]byte("empty")); !errors.Is(err, logstore.ErrKeyNotFound) {
		t.Fatalf("an empty value counts as not set, got %v", err)
	}
	Check(t, h, nil)
}

func testClosed(t *testing.T, h *harness) {
	h.mustStore(t, Entries(1, 3, 1)...)
	h.close(t)
	h.close(t)
	for name, call := range map[string]func() error{
		"FirstIndex":  func() error { _, err := h.FirstIndex(); return err },
		"LastIndex":   func() error { _, err := h.LastIndex(); return err },
		"GetLog":      func() error { return h.GetLog(1, new(raft.Log)) },
		"StoreLogs":   func() error { return h.StoreLogs(Entries(4, 4, 1)) },
		"DeleteRange": func() error { return h.DeleteRange(1, 1) },
		"Get":         func() error { _, err := h.Get([]byte("k")); return err },
		"Set":         func() error { return h.Set([]byte("k"), []byte("v")) },
		"GetUint64":   func() error { _, err := h.GetUint64([]byte("k")); return err },
		"SetUint64":   func() error { return h.SetUint64([]byte("k"), 1) },
	} {
		if err := call(); !errors.Is(err, logstore.ErrClosed) {
			t.Errorf("%s after Close: %v, want ErrClosed", name, err)
		}
	}
	h.open(t)
	Check(t, h, Entries(1, 3, 1))
}
