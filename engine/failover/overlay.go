// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package failover

import (
	"fmt"

	"github.com/hashicorp/raft"
)

// An overlay is the log as its callers see it: the primary, with what the
// primary does not have yet on top.
//
//	first            base                 last
//	  ├───── primary ──┼───── memory ───────┤
//
// Below first and above last there is nothing; from base on, entries come from
// memory; below base, from the primary. It is pure; the log's mutex guards it.
//
// Invariant: mem[i] is the entry base+i, and base+len(mem) == last+1 unless
// the log is empty.
type overlay struct {
	first, last uint64 // 0, 0: empty
	base        uint64
	mem         []memEntry
	bytes       int // of the entries in mem
}

// A memEntry stays in memory until the primary has applied the operation that
// wrote it.
type memEntry struct {
	log *raft.Log
	by  seq
}

func (o *overlay) empty() bool { return o.last == 0 }

// append makes the suffix from the first entry's index on these entries.
func (o *overlay) append(by seq, logs []*raft.Log) error {
	from := logs[0].Index
	if err := contiguous(logs); err != nil {
		return err
	}
	switch {
	case o.empty():
		o.first, o.base, o.last = from, from, from-1
		o.mem = nil
	case from > o.last+1:
		return fmt.Errorf("an append at %d behind a log that ends at %d", from, o.last)
	case from <= o.last:
		o.truncate(from)
		if o.empty() {
			o.first, o.base = from, from
		}
	}
	if len(o.mem) == 0 {
		o.base = from
	}
	for _, l := range logs {
		o.mem = append(o.mem, memEntry{l, by})
		o.bytes += entryBytes(l)
	}
	o.last = logs[len(logs)-1].Index
	return nil
}

// contiguous refuses an append with a hole in it.
func contiguous(logs []*raft.Log) error {
	from := logs[0].Index
	for i, l := range logs {
		if l.Index != from+uint64(i) { //nolint:gosec // small
			return fmt.Errorf("entry %d follows entry %d in one append", l.Index, from+uint64(i)-1) //nolint:gosec // small
		}
	}
	return nil
}

// truncate removes the suffix from index on.
func (o *overlay) truncate(index uint64) {
	switch {
	case o.empty() || index > o.last:
		return
	case index <= o.first:
		o.reset()
		return
	case index > o.base:
		o.drop(o.mem[index-o.base:])
		o.mem = o.mem[:index-o.base]
	default:
		o.drop(o.mem)
		o.mem, o.base = nil, index
	}
	o.last = index - 1
}

// truncatePrefix removes everything below first, which must not be above last.
func (o *overlay) truncatePrefix(first uint64) {
	if o.empty() || first <= o.first {
		return
	}
	o.first = first
	for len(o.mem) > 0 && o.base < first {
		o.drop(o.mem[:1])
		o.mem, o.base = o.mem[1:], o.base+1
	}
}

// reset removes everything.
func (o *overlay) reset() { *o = overlay{} }

// applied lets go of what the primary has.
func (o *overlay) applied(by seq) {
	n := 0
	for n < len(o.mem) && o.mem[n].by <= by {
		n++
	}
	o.drop(o.mem[:n])
	o.mem = o.mem[n:]
	o.base += uint64(n) //nolint:gosec // small
	if len(o.mem) == 0 {
		o.mem = nil
	}
}

// get returns the entry at index: from memory, or inPrimary.
func (o *overlay) get(index uint64) (l *raft.Log, inPrimary bool, err error) {
	switch {
	case o.empty() || index < o.first || index > o.last:
		return nil, false, raft.ErrLogNotFound
	case index < o.base:
		return nil, true, nil
	}
	return o.mem[index-o.base].log, false, nil
}

func (o *overlay) drop(gone []memEntry) {
	for i := range gone {
		o.bytes -= entryBytes(gone[i].log)
		gone[i].log = nil
	}
}

func entryBytes(l *raft.Log) int { return entryOverhead + len(l.Data) + len(l.Extensions) }
