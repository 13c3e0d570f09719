// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package failover

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"github.com/hashicorp/raft"
)

// Open opens the log in cfg.Dir: it takes the log's lock, reads its record,
// opens every armed side and the primary, replays what the sides hold above
// the fence, fences, and only then records the configured side as armed.
//
// It starts neither from the side alone nor past a lock. Where a disk does not
// answer before ctx is done it returns ErrHung naming the step; the caller
// should end the process then, since the hung call keeps what it holds.
func Open(ctx context.Context, cfg Config) (*Log, error) {
	cfg.setDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	o := &opening{cfg: cfg, step: make(chan string, 16)}
	type result struct {
		log *Log
		err error
	}
	done := make(chan result, 1)
	go func() {
		l, err := o.run()
		done <- result{l, err}
	}()
	at := "opening " + cfg.Dir
	for {
		select {
		case at = <-o.step:
		case r := <-done:
			return r.log, r.err
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %s did not end in time: %w", ErrHung, at, ctx.Err())
		}
	}
}

// An opening is one Open on its way.
type opening struct {
	cfg  Config
	step chan string // what is being done, for the error of a hung disk; depth 16, dropped when full

	closers []io.Closer
}

func (o *opening) doing(format string, args ...any) {
	select {
	case o.step <- fmt.Sprintf(format, args...):
	default:
	}
}

func (o *opening) run() (l *Log, err error) {
	defer func() {
		if err != nil {
			for _, c := range slices.Backward(o.closers) {
				err = errors.Join(err, c.Close())
			}
		}
	}()
	cfg := &o.cfg
	o.doing("locking %s", cfg.Dir)
	if err := cfg.FS.MkdirAll(cfg.Dir); err != nil {
		return nil, err
	}
	lock, err := cfg.FS.Lock(filepath.Join(cfg.Dir, "LOCK"))
	if err != nil {
		return nil, fmt.Errorf("locking the log %s: %w", cfg.Dir, err)
	}
	o.closers = append(o.closers, lock)

	o.doing("reading the record of %s", cfg.Dir)
	rec, err := readRecord(cfg.FS, cfg.Dir)
	if err != nil {
		return nil, err
	}
	id := Identity{Cluster: cfg.Cluster, Node: cfg.Node, Store: cfg.Store, Partition: cfg.Partition, Log: rec.Log}
	sum := logSum(rec.Log)
	fenceFile, fenced, err := openFence(cfg.FS, cfg.Dir, sum)
	if err != nil {
		return nil, err
	}
	o.closers = append(o.closers, fenceFile.file)

	o.doing("opening the primary in %s", cfg.Dir)
	primary, err := cfg.Open()
	if err != nil {
		return nil, fmt.Errorf("opening the primary log in %s: %w", cfg.Dir, err)
	}
	o.closers = append(o.closers, primary)
	l = newLog(cfg, id, primary, fenceFile, lock)
	if l.pFirst, l.pLast, err = bounds(primary); err != nil {
		return nil, err
	}

	journals, err := o.openArmed(rec, id)
	if err != nil {
		return nil, err
	}
	replayed, err := o.replay(l, journals, sum, fenced)
	if err != nil {
		return nil, err
	}
	l.mu.view = overlay{first: l.pFirst, last: l.pLast, base: l.pLast + 1}
	l.mu.mode.since = time.Now()
	l.mu.mode.hold = minHold
	if replayed > 0 {
		cfg.Logger.Info("replayed the side journal", "dir", cfg.Dir, "operations", replayed)
	}
	if err := o.arm(l, &rec, journals); err != nil {
		return nil, err
	}
	l.start()
	return l, nil
}

func newLog(cfg *Config, id Identity, primary Store, f *fenceFile, lock io.Closer) *Log {
	l := &Log{
		cfg: *cfg, fs: cfg.FS, id: id, side: cfg.Side, primary: primary, fence: f, release: lock.Close,
		wake: make(chan struct{}, 1), watching: make(chan struct{}, 1), stop: make(chan struct{}),
	}
	l.mu.stable = map[string][]byte{}
	l.mu.threshold, l.mu.maxSync = cfg.Threshold, cfg.MaxSync
	l.mu.closing = make(chan struct{})
	return l
}

func (l *Log) start() {
	l.owned.Go(l.runApplier)
	l.owned.Go(l.runWatcher)
}

// An armedJournal is the journal of one side, with what it held at the start.
type armedJournal struct {
	side    string
	journal *journal
	runs    []run
}

// openArmed opens the journal on every side that the record names. One that
// is missing, foreign or unknown refuses the start: it may hold acknowledged
// writes and votes.
func (o *opening) openArmed(rec logRecord, id Identity) ([]armedJournal, error) {
	var out []armedJournal
	for _, side := range rec.Armed {
		if (o.cfg.Side == nil || o.cfg.Side.Dir() != side) && !slices.Contains(o.cfg.Previous, side) {
			return nil, fmt.Errorf("%w: the log %s was failing over to %s, which may hold writes that are nowhere else. "+
				"Name it as prev_path, so that it is drained first", ErrSideUnknown, o.cfg.Dir, side)
		}
		o.doing("reading the side journal on %s", side)
		dir := sideDir(side, id.Store, id.Partition)
		names, err := o.cfg.FS.List(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("the side journal %s: %w", dir, err)
		}
		if len(names) == 0 {
			return nil, fmt.Errorf("%w: %s holds no journal of the log %s, and one was armed there. "+
				"Mount the side disk and start again; if it is lost, wipe this store and let the server join as a new one, since votes may be lost", ErrSideMissing, dir, o.cfg.Dir)
		}
		j, runs, err := o.openJournal(dir, id)
		if err != nil {
			return nil, err
		}
		out = append(out, armedJournal{side, j, runs})
	}
	return out, nil
}

func (o *opening) openJournal(dir string, id Identity) (*journal, []run, error) {
	if err := o.cfg.FS.MkdirAll(dir); err != nil {
		return nil, nil, err
	}
	lock, err := o.cfg.FS.Lock(filepath.Join(dir, "LOCK"))
	if err != nil {
		return nil, nil, fmt.Errorf("locking the side journal %s: %w", dir, err)
	}
	j, runs, err := openJournal(o.cfg.FS, dir, id, o.cfg.JournalFileSize, int(o.cfg.JournalBudget/o.cfg.JournalFileSize))
	if err != nil {
		return nil, nil, errors.Join(err, lock.Close())
	}
	j.lock = lock
	o.closers = append(o.closers, j)
	return j, runs, nil
}

// replay brings the primary up to what the journals hold above the fence, and
// fences it, so that nothing is ever replayed twice over later operations.
func (o *opening) replay(l *Log, journals []armedJournal, sum uint32, fenced fence) (int, error) {
	var runs []run
	at := fenced
	for _, j := range journals {
		runs = append(runs, j.runs...)
		at.epoch = max(at.epoch, j.journal.epoch)
	}
	records, err := chain(runs, sum, fenced)
	if err != nil {
		return 0, fmt.Errorf("the journals of the log %s: %w. Restore the side disk, or wipe this store and let the server join as a new one", o.cfg.Dir, err)
	}
	o.doing("replaying %d operations onto %s", len(records), o.cfg.Dir)
	for i := 0; i < len(records); {
		n, entries := mergeAppends(records[i:])
		if err := l.apply(&records[i].op, entries); err != nil {
			return 0, fmt.Errorf("replaying operation %d onto %s: %w", records[i].op.seq, o.cfg.Dir, err)
		}
		i += n
		at.seq = records[i-1].op.seq
	}
	if at != fenced {
		if err := l.fence.write(at); err != nil {
			return 0, err
		}
	}
	l.mu.led = ledger{last: at.seq, applied: at.seq, fenced: at.seq, epoch: at.epoch}
	return len(records), nil
}

// mergeAppends returns how many records the first one can be replayed with, and
// their entries where it is an append.
func mergeAppends(records []record) (n int, entries []*raft.Log) {
	if records[0].op.kind != opAppend {
		return 1, nil
	}
	size := 0
	for _, r := range records {
		if r.op.kind != opAppend || n > 0 && (r.op.logs[0].Index != entries[len(entries)-1].Index+1 || size+r.op.size > maxOp) {
			break
		}
		size += r.op.size
		entries = append(entries, r.op.logs...)
		n++
	}
	return n, entries
}

// arm records the configured side on the primary, once its journal is ready
// to be written, and forgets the ones that were drained. A side that cannot
// be armed does not stop the start: the log runs without it, and says so.
func (o *opening) arm(l *Log, rec *logRecord, journals []armedJournal) error {
	armed := []string{}
	for _, j := range journals {
		if o.cfg.Side != nil && j.side == o.cfg.Side.Dir() {
			l.journal = j.journal
			armed = append(armed, j.side)
		} else if err := j.journal.Close(); err != nil {
			return err
		}
	}
	if o.cfg.Side != nil && l.journal == nil {
		dir := sideDir(o.cfg.Side.Dir(), l.id.Store, l.id.Partition)
		o.doing("making the side journal %s", dir)
		j, runs, err := o.openJournal(dir, l.id)
		if err != nil {
			o.cfg.Logger.Error("the side cannot be used: the log runs without failover", "side", o.cfg.Side.Dir(), "error", err)
		} else {
			for _, r := range runs {
				for _, rec := range r.records {
					l.mu.led.epoch = max(l.mu.led.epoch, rec.epoch)
				}
				r.file.newest = 0 // not armed: nothing in it was ever needed
			}
			l.journal = j
			armed = append(armed, o.cfg.Side.Dir())
		}
	}
	if !slices.Equal(armed, rec.Armed) {
		rec.Armed = armed
		if err := writeRecord(o.cfg.FS, o.cfg.Dir, *rec); err != nil {
			return err
		}
	}
	l.mu.armed = len(armed) > 0
	return nil
}

// Close stops the log. What is acknowledged is durable already; a clean stop
// also drains, fences and disarms the side, so that the node starts without it.
// Where the primary hangs it returns ErrHung once ctx is done, and the side
// stays armed.
func (l *Log) Close(ctx context.Context) error {
	l.mu.Lock()
	if l.mu.closed {
		l.mu.Unlock()
		return nil
	}
	l.mu.closed = true
	l.mu.led.startClosing()
	l.mu.Unlock()
	l.poke()

	select {
	case <-l.mu.closing:
	case <-ctx.Done():
		close(l.stop)
		return fmt.Errorf("%w: closing the log %s: %w", ErrHung, l.cfg.Dir, ctx.Err())
	}
	close(l.stop)
	l.owned.Wait()

	var errs []error
	if l.journal != nil {
		l.mu.Lock()
		led := l.mu.led
		l.mu.Unlock()
		if led.open {
			errs = append(errs, l.fence.write(fence{epoch: led.epoch, seq: led.applied}))
		}
		if errors.Join(errs...) == nil && led.pending() == 0 {
			errs = append(errs, writeRecord(l.fs, l.cfg.Dir, logRecord{Log: l.id.Log}))
		}
		errs = append(errs, l.side.forget(ctx, l.journal))
	}
	l.primaryM.Lock()
	defer l.primaryM.Unlock()
	if l.primary != nil {
		errs = append(errs, l.primary.Close())
		l.primary = nil
	}
	errs = append(errs, l.fence.file.Close(), l.release())
	return errors.Join(errs...)
}

func beUint64(b []byte) uint64 { return binary.BigEndian.Uint64(b) }
