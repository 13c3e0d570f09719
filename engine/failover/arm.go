// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package failover

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"
)

// A side is armed while the record on the primary names it: it may hold what is
// nowhere else, and no start goes past it. So a side that is not well is disarmed
// as soon as no epoch is open, and armed again when it is well (rule 8).
//
//	        well, journal open              recorded
//	idle ─────────────────────▶ wanted ─────────────────▶ armed
//	 ▲                                                      │ not well, or its journal
//	 └────────── recorded ◀──────────── disarmed ◀──────────┘ failed; no epoch open
//
// A side that fails may be a disk that was unplugged: nothing of it is kept open, so that
// it can be unmounted, and what is mounted in its place later is opened by its path. So is the
// journal of a side whose path leads to another file system than before (probe.go).
//
// The armer decides and makes journals, which the side may hold for as long as
// it hangs. The applier writes the record, since nothing else touches the
// primary, between two operations.

// An armament is how far a log's side is armed. The log's mutex guards it.
type armament struct {
	journal *journal // nil: not opened
	stale   bool     // a write to journal failed, or its path leads elsewhere: it is closed and opened again
	mounts  uint64   // Side.mounts when journal was opened
	epoch   uint64   // the newest that the journal's files hold; 0: unknown to be above the log's
	armed   bool     // it may be written
	want    bool     // what the applier is to bring about
	err     error    // why it is not armed; nil while it is
}

const (
	// tendEvery is how often the armer looks at the side.
	tendEvery = time.Second
	// remakeAfter is how long it waits to open a journal that it could not open.
	remakeAfter = 10 * time.Second
	// armPatience is how long Open waits for the side to be armed, and Close for
	// a side that hangs.
	armPatience = 2 * time.Second
)

// runArmer looks after the side of a log. It ends when stop is closed, or later
// when the side hangs.
func (l *Log) runArmer() {
	t := time.NewTimer(probePatience)
	defer t.Stop()
	probed := l.side.probed
	for {
		select {
		case <-probed:
			probed = nil // once
		case <-t.C:
		case <-l.stop:
			return
		}
		t.Reset(l.tend())
	}
}

// tend looks once, and returns when to look again.
func (l *Log) tend() time.Duration {
	l.mu.Lock()
	threshold := l.mu.threshold
	l.mu.Unlock()
	trouble, mounts := l.side.trouble(threshold), l.side.mounts()

	l.mu.Lock()
	a := &l.mu.side
	if elsewhere := l.elsewhereLocked(mounts); trouble == nil && elsewhere != nil && !l.mu.led.open {
		a.stale = true
		l.disarmLocked(elsewhere)
	}
	switch {
	case l.mu.closed:
	case trouble != nil && !l.mu.led.open:
		l.disarmLocked(trouble)
		if !errors.Is(trouble, ErrHung) {
			old := a.journal
			a.journal = nil
			l.mu.Unlock()
			l.letGoOf(old)
			return tendEvery
		}
	case trouble == nil && !a.want:
		if a.journal == nil || a.stale {
			old := a.journal
			a.journal = nil
			l.mu.Unlock()
			return l.remake(old, mounts)
		}
		a.want = true
		l.poke()
	}
	l.mu.Unlock()
	return tendEvery
}

// elsewhereLocked is why the open journal is not the one that a start would find; nil where it is.
// mounts is what Side.mounts says.
func (l *Log) elsewhereLocked(mounts uint64) error {
	if a := &l.mu.side; a.journal == nil || a.mounts == mounts {
		return nil
	}
	return fmt.Errorf("%w: %s leads to another file system than the one that the journal is open on. It is opened again as soon as nothing in it is needed; "+
		"until then a start needs the one of before to be mounted there", ErrSideUnusable, l.side.Dir())
}

// letGoOf closes the journal of a side that is not armed, and reports whether the side
// let it. Nothing in it is needed.
func (l *Log) letGoOf(old *journal) bool {
	if old == nil {
		return true
	}
	ctx, cancel := context.WithTimeout(context.Background(), armPatience)
	defer cancel()
	err := l.side.forget(ctx, old)
	if errors.Is(err, ErrHung) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.mu.side.journal, l.mu.side.stale = old, true // its lock is held still
		return false
	}
	return true // any other error is of files that nobody reads again
}

// remake opens the journal of a side that is not armed, in place of one that failed. mounts
// is Side.mounts of before.
func (l *Log) remake(old *journal, mounts uint64) time.Duration {
	if !l.letGoOf(old) {
		return tendEvery
	}
	j, runs, err := lockJournal(l.fs, sideDir(l.side.Dir(), l.id.Store, l.id.Partition), l.id, &l.cfg)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.disarmLocked(err)
		return remakeAfter
	}
	if l.mu.closed {
		_ = j.Close() // nothing is in it; Close does not know of it
		return tendEvery
	}
	a := &l.mu.side
	*a = armament{journal: j, mounts: mounts, want: true}
	for _, r := range runs {
		for _, rec := range r.records {
			a.epoch = max(a.epoch, rec.epoch)
		}
		r.file.newest = 0 // not armed: the fence has passed all that was ever needed
	}
	j.prepare(l.side)
	l.poke()
	return tendEvery
}

// disarmLocked takes the side out of use, for a reason. No epoch is open.
func (l *Log) disarmLocked(why error) {
	a := &l.mu.side
	if a.err == nil || a.err.Error() != why.Error() {
		l.cfg.Logger.Error("the side cannot be used: the log runs without failover until it is well", "side", l.side.Dir(), "error", why)
	}
	a.armed, a.want, a.err = false, false, why
	l.settle.Do(func() { close(l.settled) })
	l.poke()
}

// sideBrokenLocked is called at the end of an epoch whose journal failed.
func (l *Log) sideBrokenLocked(err error) {
	if errors.Is(err, ErrJournalFull) {
		return // it is empty now
	}
	l.mu.side.stale = true
	l.disarmLocked(err)
}

// armingLocked reports whether the applier has a record to write.
func (l *Log) armingLocked() bool {
	a := &l.mu.side
	return l.side != nil && (a.want != a.armed || a.want != (len(l.record.Armed) > 0)) && !l.mu.led.open
}

// writeArmed makes the record say what the armer wants. The applier calls it.
func (l *Log) writeArmed() {
	l.mu.Lock()
	a := &l.mu.side
	want, journal, rec := a.want, a.journal, logRecord{Log: l.record.Log}
	raised := want && a.epoch >= l.mu.led.epoch
	if raised {
		// Files that an older fence belonged to: what is in them must stay below
		// every epoch to come.
		l.mu.led.epoch = nextLife(a.epoch)
	}
	at := fence{epoch: l.mu.led.epoch, seq: l.mu.led.applied}
	if want {
		rec.arm(l.side.Dir(), journal)
	}
	l.mu.Unlock()

	start := l.begin(true)
	err := func() error {
		if raised {
			if err := l.fence.write(at); err != nil {
				return err
			}
		}
		if rec.equal(l.record) {
			return nil
		}
		return writeRecord(l.fs, l.cfg.Dir, rec)
	}()
	l.cfg.Metrics.PrimarySync(time.Since(start))
	if err != nil {
		l.failed(fmt.Errorf("recording the armed sides in %s: %w", filepath.Join(l.cfg.Dir, recordName), err))
		l.pause()
		return
	}
	l.record = rec
	l.mu.Lock()
	defer l.mu.Unlock()
	l.endLocked(time.Now())
	if raised {
		l.mu.led.onFenced(at.seq)
	}
	if a.want != want || a.journal != journal {
		return // the armer changed its mind meanwhile
	}
	a.armed = want
	if want {
		a.err = nil
		l.settle.Do(func() { close(l.settled) })
	}
}
