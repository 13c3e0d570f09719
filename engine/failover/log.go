// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package failover

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs"
)

// A Log is a raft log and stable store whose writes move to a side disk while
// the primary's disk hangs. It implements raft.LogStore, raft.StableStore and
// raft.MonotonicLogStore.
//
// Every method is safe for concurrent use. StoreLogs, Set, SetUint64 and a
// DeleteRange that removes the end of the log return once the change is
// durable, on the primary or on the side. GetLog reads the primary's disk for
// entries that it has; no other method waits for it.
type Log struct {
	cfg  Config
	fs   vfs.FS
	id   Identity
	side *Side // nil: no failover

	mu struct {
		sync.Mutex
		led     ledger
		view    overlay
		stable  map[string][]byte // every value that was ever read or written here
		queue   []*op             // not applied yet, in sequence order
		bytes   int64             // of the records of queue
		unacked []*op             // waited for, in sequence order
		hedge   hedge

		threshold, maxSync time.Duration
		call               call      // what the primary is busy with
		choreEnd           time.Time // when the newest chore on the primary ended
		fenced             time.Time // when the newest fence ended
		wantsFence         bool      // somebody waits for a fence, though the epoch goes on
		compactTo          uint64    // entries below it may leave the primary
		side               armament
		sideErr            error // the open epoch's journal failed; sticky until the epoch ends
		primaryErr         error // the primary's newest error, nil since it answered again
		replayed           int   // operations that Open found in journals
		hedging            bool  // the epoch is a hedge so far
		mode               mode
		closed             bool
	}

	// The applier's own: the primary and what is in it.
	primary      Store
	primaryM     sync.RWMutex // readers hold it shared; reopening holds it alone
	fence        *fenceFile
	record       logRecord
	pFirst       uint64
	pLast        uint64
	piece        uint64    // entries that the next piece of compaction removes
	compactAfter time.Time // no compaction before that: one failed
	backoff      time.Duration
	release      func() error // the log's lock

	wake     chan struct{} // depth 1, to the applier
	watching chan struct{} // depth 1, to the watcher: something is late
	settled  chan struct{} // closed when the side is armed, or known not to be
	settle   sync.Once
	stop     chan struct{} // closed by Close
	halt     sync.Once
	drained  chan struct{}  // closed by the applier at its end
	owned    sync.WaitGroup // the watcher; the armer may be held by a side that hangs
	ending   ending
	timers   sync.Pool // of waits
}

var (
	_ raft.LogStore          = (*Log)(nil)
	_ raft.StableStore       = (*Log)(nil)
	_ raft.MonotonicLogStore = (*Log)(nil)
)

// IsMonotonic tells raft that entries are only ever appended behind the last.
func (l *Log) IsMonotonic() bool { return true }

// FirstIndex is the first index, 0 for an empty log. It does not read the disk.
func (l *Log) FirstIndex() (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.view.first, nil
}

// LastIndex is the last index, 0 for an empty log. It does not read the disk.
func (l *Log) LastIndex() (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.view.last, nil
}

// GetLog fills in the entry at index; raft.ErrLogNotFound outside the log.
func (l *Log) GetLog(index uint64, out *raft.Log) error {
	l.mu.Lock()
	entry, inPrimary, err := l.mu.view.get(index)
	if err == nil && !inPrimary {
		*out = *entry
	}
	l.mu.Unlock()
	if err != nil || !inPrimary {
		return err
	}
	l.primaryM.RLock()
	defer l.primaryM.RUnlock()
	if l.primary == nil {
		return fmt.Errorf("entry %d: %w", index, l.notOpen())
	}
	return l.primary.GetLog(index, out)
}

// notOpen is why there is no primary to read.
func (l *Log) notOpen() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.closed {
		return ErrClosed
	}
	return fmt.Errorf("the primary could not be opened again: %w", l.mu.primaryErr)
}

// StoreLog stores one entry.
func (l *Log) StoreLog(entry *raft.Log) error { return l.StoreLogs([]*raft.Log{entry}) }

// maxOp bounds what one operation carries, so that a large append becomes
// several journal records. One entry may be larger.
const maxOp = 4 << 20

// StoreLogs appends entries, which have to follow the log's end or replace
// its suffix. Durable when it returns. The entries must not be changed afterwards.
//
// ErrStalled, on a leader only: nothing was appended.
func (l *Log) StoreLogs(entries []*raft.Log) error {
	if len(entries) == 0 {
		return nil
	}
	first := entries[0].Index
	if err := contiguous(entries); err != nil {
		return err // before anything of it is appended
	}
	if last, _ := l.LastIndex(); first <= last {
		// What is replaced goes by an operation of its own, so that the primary
		// never has the old suffix gone and the new one not there yet under one number.
		if err := l.DeleteRange(first, last); err != nil {
			return err
		}
	}
	var last *op
	for len(entries) > 0 {
		n, size := 1, entryBytes(entries[0])
		for n < len(entries) && size+entryBytes(entries[n]) <= maxOp {
			size += entryBytes(entries[n])
			n++
		}
		o := newOp(opAppend)
		o.logs = slices.Clone(entries[:n])
		entries = entries[n:]
		if err := l.submit(o, len(entries) == 0); err != nil {
			return err
		}
		last = o
	}
	return l.wait(last, first)
}

// DeleteRange removes entries at the front or at the end of the log. From the
// front it moves the first index at once and the primary follows when it is
// idle, which is not durable: after a crash old entries may be there again.
func (l *Log) DeleteRange(low, high uint64) error {
	l.mu.Lock()
	v := &l.mu.view
	if v.empty() || high < v.first || low > v.last {
		l.mu.Unlock()
		return nil
	}
	var o *op
	switch {
	case low <= v.first && high >= v.last:
		o = newOp(opReset)
	case low <= v.first:
		v.truncatePrefix(high + 1)
		l.mu.compactTo = max(l.mu.compactTo, high+1)
		l.mu.Unlock()
		l.poke()
		return nil
	case high >= v.last:
		o = newOp(opTruncate)
		o.index = low
	default:
		first, last := v.first, v.last
		l.mu.Unlock()
		return fmt.Errorf("removing %d to %d would leave a hole in a log of %d to %d", low, high, first, last)
	}
	l.mu.Unlock()
	if err := l.submit(o, true); err != nil {
		return err
	}
	return l.wait(o, 0)
}

// Set stores a value. Durable when it returns.
func (l *Log) Set(key, value []byte) error { return l.set(opSet, key, slices.Clone(value)) }

// SetUint64 stores a number. Durable when it returns.
func (l *Log) SetUint64(key []byte, n uint64) error {
	return l.set(opSetUint64, key, binary.BigEndian.AppendUint64(nil, n))
}

func (l *Log) set(kind opKind, key, value []byte) error {
	o := newOp(kind)
	o.key, o.value = slices.Clone(key), value
	if err := l.submit(o, true); err != nil {
		return err
	}
	return l.wait(o, 0)
}

// Get returns a value, or the primary's own error for a key that is not there.
func (l *Log) Get(key []byte) ([]byte, error) {
	if v, ok := l.cached(key); ok {
		return v, nil
	}
	l.primaryM.RLock()
	defer l.primaryM.RUnlock()
	if l.primary == nil {
		return nil, fmt.Errorf("key %q: %w", key, l.notOpen())
	}
	return l.primary.Get(key)
}

// GetUint64 returns a number, or what the primary returns for a missing key.
func (l *Log) GetUint64(key []byte) (uint64, error) {
	if v, ok := l.cached(key); ok {
		if len(v) != 8 {
			return 0, fmt.Errorf("key %q holds %d bytes, not a number", key, len(v))
		}
		return binary.BigEndian.Uint64(v), nil
	}
	l.primaryM.RLock()
	defer l.primaryM.RUnlock()
	if l.primary == nil {
		return 0, fmt.Errorf("key %q: %w", key, l.notOpen())
	}
	return l.primary.GetUint64(key)
}

func (l *Log) cached(key []byte) ([]byte, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	v, ok := l.mu.stable[string(key)]
	return slices.Clone(v), ok
}

func newOp(kind opKind) *op { return &op{kind: kind, done: make(chan error, 1)} }

// submit numbers an operation, makes it visible, and hands it to the applier
// and, while an epoch is open, to the side.
func (l *Log) submit(o *op, waited bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.submitLocked(o, waited)
}

func (l *Log) submitLocked(o *op, waited bool) error {
	if l.mu.closed {
		return ErrClosed
	}
	o.size = recordSize(o)
	o.since = time.Now()
	switch o.kind {
	case opAppend:
		if err := l.mu.view.append(l.mu.led.last+1, o.logs); err != nil {
			return err
		}
	case opTruncate:
		l.mu.view.truncate(o.index)
	case opReset:
		l.mu.view.reset()
		l.mu.compactTo = 0
	case opSet, opSetUint64:
		l.mu.stable[string(o.key)] = o.value
	}
	o.seq = l.mu.led.submit()
	o.hedge = l.mu.hedge.after(o.since, o.size, l.mu.threshold)
	l.mu.queue = append(l.mu.queue, o)
	l.mu.bytes += int64(o.size)
	if waited {
		l.mu.unacked = append(l.mu.unacked, o)
	}
	// What arrives while the head is late does not wait for a hedge of its own.
	l.hedgeLocked(l.mu.queue[0], o.since)
	l.issueLocked()
	l.poke()
	return nil
}

// poke wakes the applier.
func (l *Log) poke() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// issueLocked hands the side what the open epoch's journal lacks. At the
// budget's end it hands over nothing any more, as if the side hung.
func (l *Log) issueLocked() {
	led := &l.mu.led
	from, to := led.toIssue()
	if from > to || l.mu.sideErr != nil {
		return
	}
	if l.mu.bytes > l.cfg.JournalBudget {
		l.sideFailedLocked(fmt.Errorf("%w: %d bytes wait for the primary, and the budget is %d", ErrJournalFull, l.mu.bytes, l.cfg.JournalBudget))
		return
	}
	// The queue holds every operation above applied, and toIssue names none
	// below: while the epoch is closing the applier does not go past closeAt.
	at := int(from - l.mu.queue[0].seq) //nolint:gosec // within the queue
	ops := l.mu.queue[at : at+int(to-from)+1]
	led.onIssued(to)
	w := &journalWrite{journal: l.mu.side.journal, epoch: led.epoch, ops: slices.Clone(ops), fenced: led.fenced, result: l.onJournaled}
	if led.durable >= led.first {
		w.durable = led.durable
	}
	l.side.write(w)
}

// onJournaled is the side's answer. Behind a write that failed nothing counts
// any more: the chain has a hole.
func (l *Log) onJournaled(epoch uint64, upTo seq, took time.Duration, err error) {
	l.cfg.Metrics.SideSync(took)
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.mu.led.open || epoch != l.mu.led.epoch || l.mu.sideErr != nil {
		return
	}
	if err != nil {
		l.sideFailedLocked(err)
		return
	}
	l.mu.led.onDurable(epoch, upTo)
	l.ackLocked()
}

// sideFailedLocked gives the open epoch's journal up.
func (l *Log) sideFailedLocked(err error) {
	l.mu.sideErr = err
	l.cfg.Logger.Error("the side cannot be written: writes wait for the primary", "side", l.side.Dir(), "error", err)
}

// ackLocked answers every waiting operation that may be acknowledged.
func (l *Log) ackLocked() {
	n := 0
	for n < len(l.mu.unacked) && l.mu.led.ackable(l.mu.unacked[n].seq) {
		l.mu.unacked[n].done <- nil
		l.mu.unacked[n] = nil
		n++
	}
	l.mu.unacked = l.mu.unacked[n:]
	if len(l.mu.unacked) == 0 {
		l.mu.unacked = nil
	}
}
