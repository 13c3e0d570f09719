// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package kv

import (
	iradix "github.com/hashicorp/go-immutable-radix/v2"
)

// maxStones bounds the graveyard. Consul empties its own by the clock, every
// 15 minutes; a state machine without a clock counts.
const maxStones = 65536

// graveyard remembers what was deleted and when, so that the index of a list
// does not go back when its newest key is deleted: a client that waits for a
// change would else miss the deletion. What is beyond maxStones is forgotten
// oldest first, and floor stands in for it: the index of a list is never
// below it, which costs some waiting client one needless look.
//
// The value is immutable but for queue, which the applying goroutine owns.
type graveyard struct {
	stones *iradix.Tree[uint64] // deleted key or prefix → index
	floor  uint64
	queue  *stoneQueue
}

// stoneQueue is the order of deletion. It may hold a stone that a later
// deletion of the same key replaced; the tree knows better.
type stoneQueue struct {
	order []stone
}

type stone struct {
	key   string
	index uint64
}

func newGraveyard() graveyard {
	return graveyard{stones: iradix.New[uint64](), queue: &stoneQueue{}}
}

// insert is called with ever higher indexes.
func (g *graveyard) insert(key string, index uint64) {
	g.stones, _, _ = g.stones.Insert([]byte(key), index)
	q := g.queue
	q.order = append(q.order, stone{key, index})
	for g.stones.Len() > maxStones {
		s := q.order[0]
		q.order = q.order[1:]
		if g.current(s) {
			g.stones, _, _ = g.stones.Delete([]byte(s.key))
			g.floor = s.index
		}
	}
	if len(q.order) > 2*maxStones { // one key deleted again and again
		kept := make([]stone, 0, maxStones)
		for _, s := range q.order {
			if g.current(s) {
				kept = append(kept, s)
			}
		}
		q.order = kept
	}
}

func (g *graveyard) current(s stone) bool {
	index, ok := g.stones.Get([]byte(s.key))
	return ok && index == s.index
}

// last is the index of the last deletion under the prefix, 0 where none is known.
func (g *graveyard) last(prefix string) uint64 {
	last := g.floor
	g.stones.Root().WalkPrefix([]byte(prefix), func(_ []byte, index uint64) bool {
		last = max(last, index)
		return false
	})
	return last
}
