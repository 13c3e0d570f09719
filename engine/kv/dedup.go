// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package kv

// A node that lost its leader's answer sends the command again, with the same
// ID, and the first one may have been applied. dedup remembers, per origin,
// the results from the origin's floor on: a command that is there returns its
// first result and changes nothing.
//
// It is state like the keys: every replica has the same, and it is in
// snapshots. Nothing in it depends on when a replica was restored.
const (
	// dedupWindow bounds the results kept of one origin. A command that holds
	// its origin's floor back while this many others pass it is forgotten; its
	// retry gets CodeExpired rather than a second application.
	dedupWindow = 1 << 18
	// dedupIdle is how many indexes may pass without an origin's being heard
	// of before all of it is forgotten: a node process that is gone.
	dedupIdle = 1_000_000
	// dedupSweep is how often idle origins are looked for, in indexes. It
	// counts indexes and not calls: the calls differ after a restore.
	dedupSweep = 1 << 16
	// dedupMinRing is the size that an origin's ring starts with.
	dedupMinRing = 64
)

type dedup struct {
	origins map[uint64]*origin
}

func newDedup() dedup { return dedup{origins: make(map[uint64]*origin)} }

// origin is the window of one node process: the results of floor ≤ seq < next.
type origin struct {
	floor uint64
	next  uint64 // one above the highest seq seen
	heard uint64 // the partition's index when the origin was last heard of
	// ring holds the result of seq at seq modulo its length, a power of two.
	// Invariant: slots outside the window are zero.
	ring []slot
	// messages of the few results that have one.
	messages map[uint64]string
}

// slot is a result without pointers, so that the collector passes over rings.
type slot struct {
	index uint64
	state slotState
	code  ResultCode
}

type slotState uint8

const (
	slotEmpty slotState = iota
	slotOK              // applied, Result.OK
	slotNotOK           // applied, not Result.OK
)

// origin finds the command's origin and moves its floor.
func (d *dedup) origin(id ID) *origin {
	o := d.origins[id.Origin]
	if o == nil {
		floor := min(id.Floor, id.Seq)
		o = &origin{floor: floor, next: floor}
		d.origins[id.Origin] = o
	}
	o.raise(min(id.Floor, id.Seq))
	if id.Seq >= o.next { // and so ≥ o.floor
		if id.Seq-o.floor >= dedupWindow {
			o.raise(id.Seq - dedupWindow + 1)
		}
		o.next = id.Seq + 1
		o.grow()
	}
	return o
}

// raise forgets the results below floor.
func (o *origin) raise(floor uint64) {
	if floor <= o.floor {
		return
	}
	if end := min(floor, o.next); len(o.ring) > 0 && end-o.floor < uint64(len(o.ring)) {
		for seq := o.floor; seq < end; seq++ {
			*o.at(seq) = slot{}
		}
	} else {
		clear(o.ring)
	}
	for seq := range o.messages {
		if seq < floor {
			delete(o.messages, seq)
		}
	}
	o.floor = floor
	o.next = max(o.next, floor)
}

// grow makes room for the whole window.
func (o *origin) grow() {
	size := uint64(max(len(o.ring), dedupMinRing))
	for size < o.next-o.floor {
		size *= 2
	}
	if size == uint64(len(o.ring)) {
		return
	}
	old := *o
	o.ring = make([]slot, size)
	for seq := o.floor; len(old.ring) > 0 && seq < o.next && seq-o.floor < uint64(len(old.ring)); seq++ {
		*o.at(seq) = *old.at(seq)
	}
}

func (o *origin) at(seq uint64) *slot { return &o.ring[seq&uint64(len(o.ring)-1)] }

// lookup returns the result of a command that was seen before. index is the
// partition's, for a result that is no longer known.
func (o *origin) lookup(seq, index uint64) (Result, bool) {
	o.heard = index
	if seq < o.floor {
		return Result{Index: index, Code: CodeExpired,
			Message: "the outcome of this write is unknown: it was retried after its result was forgotten; read the key and decide"}, true
	}
	s := o.at(seq)
	if s.state == slotEmpty {
		return Result{}, false
	}
	return Result{Index: s.index, OK: s.state == slotOK, Code: s.code, Message: o.messages[seq]}, true
}

func (o *origin) remember(seq uint64, r Result) {
	o.heard = r.Index
	s := o.at(seq)
	*s = slot{index: r.Index, state: slotNotOK, code: r.Code}
	if r.OK {
		s.state = slotOK
	}
	if r.Message != "" {
		if o.messages == nil {
			o.messages = make(map[uint64]string)
		}
		o.messages[seq] = r.Message
	}
}

// expire forgets origins that fell silent. It is called after every step of
// the index, and works in one of dedupSweep.
func (d *dedup) expire(index uint64) {
	if index%dedupSweep != 0 {
		return
	}
	for id, o := range d.origins {
		if o.heard+dedupIdle < index {
			delete(d.origins, id)
		}
	}
}
