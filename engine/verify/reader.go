// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package verify

import (
	"errors"
	"io/fs"
	"time"

	"github.com/hashicorp/raft"
)

// The reader works in pieces, and rests after each for as long as it took:
// it gets at most half of a core and of the disk.
const (
	pieceEntries = 256
	pieceBytes   = 4 << 20
)

// run is the reader: it compares ranges until stop is closed.
func (l *Log) run() {
	defer close(l.done)
	for {
		select {
		case <-l.wake:
		case <-l.stop:
			return
		}
		for {
			t := l.take()
			l.logSkips()
			if t == nil {
				break
			}
			start := time.Now()
			reason, err := l.read(t)
			t.Elapsed = time.Since(start)
			if err != nil {
				return // stopped
			}
			l.finish(t, reason)
		}
	}
}

func (l *Log) take() *task {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.running, l.mu.waiting = l.mu.waiting, nil
	return l.mu.running
}

// errStopped ends the reader.
var errStopped = errors.New("stopped")

// read fills in what the store answers for the range. A reason says why it is
// not all of it; the only error is errStopped.
func (l *Log) read(t *task) (Reason, error) {
	if !t.Leader.Known {
		return "", nil // nothing to compare with
	}
	var e raft.Log
	var sum uint64
	if err := l.await(t, t.End-1); err != nil {
		return l.unread(t, t.Start, err)
	}
	began, entries, size := time.Now(), 0, 0
	for i := t.Start; i < t.End; i++ {
		if err := l.fetch(t, i, &e); err != nil {
			return l.unread(t, i, err)
		}
		sum += entrySum(&e)
		entries++
		size += len(e.Data)
		if entries < pieceEntries && size < pieceBytes {
			continue
		}
		if l.isVoid(t) {
			return Truncated, nil
		}
		if l.rest(time.Since(began)) {
			return "", errStopped
		}
		began, entries, size = time.Now(), 0, 0
	}
	t.Read = Sum{sum, true}
	if t.Written.Known && t.Read != t.Written {
		t.Entry = l.locate(t)
	}
	return "", nil
}

const (
	// A store that is just opened again, or drops a segment under the reader's
	// feet, is asked again before anybody is alarmed.
	fetchTries = 4
	fetchPause = time.Second
	// awaitPause is how often a Journaled store is asked.
	awaitPause = 100 * time.Millisecond
)

func (l *Log) fetch(t *task, i uint64, e *raft.Log) error {
	for try := 1; ; {
		err := l.get(i, e)
		if err == nil || errors.Is(err, raft.ErrLogNotFound) {
			return err
		}
		if l.settled(i) { // else it is no answer of the disk's
			if try == fetchTries {
				return err
			}
			try++
		}
		if l.rest(fetchPause) {
			return errStopped
		}
		if err := l.await(t, i); err != nil {
			return err
		}
	}
}

// errVoid ends the reading of a range that is no longer in the log.
var errVoid = errors.New("truncated")

// await waits until the store answers for entry i from where it keeps it.
func (l *Log) await(t *task, i uint64) error {
	for !l.settled(i) {
		if l.isVoid(t) {
			return errVoid
		}
		if l.rest(awaitPause) {
			return errStopped
		}
	}
	return nil
}

// unread says why an entry could not be read: the log may have moved on.
func (l *Log) unread(t *task, i uint64, err error) (Reason, error) {
	first, ferr := l.store.FirstIndex()
	switch {
	case errors.Is(err, errStopped), errors.Is(ferr, fs.ErrClosed):
		return "", errStopped
	case errors.Is(err, errVoid):
		return Truncated, nil
	case ferr == nil && (first == 0 || first > i):
		return Compacted, nil
	}
	l.mu.Lock()
	floor := l.mu.floor
	l.mu.Unlock()
	if errors.Is(err, raft.ErrLogNotFound) && i <= floor {
		return Snapshot, nil
	}
	t.Err, t.Entry = err, i
	return "", nil
}

func (l *Log) isVoid(t *task) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return t.void
}

// rest waits for d and tells whether the reader is to end.
func (l *Log) rest(d time.Duration) (stop bool) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return false
	case <-l.stop:
		return true
	}
}

// locate finds the first entry that is not what was written, among those whose
// own sums are still known; 0 where it finds none.
func (l *Log) locate(t *task) uint64 {
	var e raft.Log
	for i := t.Start; i < t.End; i++ {
		l.mu.Lock()
		want, known := l.mu.sums.sum(i, i+1)
		l.mu.Unlock()
		if !known {
			continue
		}
		if err := l.get(i, &e); err != nil || entrySum(&e) != want {
			return i
		}
	}
	return 0
}

// finish judges a range and tells everybody.
func (l *Log) finish(t *task, reason Reason) {
	t.At = time.Now()
	writeFailed, readFailed := t.compare()
	l.mu.Lock()
	l.mu.running = nil
	if t.void {
		reason = Truncated
	}
	if reason != "" {
		l.skipLocked(reason, t.Start, t.End)
		l.mu.Unlock()
		return
	}
	r := t.Report
	s := &l.mu.status
	s.Last = &r
	count := func(counter *uint64, name string) {
		*counter++
		l.metrics.IncrementCounter(name, 1)
	}
	count(&s.Counters.RangesVerified, rangesVerified)
	if writeFailed {
		count(&s.Counters.WriteChecksumFailures, writeFailures)
	}
	if readFailed {
		count(&s.Counters.ReadChecksumFailures, readFailures)
	}
	if r.Result != OK {
		s.LastFailure = &r
	}
	l.mu.Unlock()
	l.logReport(&r, readFailed)
}

// logReport writes the line that Consul's users know.
func (l *Log) logReport(r *Report, readFailed bool) {
	args := []any{"elapsed", r.Elapsed, "leaderChecksum", r.Leader.String(), "rangeEnd", r.End, "rangeStart", r.Start, "readChecksum", r.Read.String()}
	if r.Result == OK {
		l.log.Info("verification checksum OK", l.named(args)...)
		return
	}
	args = append(args, "writeChecksum", r.Written.String())
	if r.Entry != 0 {
		args = append(args, "entry", r.Entry)
	}
	if r.Err != nil {
		args = append(args, "error", r.Err)
	}
	what, next := "what this server reads from its log is not what was written there", storageAdvice
	if r.Result == InFlight {
		what, next = "what this server was given to write is not what the leader wrote", inFlightAdvice
		if readFailed {
			what += ", and it reads something else again"
		}
	}
	l.log.Error("verification checksum FAILED: "+string(r.Result)+": "+what, append(l.named(args), "next", next)...)
}

// logSkips says what was not compared.
func (l *Log) logSkips() {
	l.mu.Lock()
	skips := l.mu.skips
	l.mu.skips = nil
	l.mu.Unlock()
	for _, s := range skips {
		args := l.named([]any{"reason", s.reason, "rangeEnd", s.end, "rangeStart", s.start})
		switch s.reason {
		case Busy:
			l.log.Warn("verification skipped a range, as another one was still being read: where this goes on, make raft_logstore.verification.interval longer", args...)
		case Compacted:
			l.log.Warn("verification skipped a range that was compacted away: where this goes on, make raft_logstore.verification.interval shorter", args...)
		default:
			l.log.Info("verification skipped a range", args...)
		}
	}
}

// named adds the partition.
func (l *Log) named(args []any) []any {
	if l.partition != "" {
		args = append(args, "partition", l.partition)
	}
	return args
}
