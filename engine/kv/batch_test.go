// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package kv

import (
	"bufio"
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestCommandSize(t *testing.T) {
	for _, c := range sample() {
		if got := len(AppendCommand(nil, &c)); got != c.Size() {
			t.Errorf("%v: Size = %d, encoded in %d bytes", c.Op, c.Size(), got)
		}
	}
}

// TestBatchOfEncodedCommands: a forwarder concatenates what it was sent.
func TestBatchOfEncodedCommands(t *testing.T) {
	entry := AppendBatchHeader(nil)
	for _, c := range sample() {
		entry = append(entry, AppendCommand(nil, &c)...)
	}
	if !bytes.Equal(entry, AppendBatch(nil, sample()...)) {
		t.Fatal("a batch of encoded commands differs from AppendBatch's")
	}
	got, err := DecodeBatch(entry)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sample(), got, cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
}

func TestDecodeBatchRefuses(t *testing.T) {
	good := AppendBatch(nil, sample()...)
	for _, tc := range []struct {
		name  string
		entry []byte
		want  error
	}{
		{"nothing", nil, ErrCorrupt},
		{"no header", good[batchHeader:], ErrCorrupt},
		{"newer version", append([]byte(batchMagic), 2), ErrVersion},
		{"unknown operation", append(AppendBatchHeader(nil), 1, 200), ErrVersion},
		{"operation 0", append(AppendBatchHeader(nil), 1, 0), ErrVersion},
		{"cut off", good[:len(good)-1], ErrCorrupt},
		{"a length beyond the end", append(AppendBatchHeader(nil), 0xff, 0xff, 0xff, 0xff, 0x0f), ErrCorrupt},
		{"a number not in its shortest form", append(AppendBatchHeader(nil), 0x80, 0x00), ErrCorrupt},
		{"bytes behind the fields", append(AppendBatchHeader(nil), 16, byte(OpBarrier), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9), ErrCorrupt},
	} {
		if _, err := DecodeBatch(tc.entry); !errors.Is(err, tc.want) {
			t.Errorf("%s: DecodeBatch = %v, want %v", tc.name, err, tc.want)
		}
		if _, err := New().Apply(tc.entry); !errors.Is(err, tc.want) || !errors.Is(err, ErrStopped) {
			t.Errorf("%s: Apply = %v, want %v and stopped", tc.name, err, tc.want)
		}
	}
}

// TestNothingOfABadEntryIsApplied: the good commands before the bad one, too.
func TestNothingOfABadEntryIsApplied(t *testing.T) {
	m := New()
	entry := AppendBatch(nil, Command{ID: ID{Origin: 1, Seq: 1}, Op: OpPut, Key: "k"})
	if _, err := m.Apply(append(entry, 1, 99)); err == nil {
		t.Fatal("no error")
	}
	if m.Index() != 0 || m.Keys() != 0 || len(m.dedup.origins) != 0 {
		t.Errorf("index %d, %d keys, %d origins", m.Index(), m.Keys(), len(m.dedup.origins))
	}
}

// TestEntryIsNotKept: raft may reuse the entry's memory.
func TestEntryIsNotKept(t *testing.T) {
	m := New()
	entry := AppendBatch(nil, Command{Op: OpPut, Key: "key", Value: []byte("value")}, Command{Op: OpPut, Key: "d"}, Command{Op: OpDelete, Key: "d"})
	if _, err := m.Apply(entry); err != nil {
		t.Fatal(err)
	}
	clear(entry)
	if a := m.Read(Query{Kind: QueryList, Key: ""}); len(a.Entries) != 1 || a.Entries[0].Key != "key" || string(a.Entries[0].Value) != "value" {
		t.Errorf("after the entry was overwritten: %+v", a)
	}
	if a := m.Read(Query{Kind: QueryList, Key: "d"}); a.Index != 3 {
		t.Errorf("the stone of d: index %d, want 3", a.Index)
	}
}

func TestValidate(t *testing.T) {
	for _, tc := range []struct {
		name string
		cmd  Command
		ok   bool
	}{
		{"longest key, largest value", Command{Op: OpPut, Key: string(make([]byte, MaxKeyBytes)), Value: make([]byte, MaxValueBytes)}, true},
		{"key too long", Command{Op: OpPut, Key: string(make([]byte, MaxKeyBytes+1))}, false},
		{"value too large", Command{Op: OpCAS, Key: "k", Value: make([]byte, MaxValueBytes+1)}, false},
		{"no key", Command{Op: OpPut}, false},
		{"no key to delete", Command{Op: OpDelete}, false},
		{"all keys", Command{Op: OpDeleteTree}, true},
		{"no settings", Command{Op: OpSettings}, false},
		{"barrier", Command{Op: OpBarrier}, true},
		{"no operation", Command{}, false},
		{"unknown operation", Command{Op: maxOp + 1}, false},
	} {
		if err := tc.cmd.Validate(); (err == nil) != tc.ok || err != nil && !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
}

func FuzzDecodeBatch(f *testing.F) {
	f.Add(AppendBatch(nil, sample()...))
	for _, c := range sample() {
		f.Add(AppendBatch(nil, c))
	}
	f.Fuzz(func(t *testing.T, entry []byte) {
		cmds, err := DecodeBatch(entry)
		_, applyErr := New().Apply(entry)
		if (err == nil) != (applyErr == nil) {
			t.Fatalf("DecodeBatch: %v, Apply: %v", err, applyErr)
		}
		if err != nil {
			return
		}
		if again := AppendBatch(nil, cmds...); !bytes.Equal(entry, again) {
			t.Fatalf("decoded and encoded again:\n%x\n%x", entry, again)
		}
	})
}

func FuzzDecodeResult(f *testing.F) {
	f.Add(AppendResult(nil, &Result{Index: 300, OK: true, Code: CodeBadValue, Message: "no"}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, rest, err := DecodeResult(b); err == nil {
			if again := append(AppendResult(nil, &r), rest...); !bytes.Equal(b, again) {
				t.Fatalf("%x\n%x", b, again)
			}
		}
	})
}

func FuzzDecodeQuery(f *testing.F) {
	f.Add(AppendQuery(nil, &Query{Kind: QueryKeys, Key: "a/", Separator: "/"}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if q, rest, err := DecodeQuery(b); err == nil {
			if again := append(AppendQuery(nil, &q), rest...); !bytes.Equal(b, again) {
				t.Fatalf("%x\n%x", b, again)
			}
			New().Read(q)
		}
	})
}

func FuzzDecodeAnswer(f *testing.F) {
	f.Add(AppendAnswer(nil, &Answer{Found: true, Index: 1 << 40, Keys: []string{"a", ""},
		Entries: []Entry{{Key: "k", Value: []byte("v"), Flags: 1, LockIndex: 2, CreateIndex: 3, ModifyIndex: 4}, {}}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if a, rest, err := DecodeAnswer(b); err == nil {
			if again := append(AppendAnswer(nil, &a), rest...); !bytes.Equal(b, again) {
				t.Fatalf("%x\n%x", b, again)
			}
		}
	})
}

func FuzzRestore(f *testing.F) {
	m := New()
	if _, err := m.Apply(AppendBatch(nil, sample()...)); err != nil {
		f.Fatal(err)
	}
	var buf bytes.Buffer
	if _, err := m.Snapshot().WriteTo(&buf); err != nil {
		f.Fatal(err)
	}
	f.Add(buf.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		m := New()
		if m.Restore(bytes.NewReader(b)) == nil {
			throughSnapshot(t, m)
		}
	})
}

// FuzzRestoreRecord goes where a damaged snapshot cannot: behind the checksum.
func FuzzRestoreRecord(f *testing.F) {
	m := New()
	if _, err := m.Apply(AppendBatch(nil, sample()...)); err != nil {
		f.Fatal(err)
	}
	for _, o := range m.dedup.origins {
		f.Add(byte(recordOrigin), o.append(make([]byte, 8)))
	}
	f.Add(byte(recordKey), []byte("\x01k\x01v\x00\x00\x01\x02"))
	f.Add(byte(recordStone), []byte("\x01k\x07"))
	f.Fuzz(func(t *testing.T, kind byte, body []byte) {
		var buf bytes.Buffer
		sw := snapshotWriter{w: bufio.NewWriter(&buf)}
		sw.write(append([]byte(snapshotMagic), snapshotVersion))
		sw.record(recordState, []byte{9, 9, 9, 9})
		sw.record(recordKind(kind), body)
		sw.record(recordEnd, []byte{2})
		if err := sw.w.Flush(); err != nil {
			t.Fatal(err)
		}
		m := New()
		if m.Restore(&buf) != nil {
			return
		}
		m = throughSnapshot(t, m)
		for id, o := range m.dedup.origins { // the window must hold up
			if _, err := m.Apply(AppendBatch(nil, Command{ID: ID{Origin: id, Seq: min(o.next, maxSeq), Floor: o.floor}, Op: OpBarrier})); err != nil {
				t.Fatal(err)
			}
		}
	})
}
