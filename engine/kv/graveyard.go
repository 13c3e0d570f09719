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
// Immutable in a published view, but for queue, which the applying goroutine
// owns.
type graveyard struct {
	stones *iradix.Tree[uint64] // deleted key or prefix → index
	floor  uint64
	queue  *stoneQueue
	// txn holds the stones of the batch that is being applied, if it has any.
	txn *iradix.Txn[uint64]
	n   int // number of stones, txn's included
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

// insert is called with ever higher indexes, and followed by commit.
func (g *graveyard) insert(key string, index uint64) {
	if g.txn == nil {
		g.txn = g.stones.Txn()
	}
	if _, replaced := g.txn.Insert([]byte(key), index); !replaced {
		g.n++
	}
	q := g.queue
	q.order = append(q.order, stone{key, index})
	for g.n > maxStones {
		s := q.order[0]
		q.order = q.order[1:]
		if g.current(s) {
			g.txn.Delete([]byte(s.key))
			g.n--
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
	index, ok := g.txn.Get([]byte(s.key))
	return ok && index == s.index
}

func (g *graveyard) commit() {
	if g.txn != nil {
		g.stones, g.txn = g.txn.CommitOnly(), nil
	}
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
