// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package failover

// A seq numbers the operations of one log, from 1, without gaps while the
// process lives. After a restart numbering goes on above everything that was
// ever fenced or replayed.
type seq uint64

// A ledger is what the log knows of where each operation is durable, and the
// rules that follow. It is pure: no clock, no I/O, no lock. The log calls it
// under its mutex; the model in model_test.go calls it with every order of
// completions and crashes that a small history can have.
//
//	            fenced            applied         last
//	              │                  │              │
//	primary  ─────┴──────────────────┴······hung····┤
//	journal       ├ first ───── durable ── issued ──┤   (while an epoch is open)
//
// Operations up to applied are durable on the primary. Operations from first
// to durable are durable in the journal. What recovery replays is every
// durable journal record above fenced, in order; the rules below exist so
// that this replay never erases an acknowledged operation.
type ledger struct {
	last    seq // the newest operation
	applied seq // the newest operation durable on the primary
	fenced  seq // the newest operation that a durable fence names

	epoch uint64 // the open epoch, or the newest one
	open  bool

	// Invariant: while open, first ≤ issued+1 and durable ≤ issued ≤ last.
	first   seq // first operation journaled in this epoch
	issued  seq // newest operation handed to the side's writer
	durable seq // newest operation durable on the side

	// closing: operations above closeAt go to the primary alone; the epoch
	// ends when the fence reaches closeAt. Rule 2.
	closing bool
	closeAt seq
}

// submit numbers a new operation.
func (l *ledger) submit() seq {
	l.last++
	return l.last
}

// openEpoch begins journaling. Every operation that the primary has not
// applied is to be journaled, in order, before any later one: rule 1. When
// the epoch was closing, closing is called off and the same epoch goes on, so
// that its chain has no gap.
func (l *ledger) openEpoch() {
	if l.open {
		l.closing = false
		return
	}
	l.open = true
	l.closing = false
	l.epoch++
	l.startChain()
}

// startChain makes the first unapplied operation the first of the chain.
func (l *ledger) startChain() {
	l.first = l.applied + 1
	l.issued = l.applied
	l.durable = l.applied
}

// toIssue returns the operations that the journal lacks, [from, to], to < from
// when there are none. The caller hands them to the side's writer and says so
// by onIssued, without letting go of its mutex in between.
//
// While recovery could replay nothing, what the primary has applied is left
// out: it may have been acknowledged already, and a torn write that kept only
// the records before it would erase it. If records of this epoch are in the
// journal, all of them behind the fence, a new epoch begins, since a chain has
// no gaps.
func (l *ledger) toIssue() (from, to seq) {
	if !l.open {
		return 1, 0
	}
	if !l.closing && l.issued < l.oldestReplayable() && l.issued < l.applied {
		if l.issued >= l.first {
			l.epoch++
		}
		l.startChain()
	}
	to = l.last
	if l.closing {
		to = l.closeAt
	}
	return l.issued + 1, to
}

// onIssued notes that every operation up to s was handed to the side's writer.
func (l *ledger) onIssued(s seq) { l.issued = max(l.issued, s) }

// onDurable notes that every journal record up to s is durable on the side.
// A write that ends after its epoch was closed says nothing any more.
func (l *ledger) onDurable(epoch uint64, s seq) {
	if l.open && epoch == l.epoch {
		l.durable = max(l.durable, s)
	}
}

// onApplied notes that the primary holds every operation up to s.
func (l *ledger) onApplied(s seq) { l.applied = max(l.applied, s) }

// onFenced notes that a fence naming s is durable.
func (l *ledger) onFenced(s seq) {
	l.fenced = max(l.fenced, s)
	l.endIfFenced()
}

// endIfFenced ends a closing epoch once the fence has passed its records.
func (l *ledger) endIfFenced() {
	if l.open && l.closing && l.fenced >= l.closeAt {
		l.open, l.closing = false, false
	}
}

// startClosing stops journaling: operations from here on wait for the fence.
func (l *ledger) startClosing() {
	if l.open && !l.closing {
		l.closing = true
		l.closeAt = l.issued
		l.endIfFenced()
	}
}

// wantsFence reports whether the applier owes a fence now: the epoch is
// closing and everything journaled in it is on the primary.
func (l *ledger) wantsFence() bool {
	return l.open && l.closing && l.applied >= l.closeAt
}

// ackable reports whether operation s may be acknowledged.
//
// From the side: its record is durable, and with it all before it.
// From the primary: it is applied, and no record before it can be replayed
// over it. Records of this epoch start at first, so the operation at first
// itself may still be acknowledged by the primary when that wins the race,
// and a later one only once the fence has passed all records before it.
func (l *ledger) ackable(s seq) bool {
	if l.open && s >= l.first && s <= l.durable {
		return true
	}
	return l.applied >= s && !l.replayableBelow(s)
}

// replayableBelow reports whether recovery could replay a record older than s.
func (l *ledger) replayableBelow(s seq) bool {
	if !l.open {
		return false // closed: the fence passed the newest record
	}
	return l.oldestReplayable() <= min(l.issued, s-1)
}

// mayShorten reports whether the primary may be handed operation s, which is
// not an append. One that removes entries may be handed over only once no
// record before it can be replayed: an append replayed onto a log that is
// shorter than the one it was made for would leave a hole, and what the
// operation removed is nowhere else. The applier fences first.
func (l *ledger) mayShorten(s seq) bool { return !l.replayableBelow(s) }

// oldestReplayable is the first operation whose record recovery would replay,
// if there is one.
func (l *ledger) oldestReplayable() seq { return max(l.first, l.fenced+1) }

// pending reports how many operations the primary has not applied.
func (l *ledger) pending() int { return int(l.last - l.applied) }
