// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package node

import "sync"

// window numbers the writes of this node to one partition, and knows the
// lowest number that may still be retried: the floor, below which the state
// machine may forget results.
type window struct {
	mu struct {
		sync.Mutex
		// floor ≤ every number under way < next.
		floor, next uint64
		// ended has a bit per number modulo maxOutstanding: done with, though
		// an older one is not. Invariant: bits outside of floor … next are 0.
		ended [maxOutstanding / 64]uint64
	}
}

func newWindow() *window {
	w := &window{}
	w.mu.floor, w.mu.next = 1, 1
	return w
}

// begin returns a new number and the floor; ok is false where too many are
// under way, or one has been for very long.
func (w *window) begin() (seq, floor uint64, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.mu.next-w.mu.floor >= maxOutstanding {
		return 0, 0, false
	}
	seq = w.mu.next
	w.mu.next++
	return seq, w.mu.floor, true
}

// end says that seq will not be sent again.
func (w *window) end(seq uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if seq != w.mu.floor {
		w.mu.ended[seq%maxOutstanding/64] |= 1 << (seq % 64)
		return
	}
	for w.mu.floor++; w.mu.floor < w.mu.next; w.mu.floor++ {
		word, bit := &w.mu.ended[w.mu.floor%maxOutstanding/64], uint64(1)<<(w.mu.floor%64)
		if *word&bit == 0 {
			return
		}
		*word &^= bit
	}
}
