// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package failover

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs"
)

// A Side is one side disk: a directory that any number of logs fail over to.
// One writer goroutine serves them all: it takes everything that waits,
// writes it, syncs each journal that it touched once, and answers. So a log
// whose primary is well costs the side nothing, and the logs of a disk that
// hangs share its syncs. A prober (probe.go) knows how the disk is while nothing
// is written to it.
//
// Safe for concurrent use. No method but OpenSide and Close waits for the disk.
type Side struct {
	dir string
	fs  vfs.FS

	mu struct {
		sync.Mutex
		waiting []*journalWrite // in the order of their arrival
		writing inFlight        // the writer's call
		health  health
		closed  bool
	}
	made *sync.Cond    // with mu: a journal's making has ended
	wake chan struct{} // depth 1, sent by write; never closed
	// makers are journals that want another file; depth 64, sent by the writer,
	// by logs that open a journal and by the maker itself; never closed.
	makers chan *journal
	probed chan struct{} // closed by the prober after its first probe
	done   sync.WaitGroup
	stop   chan struct{} // closed by Close
}

// An inFlight is a call on the disk that has not come back.
type inFlight struct {
	since time.Time // zero: there is none
	bytes int       // that it has to bring to the disk
}

func (f inFlight) age(now time.Time) time.Duration {
	if f.since.IsZero() {
		return 0
	}
	return now.Sub(f.since)
}

// OpenSide opens a side disk's directory, which must exist and be writable: it
// writes and syncs a few bytes there. ErrHung where the disk does not answer
// before ctx is done, ErrSideUnusable where it says no; both name the
// directory. A caller that is to run all the same goes on with AwaitSide.
func OpenSide(ctx context.Context, fsys vfs.FS, dir string) (*Side, error) {
	s := AwaitSide(fsys, dir)
	select {
	case <-s.probed:
		if err := s.Err(); err != nil {
			return nil, errors.Join(err, s.Close(ctx))
		}
		return s, nil
	case <-ctx.Done():
		close(s.stop) // its goroutines end when the disk lets them
		return nil, fmt.Errorf("%w: the side directory %s did not answer in time: %w", ErrHung, dir, ctx.Err())
	}
}

// AwaitSide opens a side disk that may be missing, failing or hanging. Logs on
// it run without failover until it is well, and say so in their status. It
// never waits.
func AwaitSide(fsys vfs.FS, dir string) *Side {
	if fsys == nil {
		fsys = vfs.OS{}
	}
	s := &Side{
		dir: filepath.Clean(dir), fs: fsys, wake: make(chan struct{}, 1), makers: make(chan *journal, 64),
		probed: make(chan struct{}), stop: make(chan struct{}),
	}
	s.made = sync.NewCond(&s.mu.Mutex)
	s.done.Go(s.runWriter)
	s.done.Go(s.runMaker)
	s.done.Go(s.runProber)
	return s
}

// Dir is the side's directory.
func (s *Side) Dir() string { return s.dir }

// Close waits for the calls in progress and stops the side's goroutines. Every
// log that uses the side must be closed before. ErrHung when the disk does not
// let go before ctx is done; the process should end then.
func (s *Side) Close(ctx context.Context) error {
	s.mu.Lock()
	closed := s.mu.closed
	s.mu.closed = true
	s.mu.Unlock()
	if !closed {
		close(s.stop)
	}
	ended := make(chan struct{})
	go func() {
		s.done.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: closing the side %s: %w", ErrHung, s.dir, ctx.Err())
	}
}

// Overdue is how long the call in progress has been going on; 0 while idle.
func (s *Side) Overdue() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	return max(s.mu.writing.age(now), s.mu.health.probing.age(now))
}

// A journalWrite is a piece of a chain on its way to the side.
type journalWrite struct {
	journal *journal
	epoch   uint64
	ops     []*op
	durable seq // newest operation known to be durable in this epoch's chain; 0: none
	fenced  seq // files whose newest record it covers may be used again
	// result is called by the writer, without locks, when all of ops are
	// durable or when err says why they are not. took is the time on the disk.
	result func(epoch uint64, upTo seq, took time.Duration, err error)
}

// write queues w. It never waits.
func (s *Side) write(w *journalWrite) {
	s.mu.Lock()
	s.mu.waiting = append(s.mu.waiting, w)
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// groupBytes bounds what one sync carries, so that the first to wait does not
// wait for megabytes of others.
const groupBytes = 4 << 20

func (s *Side) runWriter() {
	for {
		batch := s.take()
		if len(batch) == 0 {
			select {
			case <-s.wake:
				continue
			case <-s.stop:
				return
			}
		}
		s.writeBatch(batch)
	}
}

// take removes what waits from the queue, up to groupBytes, and starts the clock.
func (s *Side) take() []*journalWrite {
	s.mu.Lock()
	defer s.mu.Unlock()
	size, n := 0, 0
	for n < len(s.mu.waiting) && (n == 0 || size < groupBytes) {
		for _, o := range s.mu.waiting[n].ops {
			size += o.size
		}
		n++
	}
	batch := s.mu.waiting[:n:n]
	s.mu.waiting = s.mu.waiting[n:]
	if n > 0 {
		s.mu.writing = inFlight{since: time.Now(), bytes: size}
	}
	return batch
}

// writeBatch writes and syncs a batch, and answers each of it. What a journal's
// sync did not bring to the disk may be lost though a later sync succeeds: the
// chain is cut there.
func (s *Side) writeBatch(batch []*journalWrite) {
	start := time.Now()
	errs := make([]error, len(batch))
	touched := map[*journalFile]error{}
	for i, w := range batch {
		errs[i] = w.journal.append(s, w)
		for f := range w.journal.wrote {
			touched[f] = nil
		}
	}
	for f := range touched {
		touched[f] = f.file.SyncData()
	}
	took := time.Since(start)
	for i, w := range batch {
		for f := range w.journal.wrote {
			if err := touched[f]; err != nil {
				errs[i] = errors.Join(errs[i], w.journal.cut(err))
				break
			}
		}
	}
	s.wrote(touched, errs)
	for i, w := range batch {
		var upTo seq
		if n := len(w.ops); n > 0 {
			upTo = w.ops[n-1].seq
		}
		w.result(w.epoch, upTo, took, errs[i])
	}
	for _, w := range batch {
		clear(w.journal.wrote)
	}
}

// wrote notes that the call in progress has come back.
func (s *Side) wrote(touched map[*journalFile]error, errs []error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.writing = inFlight{}
	for f := range touched {
		f.outstanding = false
	}
	for _, err := range errs {
		if err != nil && !errors.Is(err, ErrJournalFull) {
			s.mu.health.err = err
			return
		}
	}
	if len(touched) > 0 {
		s.mu.health.used = time.Now()
	}
}

// runMaker makes journal files before they are needed, beside the writer.
func (s *Side) runMaker() {
	for {
		select {
		case j := <-s.makers:
			j.makeFile(s)
		case <-s.stop:
			return
		}
	}
}

// forget waits until no call on j is outstanding and closes it. The log that
// owns j must have stopped writing. ErrHung, with j left as it is, when the side
// does not come back before ctx is done.
func (s *Side) forget(ctx context.Context, j *journal) error {
	done := make(chan error, 1) // sent by the goroutine below, once
	go func() {
		written := make(chan struct{}) // closed by the writer
		s.write(&journalWrite{journal: j, result: func(uint64, seq, time.Duration, error) { close(written) }})
		select {
		case <-written:
		case <-s.stop:
			return
		}
		s.mu.Lock()
		j.closed = true
		for j.making {
			s.made.Wait()
		}
		held := journal{files: j.files, lock: j.lock} // of two that waited for it, one closes it
		j.files, j.lock = nil, nil
		s.mu.Unlock()
		done <- held.Close()
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("%w: closing the side journal %s: %w", ErrHung, j.dir, ctx.Err())
	}
}

// sideDir is where the journal of a log lives on a side disk.
func sideDir(side, store, partition string) string {
	return filepath.Join(side, "side", store, partition)
}
