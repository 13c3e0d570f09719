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
	"strings"
	"time"

	"github.com/hashicorp/raft"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs"
)

// Open opens the log in cfg.Dir: it takes the log's lock, reads its record,
// opens every armed side and the primary, replays what the sides hold above
// the fence and fences. The configured side is armed beside that: Open waits for
// it a moment, and starts without failover where it is not well (Status says so).
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
			if r.log != nil && r.log.side != nil {
				select {
				case <-r.log.settled:
				case <-time.After(armPatience): // it goes on beside the log
				case <-ctx.Done():
				}
			}
			return r.log, r.err
		case <-ctx.Done():
			go func() { // should the disk come back after all
				if r := <-done; r.log != nil {
					_ = r.log.Close(context.Background()) // nobody knows of it
				}
			}()
			return nil, fmt.Errorf("%w: %s did not end in time: %w", ErrHung, at, ctx.Err())
		}
	}
}

// An opening is one Open on its way.
type opening struct {
	cfg  Config
	step chan string // what is being done, for the error of a hung disk; depth 16, dropped when full

	mounts  uint64 // of the side before its journal was opened
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
	if cfg.Side != nil {
		o.mounts = cfg.Side.mounts()
	}
	o.doing("locking %s", cfg.Dir)
	if err := cfg.FS.MkdirAll(cfg.Dir); err != nil {
		return nil, err
	}
	lock, err := cfg.FS.Lock(filepath.Join(cfg.Dir, lockName))
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
	fenceFile, fenced, err := openFence(cfg.FS, cfg.Dir, sum, len(rec.Armed) == 0)
	if err != nil {
		return nil, err
	}
	o.closers = append(o.closers, fenceFile)

	o.doing("opening the primary in %s", cfg.Dir)
	primary, err := cfg.Open()
	if err != nil {
		return nil, fmt.Errorf("opening the primary log in %s: %w", cfg.Dir, err)
	}
	o.closers = append(o.closers, primary)
	l = newLog(cfg, id, primary, fenceFile, lock)
	l.record = rec
	if l.pFirst, l.pLast, err = bounds(primary); err != nil {
		return nil, err
	}

	journals, err := o.openArmed(rec, id)
	if err != nil {
		return nil, err
	}
	if err := o.replay(l, journals, sum, fenced); err != nil {
		return nil, err
	}
	l.mu.view = overlay{first: l.pFirst, last: l.pLast, base: l.pLast + 1}
	if err := o.keep(l, journals); err != nil {
		return nil, err
	}
	l.start()
	if l.side != nil {
		o.doing("arming the side %s", l.side.Dir())
		select {
		case <-l.settled:
		case <-time.After(armPatience): // it goes on beside the log
		}
	}
	return l, nil
}

func newLog(cfg *Config, id Identity, primary Store, f *fenceFile, lock io.Closer) *Log {
	l := &Log{
		cfg: *cfg, fs: cfg.FS, id: id, side: cfg.Side, primary: primary, fence: f, release: lock.Close, piece: cfg.CompactionPiece,
		wake: make(chan struct{}, 1), watching: make(chan struct{}, 1),
		settled: make(chan struct{}), stop: make(chan struct{}), drained: make(chan struct{}),
	}
	l.ending.done = make(chan struct{})
	l.mu.stable = map[string][]byte{}
	l.mu.threshold, l.mu.maxSync = cfg.Threshold, cfg.MaxSync
	l.mu.mode.hold = minHold
	return l
}

func (l *Log) start() {
	l.mu.mode.since = time.Now()
	go l.runApplier()
	l.owned.Go(l.runWatcher)
	if l.side != nil {
		go l.runArmer()
	}
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
		j, runs, err := o.openJournal(dir, id)
		if err != nil {
			return nil, fmt.Errorf("the side journal %s, which may hold writes and votes that are nowhere else: %w", dir, err)
		}
		if want := rec.Journals[side]; want != "" && j.header.Journal != want {
			return nil, fmt.Errorf("%w: in %s is the journal %q of the log %s, and the armed one is %q: this disk was its side before, and another one holds what is needed. "+
				lostSide, ErrSideMissing, dir, j.header.Journal, o.cfg.Dir, want)
		}
		out = append(out, armedJournal{side, j, runs})
	}
	return out, nil
}

// lostSide is what to do where the journal of an armed side is not to be had.
const lostSide = "Mount the side disk and start again. If it is lost, votes may be lost with it: this server may not vote with this log any more. " +
	"Remove it from its cluster first, and only then wipe this store and let the server join as a new one"

// openJournal opens a journal that has to be there.
func (o *opening) openJournal(dir string, id Identity) (*journal, []run, error) {
	names, err := o.cfg.FS.List(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	found := 0
	for _, name := range names {
		if strings.HasSuffix(name, journalSuffix) {
			found++
		}
	}
	if found < initialFiles {
		return nil, nil, fmt.Errorf("%w: it has %d of at least %d files of the log %s. "+lostSide,
			ErrSideMissing, found, initialFiles, o.cfg.Dir)
	}
	j, runs, err := lockJournal(o.cfg.FS, dir, id, &o.cfg)
	if err == nil {
		o.closers = append(o.closers, j)
	}
	return j, runs, err
}

// lockJournal opens a journal, or makes it, and holds its lock.
func lockJournal(fsys vfs.FS, dir string, id Identity, cfg *Config) (*journal, []run, error) {
	if err := fsys.MkdirAll(dir); err != nil {
		return nil, nil, sideAdvice(dir, err)
	}
	lock, err := fsys.Lock(filepath.Join(dir, "LOCK"))
	switch {
	case errors.Is(err, vfs.ErrLocked):
		return nil, nil, fmt.Errorf("%w. Two nodes or stores share a side directory, or an older process of this one is held by its disk: give each its own, or wait until that process has ended", err)
	case err != nil:
		return nil, nil, sideAdvice(dir, err)
	}
	j, runs, err := openJournal(fsys, dir, id, cfg.JournalFileSize, int(cfg.JournalBudget/cfg.JournalFileSize))
	if err == nil {
		j.lock = lock
		return j, runs, nil
	}
	if err = errors.Join(err, lock.Close()); !errors.Is(err, ErrForeignJournal) && !errors.Is(err, ErrDamaged) {
		err = sideAdvice(dir, err)
	}
	return nil, nil, err
}

// replay brings the primary up to what the journals hold above the fence, and
// fences it, so that nothing is ever replayed twice over later operations. The
// fence also begins a life: no epoch number is ever used again, whatever a torn
// journal still shows of it.
func (o *opening) replay(l *Log, journals []armedJournal, sum uint32, fenced fence) error {
	var runs []run
	epoch := fenced.epoch
	for _, j := range journals {
		runs = append(runs, j.runs...)
		epoch = max(epoch, j.journal.epoch)
	}
	records, err := chain(runs, sum, fenced)
	if err != nil {
		return fmt.Errorf("the journals of the log %s: %w. Restore the side disk; without it votes may be lost, so remove the server from its cluster before you wipe this store and let it join as a new one", o.cfg.Dir, err)
	}
	o.doing("replaying %d operations onto %s", len(records), o.cfg.Dir)
	at := fenced
	for i := 0; i < len(records); {
		r := &records[i]
		if at.seq > fenced.seq && r.op.shortens() {
			// A crash behind this operation must not replay those before it onto
			// the log that it makes: mayShorten.
			at.epoch = r.epoch
			if err := l.fence.write(at); err != nil {
				return err
			}
			fenced = at
		}
		n, entries := mergeAppends(records[i:])
		if err := l.apply(&r.op, entries); err != nil {
			return fmt.Errorf("replaying operation %d onto %s: %w", r.op.seq, o.cfg.Dir, err)
		}
		i += n
		at.seq = records[i-1].op.seq
	}
	at.epoch = nextLife(epoch)
	if err := l.fence.write(at); err != nil {
		return err
	}
	l.mu.led = ledger{last: at.seq, applied: at.seq, fenced: at.seq, epoch: at.epoch}
	l.mu.replayed = len(records)
	if len(records) > 0 {
		o.cfg.Logger.Info("replayed the side journal", "dir", o.cfg.Dir, "operations", len(records))
	}
	return nil
}

// nextLife is the epoch that a process begins above epoch: its own ones are
// above that, and below the next life's.
func nextLife(epoch uint64) uint64 { return (epoch>>32 + 1) << 32 }

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

// keep keeps the configured side armed if it was, and forgets the ones that
// were drained.
func (o *opening) keep(l *Log, journals []armedJournal) error {
	rec := logRecord{Log: l.record.Log}
	for _, j := range journals {
		if l.side != nil && j.side == l.side.Dir() {
			l.mu.side = armament{journal: j.journal, mounts: o.mounts, armed: true, want: true}
			l.settle.Do(func() { close(l.settled) }) // there is nothing to wait for
			rec.arm(j.side, j.journal)
		}
	}
	if !rec.equal(l.record) {
		if err := writeRecord(o.cfg.FS, o.cfg.Dir, rec); err != nil {
			return err
		}
		l.record = rec
	}
	for _, j := range journals {
		if j.journal == l.mu.side.journal {
			j.journal.prepare(l.side)
			continue
		}
		if err := j.journal.Close(); err != nil {
			return err
		}
	}
	return nil
}

func beUint64(b []byte) uint64 { return binary.BigEndian.Uint64(b) }
