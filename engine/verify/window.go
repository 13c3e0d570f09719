// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package verify

import (
	"encoding/binary"

	"github.com/cespare/xxhash/v2"
	"github.com/hashicorp/raft"
)

// entrySum is the checksum of one entry: of what raft replicates of it. When it
// was appended is left out, being for people only.
//
// Of a configuration at index 1 only the place counts: servers that begin a
// cluster together write it each for itself, perhaps in another order.
func entrySum(l *raft.Log) uint64 {
	data, ext := l.Data, l.Extensions
	if l.Index == 1 && l.Type == raft.LogConfiguration {
		data, ext = nil, nil
	}
	// The length of data keeps it apart from the extensions.
	var head [25]byte
	le := binary.LittleEndian
	le.PutUint64(head[0:], l.Index)
	le.PutUint64(head[8:], l.Term)
	le.PutUint64(head[16:], uint64(len(data)))
	head[24] = byte(l.Type)
	var d xxhash.Digest
	d.Reset()
	_, _ = d.Write(head[:]) // none of these can fail
	_, _ = d.Write(data)
	_, _ = d.Write(ext)
	return d.Sum64()
}

const (
	// windowSize is how many of the last entries can be cut off again, or be
	// where a leader's range begins: 512 KiB of memory.
	windowSize = 1 << 16
	// windowMarks is how many older places are kept: of the last checkpoints.
	windowMarks = 8
)

// window knows sums of what was written: of every range that begins and ends
// within its last entries or at one of its marks. It knows nothing at first, and
// begins anew wherever an entry does not follow the one before.
type window struct {
	// next is the index of the next entry, 0 where nothing is known.
	next uint64
	// low: the sum of everything before entry i, from an arbitrary beginning on,
	// is ring[i modulo its length] for low ≤ i ≤ next.
	low  uint64
	ring []uint64
	// marks are where ranges may begin, oldest first: where the window began, and
	// the checkpoints. Invariant: there is one unless nothing is known, and none
	// is above next.
	marks []mark
}

type mark struct{ index, before uint64 }

// reach says that the next entry is i.
func (w *window) reach(i uint64) {
	if w.next == i && i != 0 {
		return
	}
	if w.ring == nil {
		w.ring = make([]uint64, windowSize)
	}
	w.low = i
	w.set(i, 0)
	w.marks = append(w.marks[:0], mark{index: i})
}

func (w *window) set(i, before uint64) {
	w.next = i
	w.ring[i%windowSize] = before
	if i-w.low >= windowSize {
		w.low = i - windowSize + 1
	}
}

// add adds the entry that was reached.
func (w *window) add(sum uint64) {
	w.set(w.next+1, w.ring[w.next%windowSize]+sum)
}

// mark makes the entry that was reached one where ranges may begin.
func (w *window) mark() {
	if w.begin() == w.next {
		return
	}
	if len(w.marks) == windowMarks {
		w.marks = append(w.marks[:0], w.marks[1:]...)
	}
	w.marks = append(w.marks, mark{w.next, w.ring[w.next%windowSize]})
}

// begin is the newest mark, 0 where nothing is known.
func (w *window) begin() uint64 {
	if len(w.marks) == 0 {
		return 0
	}
	return w.marks[len(w.marks)-1].index
}

// before is the sum of everything before entry i.
func (w *window) before(i uint64) (uint64, bool) {
	if w.next == 0 || i > w.next {
		return 0, false
	}
	if i >= w.low {
		return w.ring[i%windowSize], true
	}
	for _, m := range w.marks {
		if m.index == i {
			return m.before, true
		}
	}
	return 0, false
}

// sum is that of the entries start ≤ i < end, where it is known.
func (w *window) sum(start, end uint64) (uint64, bool) {
	a, ok := w.before(start)
	b, ok2 := w.before(end)
	return b - a, ok && ok2 && start <= end
}

// cut says that the entries from i on are gone.
func (w *window) cut(i uint64) {
	if w.next == 0 || i >= w.next {
		return
	}
	v, ok := w.before(i)
	if !ok {
		w.forget()
		return
	}
	keep := len(w.marks)
	for keep > 0 && w.marks[keep-1].index >= i {
		keep--
	}
	w.marks = w.marks[:keep]
	w.low = min(w.low, i)
	w.set(i, v)
	if keep == 0 {
		w.marks = append(w.marks, mark{i, v})
	}
}

// forget makes the window know nothing.
func (w *window) forget() {
	w.next, w.low, w.marks = 0, 0, w.marks[:0]
}
