// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package kv

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

// model is the state machine as one would explain it: a map, and every result
// ever given.
type model struct {
	index, changed uint64
	keys           map[string]Entry
	deleted        map[string]uint64
	results        map[uint64]map[uint64]Result // origin, seq
	floors         map[uint64]uint64
}

func (m *model) apply(c Command) Result {
	if o := c.ID.Origin; o != 0 {
		m.floors[o] = max(m.floors[o], c.ID.Floor)
		if c.ID.Seq < m.floors[o] {
			return Result{Index: m.index, Code: CodeExpired}
		}
		if r, ok := m.results[o][c.ID.Seq]; ok {
			return r
		}
	}
	m.index++
	r := Result{Index: m.index, OK: true}
	old, exists := m.keys[c.Key]
	switch c.Op {
	case OpPut:
		m.put(c)
	case OpCAS:
		if r.OK = c.Index == 0 && !exists || exists && c.Index == old.ModifyIndex; r.OK {
			m.put(c)
		}
	case OpDelete:
		m.delete(c.Key)
	case OpDeleteCAS:
		if r.OK = !exists || old.ModifyIndex == c.Index; r.OK {
			m.delete(c.Key)
		}
	case OpDeleteTree:
		found := false
		for k := range m.keys {
			if strings.HasPrefix(k, c.Key) {
				delete(m.keys, k)
				found = true
			}
		}
		if found {
			m.changed = m.index
			m.deleted[c.Key] = m.index
		}
	}
	if o := c.ID.Origin; o != 0 {
		if m.results[o] == nil {
			m.results[o] = map[uint64]Result{}
		}
		m.results[o][c.ID.Seq] = r
	}
	return r
}

func (m *model) put(c Command) {
	e, exists := m.keys[c.Key]
	if !exists {
		e = Entry{Key: c.Key, CreateIndex: m.index}
	}
	e.Value, e.Flags, e.ModifyIndex = c.Value, c.Flags, m.index
	m.keys[c.Key] = e
	m.changed = m.index
}

func (m *model) delete(key string) {
	if _, ok := m.keys[key]; ok {
		delete(m.keys, key)
		m.changed = m.index
		m.deleted[key] = m.index
	}
}

func (m *model) read(q Query) Answer {
	a := Answer{}
	if q.Kind == QueryGet {
		if e, ok := m.keys[q.Key]; ok {
			return Answer{Found: true, Entries: []Entry{e}, Index: e.ModifyIndex}
		}
		return Answer{Index: max(m.changed, 1)}
	}
	for _, k := range slices.Sorted(maps.Keys(m.keys)) {
		if !strings.HasPrefix(k, q.Key) {
			continue
		}
		e := m.keys[k]
		a.Index = max(a.Index, e.ModifyIndex)
		if q.Kind == QueryList {
			a.Entries = append(a.Entries, e)
			continue
		}
		if i := strings.Index(k[len(q.Key):], q.Separator); q.Separator != "" && i >= 0 {
			k = k[:len(q.Key)+i+len(q.Separator)]
		}
		if !slices.Contains(a.Keys, k) {
			a.Keys = append(a.Keys, k)
		}
	}
	for k, i := range m.deleted {
		if strings.HasPrefix(k, q.Key) {
			a.Index = max(a.Index, i)
		}
	}
	if q.Key == "" || a.Index == 0 {
		a.Index = max(m.changed, 1)
	}
	a.Found = len(a.Entries)+len(a.Keys) > 0
	return a
}

// TestModel applies random batches to the machine and to the model, through
// retries, reordered sequence numbers and snapshots, and compares all that
// can be seen. Seen to fail with each of: the dedup lookup taken out, the count
// in deleteTree left to the radix transaction, CreateIndex not kept, an
// origin's heard index not restored, the index of a list not collected.
func TestModel(t *testing.T) {
	key := rapid.Custom(func(t *rapid.T) string {
		return rapid.StringOfN(rapid.RuneFrom([]rune("ab/")), 1, 4, -1).Draw(t, "key")
	})
	prefix := rapid.OneOf(rapid.Just(""), key)
	rapid.Check(t, func(t *rapid.T) {
		sm := New()
		m := &model{keys: map[string]Entry{}, deleted: map[string]uint64{},
			results: map[uint64]map[uint64]Result{}, floors: map[uint64]uint64{}}
		next := map[uint64]uint64{}
		var sent []Command
		command := func() Command {
			if len(sent) > 0 && rapid.IntRange(0, 4).Draw(t, "retry") == 0 {
				c := sent[rapid.IntRange(0, len(sent)-1).Draw(t, "which")]
				c.ID.Floor = min(c.ID.Seq, m.floors[c.ID.Origin]) // a retry carries the floor of its time
				return c
			}
			c := Command{
				Op:  rapid.SampledFrom([]Op{OpPut, OpPut, OpPut, OpCAS, OpDelete, OpDeleteCAS, OpDeleteTree, OpBarrier}).Draw(t, "op"),
				Key: key.Draw(t, "key"),
			}
			if c.Op == OpDeleteTree {
				c.Key = prefix.Draw(t, "prefix")
			}
			if c.Op == OpPut || c.Op == OpCAS {
				c.Value = []byte(rapid.StringN(0, 3, 8).Draw(t, "value"))
				c.Flags = rapid.Uint64().Draw(t, "flags")
			}
			if e, ok := m.keys[c.Key]; ok && rapid.Bool().Draw(t, "right index") {
				c.Index = e.ModifyIndex
			} else {
				c.Index = rapid.Uint64Range(0, m.index+1).Draw(t, "index")
			}
			if o := rapid.Uint64Range(0, 3).Draw(t, "origin"); o != 0 {
				next[o] += rapid.Uint64Range(1, 3).Draw(t, "step")
				floor := next[o] - min(next[o], rapid.Uint64Range(0, 100).Draw(t, "in flight"))
				c.ID = ID{Origin: o, Seq: next[o], Floor: floor}
				sent = append(sent, c)
			}
			return c
		}
		for range rapid.IntRange(1, 30).Draw(t, "batches") {
			var cmds []Command
			var want []Result
			for range rapid.IntRange(0, 6).Draw(t, "commands") {
				c := command()
				cmds = append(cmds, c)
				want = append(want, m.apply(c))
			}
			got, err := sm.Apply(AppendBatch(nil, cmds...))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(Result{}, "Message"), cmpopts.EquateEmpty()); diff != "" {
				t.Fatalf("results of %+v (-model +machine):\n%s", cmds, diff)
			}
			if rapid.IntRange(0, 5).Draw(t, "restart") == 0 {
				sm = throughSnapshot(t, sm)
			}
			if sm.Index() != m.index || sm.Keys() != int64(len(m.keys)) {
				t.Fatalf("index %d, keys %d; the model has %d and %d", sm.Index(), sm.Keys(), m.index, len(m.keys))
			}
			for _, q := range []Query{
				{Kind: QueryGet, Key: key.Draw(t, "get")},
				{Kind: QueryList, Key: prefix.Draw(t, "list")},
				{Kind: QueryKeys, Key: prefix.Draw(t, "keys"), Separator: rapid.SampledFrom([]string{"", "/", "a", "b/"}).Draw(t, "sep")},
			} {
				if diff := cmp.Diff(m.read(q), sm.Read(q), cmpopts.EquateEmpty()); diff != "" {
					t.Fatalf("%+v (-model +machine):\n%s", q, diff)
				}
			}
		}
	})
}

// TestReadersSeeWholeEntries reads while entries are applied, each of which
// sets two keys to one value. Meant for -race, too.
func TestReadersSeeWholeEntries(t *testing.T) {
	m := New()
	done := make(chan error, 2) // each reader once
	stop := make(chan struct{}) // closed by the test
	for range 2 {
		go func() {
			for {
				select {
				case <-stop:
					done <- nil
					return
				default:
				}
				a := m.Read(Query{Kind: QueryList, Key: "pair/"})
				if len(a.Entries) == 2 && string(a.Entries[0].Value) != string(a.Entries[1].Value) {
					done <- fmt.Errorf("half an entry: %q and %q", a.Entries[0].Value, a.Entries[1].Value)
					return
				}
			}
		}()
	}
	for i := range 3000 {
		v := fmt.Append(nil, i)
		if _, err := m.Apply(AppendBatch(nil, Command{Op: OpPut, Key: "pair/a", Value: v}, Command{Op: OpPut, Key: "pair/b", Value: v})); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}
