// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package kv

import (
	"fmt"
	"slices"
	"testing"
)

func apply(t *testing.T, m *StateMachine, cmds ...Command) []Result {
	t.Helper()
	res, err := m.Apply(AppendBatch(nil, cmds...))
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// TestDedupWindow: one command holds the floor back while many pass it. Its
// result is kept as long as the window allows, then expires; it is never
// applied twice.
func TestDedupWindow(t *testing.T) {
	m := New()
	stuck := Command{ID: ID{Origin: 1, Seq: 1, Floor: 1}, Op: OpPut, Key: "k"}
	first := apply(t, m, stuck)[0]
	pass := func(from, to uint64) {
		var batch []Command
		for seq := from; seq <= to; seq++ {
			if batch = append(batch, Command{ID: ID{Origin: 1, Seq: seq, Floor: 1}, Op: OpBarrier}); len(batch) == 4096 || seq == to {
				apply(t, m, batch...)
				batch = batch[:0]
			}
		}
	}
	pass(2, dedupWindow)
	if got := apply(t, m, stuck)[0]; got != first {
		t.Errorf("at the edge of the window: %+v, want %+v", got, first)
	}
	m = throughSnapshot(t, m)
	pass(dedupWindow+1, dedupWindow+1)
	index := m.Index()
	if got := apply(t, m, stuck)[0]; got.Code != CodeExpired || got.OK {
		t.Errorf("beyond the window: %+v, want it expired", got)
	}
	if m.Index() != index {
		t.Errorf("an expired command moved the index")
	}
}

// TestDedupForgetsIdleOrigins: after dedupIdle indexes without a word.
func TestDedupForgetsIdleOrigins(t *testing.T) {
	m := New()
	apply(t, m, Command{ID: ID{Origin: 1, Seq: 5, Floor: 5}, Op: OpBarrier})
	idle := make([]Command, 10_000)
	for i := range idle {
		idle[i].Op = OpBarrier
	}
	entry := AppendBatch(nil, idle...)
	seen := true
	for m.Index() < dedupIdle+2*dedupSweep {
		if _, err := m.Apply(entry); err != nil {
			t.Fatal(err)
		}
		_, known := m.dedup.origins[1]
		if seen && !known {
			seen = false
			if m.Index() < dedupIdle {
				t.Fatalf("forgotten already at %d", m.Index())
			}
		}
	}
	if seen {
		t.Errorf("still known at %d", m.Index())
	}
}

// TestDedupFloorBounds: floors and sequence numbers at the edges.
func TestDedupFloorBounds(t *testing.T) {
	m := New()
	for _, tc := range []struct {
		id   ID
		code ResultCode
		step uint64
	}{
		{ID{Origin: 1, Seq: 0, Floor: 0}, CodeOK, 1},
		{ID{Origin: 1, Seq: 10, Floor: 99}, CodeOK, 1}, // a floor above its own command counts as the command's
		{ID{Origin: 1, Seq: 9, Floor: 9}, CodeExpired, 0},
		{ID{Origin: 1, Seq: maxSeq, Floor: 10}, CodeOK, 1},
		{ID{Origin: 1, Seq: maxSeq - dedupWindow + 1, Floor: 0}, CodeOK, 1},
		{ID{Origin: 1, Seq: maxSeq - dedupWindow, Floor: 0}, CodeExpired, 0},
		{ID{Origin: 1, Seq: maxSeq, Floor: maxSeq}, CodeOK, 0}, // a retry
		{ID{Origin: 1, Seq: maxSeq - 1, Floor: 0}, CodeExpired, 0},
	} {
		before := m.Index()
		res := apply(t, m, Command{ID: tc.id, Op: OpBarrier})[0]
		if res.Code != tc.code || m.Index()-before != tc.step {
			t.Errorf("%+v: %+v and %d steps, want code %d and %d steps", tc.id, res, m.Index()-before, tc.code, tc.step)
		}
		m = throughSnapshot(t, m)
	}
}

// TestGraveyardIsBounded: stones beyond maxStones are forgotten, oldest first
// and the same before and after a restore; list indexes do not go back.
func TestGraveyardIsBounded(t *testing.T) {
	m := New()
	apply(t, m, Command{Op: OpPut, Key: "first/stays"}, Command{Op: OpPut, Key: "first/x"}, Command{Op: OpDelete, Key: "first/x"})
	deletePairs := func(n int, key func(int) string) {
		for batch := range slices.Chunk(slices.Repeat([]Command{{Op: OpPut}, {Op: OpDelete}}, n), 4096) {
			for i := range batch {
				batch[i].Key = key(n)
				n -= i % 2
			}
			apply(t, m, batch...)
		}
	}
	same := func(int) string { return "again" }
	deletePairs(2*maxStones+10, same) // one key: one stone
	if n := m.view.Load().stone.stones.Len(); n != 2 {
		t.Errorf("%d stones for two keys", n)
	}
	if n := len(m.view.Load().stone.queue.order); n > 2*maxStones {
		t.Errorf("the queue holds %d stones", n)
	}
	m = throughSnapshot(t, m)
	last := m.Read(Query{Kind: QueryList, Key: "first/"}).Index
	deletePairs(maxStones, func(i int) string { return fmt.Sprintf("many/%d", i) })
	m = throughSnapshot(t, m)
	if n := m.view.Load().stone.stones.Len(); n != maxStones {
		t.Errorf("%d stones, want %d", n, maxStones)
	}
	if got := m.Read(Query{Kind: QueryList, Key: "first/"}).Index; got < last {
		t.Errorf("the index of first/ went back from %d to %d", last, got)
	}
}

// TestGraveyardEvictsByLastDeletion: a key that was deleted long ago and again
// just now is not the oldest.
func TestGraveyardEvictsByLastDeletion(t *testing.T) {
	m := New()
	kill := func(key string) uint64 {
		t.Helper()
		return apply(t, m, Command{Op: OpPut, Key: key}, Command{Op: OpDelete, Key: key})[1].Index
	}
	kill("again")
	var batch []Command
	for i := range maxStones - 1 {
		key := fmt.Sprintf("many/%d", i)
		batch = append(batch, Command{Op: OpPut, Key: key}, Command{Op: OpDelete, Key: key})
	}
	apply(t, m, batch...)
	last := kill("again")
	kill("one more")
	if got := m.Read(Query{Kind: QueryList, Key: "again"}); got.Index < last {
		t.Errorf("list of it: index %d, deleted at %d", got.Index, last)
	}
	if got := m.view.Load().stone.last("again"); got != last {
		t.Errorf("its stone says %d, want %d", got, last)
	}
}
