// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package verify

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// Options are what a Log is opened with. The zero value is usable.
type Options struct {
	// Logger gets the reports, under its own name.
	Logger hclog.Logger
	// Partition is named in reports where it is not empty.
	Partition string
	// Metrics may be nil.
	Metrics Metrics
}

// Log is a raft.LogStore above another one. What it is asked it asks the store
// below, and what that one's calls promise holds for its own; it adds the time
// to hash an entry to an append, and no I/O.
//
// As raft does, StoreLogs and the removal of a suffix are called by one goroutine
// at a time; everything else by any.
//
// It owns one goroutine, which reads ranges back, one at a time, resting as long
// as it works. Close ends it.
type Log struct {
	store     raft.LogStore
	settled   func(index uint64) bool // of a Journaled store
	monotonic bool
	nonce     uint64 // marks the checkpoints that this Log is to fill in
	log       hclog.Logger
	partition string
	metrics   Metrics

	// wake: there is something for the reader; sent to without blocking; depth 1;
	// never closed.
	wake chan struct{}
	stop chan struct{} // closed by Close
	done chan struct{} // closed by the reader when it ends
	once sync.Once     // closes stop

	// append orders appends and the removal of suffixes. Held during I/O.
	append sync.Mutex

	mu struct { // never held during I/O
		sync.Mutex
		sums window
		// floor: what is missing at or below it is in a snapshot.
		floor uint64
		// covered is the end of the last range that a checkpoint covered; 0: none yet.
		covered uint64
		// waiting is the range to be read next, running the one being read.
		waiting, running *task
		skips            []skip // not yet logged; a bounded number
		status           Status
	}
}

var (
	_ raft.LogStore          = (*Log)(nil)
	_ raft.MonotonicLogStore = (*Log)(nil)
)

// task is a range to be read and compared.
type task struct {
	Report
	// void: the range is no longer in the log. Guarded by Log.mu.
	void bool
}

// suspect tells whether the range is known to be damaged before it is read.
func (t *task) suspect() bool {
	return !t.Leader.Known || t.Written.Known && t.Written != t.Leader
}

type skip struct {
	reason     Reason
	start, end uint64
}

// New returns a Log above the store, which stays the caller's.
func New(store raft.LogStore, o Options) *Log {
	l := &Log{
		store: store, nonce: rand.Uint64(), log: o.Logger, partition: o.Partition, metrics: o.Metrics,
		wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
	}
	if m, ok := store.(raft.MonotonicLogStore); ok {
		l.monotonic = m.IsMonotonic()
	}
	l.settled = func(uint64) bool { return true }
	if j, ok := store.(Journaled); ok {
		l.settled = j.Settled
	}
	if l.log == nil {
		l.log = hclog.NewNullLogger()
	}
	if l.metrics == nil {
		l.metrics = noMetrics{}
	}
	for _, name := range []string{checkpointsWritten, rangesVerified, readFailures, writeFailures, droppedReports, skippedRanges} {
		l.metrics.IncrementCounter(name, 0) // there from the start, for alerts on their growth
	}
	l.mu.status.Counters.Skipped = make(map[Reason]uint64)
	go l.run()
	return l
}

// Close ends the reader. It waits for the read that is under way, so it hangs
// while the disk does. The store below is not closed; the Log goes on without
// comparing. A second Close does nothing.
func (l *Log) Close() error {
	l.once.Do(func() { close(l.stop) })
	<-l.done
	return nil
}

// Checkpoint is the entry for a leader to hand to raft.ApplyLog. data must mean
// nothing to the state machine; the Log puts the sum beside it on the way.
func (l *Log) Checkpoint(data []byte) raft.Log {
	return raft.Log{Type: raft.LogCommand, Data: data, Extensions: encode(kindRequest, Checkpoint{Sum: l.nonce})}
}

// Status is what is known now. It waits for no I/O.
func (l *Log) Status() Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.mu.status
	s.Counters = s.Counters.clone()
	return s
}

// IsMonotonic implements raft.MonotonicLogStore: what the store below says.
func (l *Log) IsMonotonic() bool { return l.monotonic }

// FirstIndex implements raft.LogStore.
func (l *Log) FirstIndex() (uint64, error) { return l.store.FirstIndex() }

// LastIndex implements raft.LogStore.
func (l *Log) LastIndex() (uint64, error) { return l.store.LastIndex() }

// GetLog implements raft.LogStore.
func (l *Log) GetLog(index uint64, log *raft.Log) error { return l.store.GetLog(index, log) }

// StoreLog implements raft.LogStore.
func (l *Log) StoreLog(log *raft.Log) error { return l.StoreLogs([]*raft.Log{log}) }

// StoreLogs implements raft.LogStore. Checkpoints that this Log was asked for
// are filled in.
func (l *Log) StoreLogs(logs []*raft.Log) error {
	if len(logs) == 0 {
		return l.store.StoreLogs(logs)
	}
	l.append.Lock()
	defer l.append.Unlock()
	l.mu.Lock()
	l.cutLocked(logs[0].Index) // a store that is not monotonic overwrites
	checkpoints := l.noteLocked(logs)
	l.mu.Unlock()

	err := l.store.StoreLogs(logs)

	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		// They may be there after the next restart, or not.
		l.mu.sums.forget()
		return err
	}
	for _, c := range checkpoints {
		l.mu.status.Counters.CheckpointsWritten++
		l.metrics.IncrementCounter(checkpointsWritten, 1)
		l.coverLocked(c)
	}
	return nil
}

// noteLocked adds what is about to be written to the sums, fills checkpoints in
// and returns them.
func (l *Log) noteLocked(logs []*raft.Log) []*task {
	var found []*task
	sums := &l.mu.sums
	for _, e := range logs {
		sums.reach(e.Index)
		if IsCheckpoint(e) {
			if isRequest(e, l.nonce) {
				c := Checkpoint{Start: sums.begin(), End: e.Index}
				var known bool
				if c.Sum, known = sums.sum(c.Start, c.End); !known {
					c.Start, c.Sum = c.End, 0
				}
				e.Extensions = encode(kindSum, c)
			}
			found = append(found, l.taskLocked(e))
			sums.mark()
		}
		sums.add(entrySum(e))
	}
	return found
}

// taskLocked is what a checkpoint asks to be compared.
func (l *Log) taskLocked(e *raft.Log) *task {
	c, err := Decode(e)
	if err != nil {
		return &task{Report: Report{Start: e.Index, End: e.Index, Err: err}}
	}
	t := &task{Report: Report{Start: c.Start, End: c.End, Leader: Sum{c.Sum, true}}}
	if sum, ok := l.mu.sums.sum(c.Start, c.End); ok {
		t.Written = Sum{sum, true}
	}
	return t
}

// coverLocked has the range of a stored checkpoint compared.
func (l *Log) coverLocked(t *task) {
	if errors.Is(t.Err, ErrVersion) {
		l.skipLocked(Version, t.Start, t.End) // where it begins is not known
		l.mu.covered = t.End
		return
	}
	if t.Err == nil {
		if l.mu.covered != 0 && t.Start > l.mu.covered {
			l.skipLocked(Uncovered, l.mu.covered, t.Start)
		}
		l.mu.covered = t.End
		if t.Start == t.End {
			return
		}
	}
	switch w := l.mu.waiting; {
	case w == nil:
		l.mu.waiting = t
	case t.suspect() && !w.suspect():
		// What is known to be damaged is told, whatever else waits.
		l.mu.waiting = t
		l.skipLocked(Busy, w.Start, w.End)
	default:
		l.skipLocked(Busy, t.Start, t.End)
	}
	l.wakeReader()
}

// maxSkips bounds what waits to be logged; what is beyond it is only counted.
const maxSkips = 16

func (l *Log) skipLocked(reason Reason, start, end uint64) {
	l.mu.status.Counters.Skipped[reason]++
	l.metrics.IncrementCounter(skippedRanges, 1)
	if reason == Busy {
		l.mu.status.Counters.DroppedReports++
		l.metrics.IncrementCounter(droppedReports, 1)
	}
	if len(l.mu.skips) < maxSkips {
		l.mu.skips = append(l.mu.skips, skip{reason, start, end})
	}
	l.wakeReader()
}

func (l *Log) wakeReader() {
	select {
	case l.wake <- struct{}{}:
	default: // it is awake
	}
}

// DeleteRange implements raft.LogStore.
func (l *Log) DeleteRange(from, to uint64) error {
	if from > to {
		return l.store.DeleteRange(from, to)
	}
	first, err := l.store.FirstIndex()
	if err != nil {
		return err
	}
	last, err := l.store.LastIndex()
	if err != nil {
		return err
	}
	if from <= first && to < last {
		// A compaction: what was written stays written, and the reader sees for
		// itself where the log begins. It may run beside an append that hangs.
		return l.store.DeleteRange(from, to)
	}
	l.append.Lock()
	defer l.append.Unlock()
	l.mu.Lock()
	l.cutLocked(from)
	l.mu.Unlock()
	if err := l.store.DeleteRange(from, to); err != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.mu.sums.forget()
		return err
	}
	return nil
}

// cutLocked says that the entries from i on go.
func (l *Log) cutLocked(i uint64) {
	l.mu.sums.cut(i)
	l.mu.covered = min(l.mu.covered, i)
	for _, t := range []*task{l.mu.waiting, l.mu.running} {
		if t != nil && t.End >= i {
			t.void = true
		}
	}
}

// Restored says that raft has restored a snapshot whose last entry is index. On
// a store that is not monotonic raft keeps the entries that were there before,
// and appends behind a gap: what is missing up to index was never lost. Call it
// from raft's FSM.Restore, when no append is under way.
func (l *Log) Restored(index uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.sums.forget()
	l.mu.floor = max(l.mu.floor, index)
}

// get reads an entry. A decoder that panics over damaged bytes must not take the
// engine along.
func (l *Log) get(index uint64, out *raft.Log) error { return get(l.store, index, out) }

func get(store Reader, index uint64, out *raft.Log) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("entry %d does not decode: %v", index, r)
		}
	}()
	*out = raft.Log{}
	if err := store.GetLog(index, out); err != nil {
		return err
	}
	if out.Index != index {
		return fmt.Errorf("what the store has as entry %d says that it is entry %d", index, out.Index)
	}
	return nil
}

// Journaled is a store that may answer for its newest entries from elsewhere than
// where it keeps them: a failover log, from memory, while its disk hangs. What is
// read then says nothing about the disk, so the reader waits.
type Journaled interface {
	// Settled tells whether a read of the entry says what the disk has. It waits
	// for nothing.
	Settled(index uint64) bool
}

// Reader is a log to be read: the part of raft.LogStore that changes nothing.
type Reader interface {
	FirstIndex() (uint64, error)
	LastIndex() (uint64, error)
	GetLog(index uint64, log *raft.Log) error
}
