// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package failover

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs"
)

// A Side is one side disk: a directory that any number of logs fail over to.
// One writer goroutine serves them all: it takes everything that waits,
// writes it, syncs each journal that it touched once, and answers. So a log
// whose primary is well costs the side nothing, and the logs of a disk that
// hangs share its syncs.
//
// Safe for concurrent use. No method but OpenSide and Close waits for the disk.
type Side struct {
	dir   string
	fs    vfs.FS
	clock func() time.Time

	mu struct {
		sync.Mutex
		waiting []*journalWrite // in the order of their arrival
		// writingSince is when the call in progress began; zero while idle.
		writingSince time.Time
		closed       bool
	}
	wake chan struct{} // depth 1, sent by write and Close; never closed
	// makers wakes the goroutine that makes files; depth 1, never closed.
	makers chan *journal
	done   sync.WaitGroup
	stop   chan struct{} // closed by Close
}

// OpenSide opens a side disk's directory, which must exist.
func OpenSide(fsys vfs.FS, dir string) (*Side, error) {
	if _, err := fsys.List(dir); err != nil {
		return nil, fmt.Errorf("the side directory %s: %w", dir, err)
	}
	s := &Side{dir: dir, fs: fsys, clock: time.Now, wake: make(chan struct{}, 1), makers: make(chan *journal, 64), stop: make(chan struct{})}
	s.done.Go(s.runWriter)
	s.done.Go(s.runMaker)
	return s, nil
}

// Dir is the side's directory.
func (s *Side) Dir() string { return s.dir }

// Close waits for the writes in progress and stops the side's goroutines.
// Every log that uses the side must be closed before.
func (s *Side) Close() error {
	s.mu.Lock()
	if s.mu.closed {
		s.mu.Unlock()
		return nil
	}
	s.mu.closed = true
	s.mu.Unlock()
	close(s.stop)
	s.done.Wait()
	return nil
}

// Overdue is how long the write in progress has been going on; 0 while idle.
func (s *Side) Overdue() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.writingSince.IsZero() {
		return 0
	}
	return s.clock().Sub(s.mu.writingSince)
}

// A journalWrite is a piece of a chain on its way to the side.
type journalWrite struct {
	journal *journal
	epoch   uint64
	ops     []*op
	durable seq // newest operation known to be durable
	fenced  seq // files whose newest record it covers may be used again
	// result is called by the writer, without locks, when all of ops are
	// durable or when err says why they are not.
	result func(epoch uint64, upTo seq, err error)
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

// maxSync bounds what one sync carries, so that the first to wait does not
// wait for megabytes of others.
const maxSync = 4 << 20

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

// take removes what waits from the queue, up to maxSync bytes, and starts the clock.
func (s *Side) take() []*journalWrite {
	s.mu.Lock()
	defer s.mu.Unlock()
	size, n := 0, 0
	for n < len(s.mu.waiting) && (n == 0 || size < maxSync) {
		for _, o := range s.mu.waiting[n].ops {
			size += o.size
		}
		n++
	}
	batch := s.mu.waiting[:n:n]
	s.mu.waiting = s.mu.waiting[n:]
	if n > 0 {
		s.mu.writingSince = s.clock()
	}
	return batch
}

func (s *Side) writeBatch(batch []*journalWrite) {
	errs := make([]error, len(batch))
	touched := map[*journalFile]error{}
	for i, w := range batch {
		errs[i] = w.journal.append(s, w, touched)
	}
	for f := range touched {
		touched[f] = f.file.SyncData()
	}
	s.mu.Lock()
	s.mu.writingSince = time.Time{}
	for f := range touched {
		f.outstanding = false
	}
	s.mu.Unlock()
	for i, w := range batch {
		for f := range w.journal.wrote {
			errs[i] = errors.Join(errs[i], touched[f])
		}
		var upTo seq
		if n := len(w.ops); n > 0 {
			upTo = w.ops[n-1].seq
		}
		w.result(w.epoch, upTo, errs[i])
	}
	for _, w := range batch {
		clear(w.journal.wrote)
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

// ErrJournalFull is returned to a log whose journal has no free file left: the
// primary has been hanging for longer than the side's share lasts.
var ErrJournalFull = errors.New("the side journal is full")

// A journal is the chain of one log on one side.
type journal struct {
	fs       vfs.FS
	dir      string
	id       Identity
	sum      uint32
	fileSize int64
	maxFiles int

	// files is guarded by the side's mutex; a file's contents belong to the writer.
	files  []*journalFile
	making bool
	lock   io.Closer // of the journal's directory; nil where the caller holds none
	broken error     // sticky: the chain is cut; nothing is written behind the cut

	// The writer's own.
	current *journalFile
	off     int64
	prev    uint32
	epoch   uint64
	wrote   map[*journalFile]bool // by the batch in progress
	buf     []byte
}

// openJournal opens the journal of a log on a side and returns what recovery
// has to look at. The files a chain needs exist when it returns.
func openJournal(fsys vfs.FS, dir string, id Identity, fileSize int64, maxFiles int) (*journal, []run, error) {
	if err := fsys.MkdirAll(dir); err != nil {
		return nil, nil, err
	}
	j := &journal{
		fs: fsys, dir: dir, id: id, sum: logSum(id.Log),
		fileSize: fileSize, maxFiles: max(maxFiles, initialFiles), wrote: map[*journalFile]bool{},
	}
	var err error
	if j.files, err = openJournalFiles(fsys, dir, id); err != nil {
		return nil, nil, err
	}
	runs := make([]run, 0, len(j.files))
	for _, f := range j.files {
		r, err := readRun(f, j.sum)
		if err != nil {
			return nil, nil, errors.Join(fmt.Errorf("%s: %w", journalPath(dir, f.num), err), j.Close())
		}
		if n := len(r.records); n > 0 {
			f.newest = r.records[n-1].op.seq
			j.epoch = max(j.epoch, r.records[n-1].epoch)
		}
		runs = append(runs, r)
	}
	for len(j.files) < initialFiles {
		f, err := createJournalFile(fsys, dir, j.nextNumber(), fileSize, id)
		if err != nil {
			return nil, nil, errors.Join(err, j.Close())
		}
		j.files = append(j.files, f)
	}
	return j, runs, nil
}

func (j *journal) nextNumber() int {
	n := 0
	for _, f := range j.files {
		n = max(n, f.num)
	}
	return n + 1
}

// append writes w's records behind the chain, without syncing, and adds the
// files that need a sync to touched. The writer calls it.
func (j *journal) append(s *Side, w *journalWrite, touched map[*journalFile]error) error {
	if len(w.ops) == 0 {
		return nil
	}
	if j.broken != nil && w.epoch == j.epoch {
		return j.broken
	}
	if w.epoch != j.epoch || j.current == nil {
		j.epoch, j.prev, j.current, j.broken = w.epoch, j.sum, nil, nil
	}
	j.buf = j.buf[:0]
	flush := func() error {
		if len(j.buf) == 0 {
			return nil
		}
		n, err := j.current.file.WriteAt(j.buf, j.off)
		j.off += int64(n)
		j.buf = j.buf[:0]
		return err
	}
	for _, o := range w.ops {
		if j.current == nil || j.off+int64(len(j.buf)+o.size) > j.fileSize {
			err := flush()
			if err == nil {
				err = j.nextFile(s, w.fenced, int64(o.size))
			}
			if err != nil {
				return j.cut(err)
			}
		}
		j.buf, j.prev = appendRecord(j.buf, o, j.sum, j.prev, w.epoch, w.durable)
		s.mu.Lock()
		j.current.newest, j.current.outstanding = o.seq, true
		s.mu.Unlock()
		touched[j.current], j.wrote[j.current] = nil, true
	}
	if err := flush(); err != nil {
		return j.cut(err)
	}
	return nil
}

// cut ends the chain: nothing is written behind a hole.
func (j *journal) cut(err error) error {
	j.broken = fmt.Errorf("writing the journal %s: %w", j.dir, err)
	return j.broken
}

// nextFile makes a free file the current one, and has another made when that
// was the last.
func (j *journal) nextFile(s *Side, fenced seq, need int64) error {
	if need > j.fileSize-journalStart {
		return fmt.Errorf("%w: a record of %d bytes in files of %d", ErrJournalFull, need, j.fileSize)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var found *journalFile
	spare := 0
	for _, f := range j.files {
		if f == j.current || !f.free(fenced) {
			continue
		}
		if found == nil {
			found = f
		} else {
			spare++
		}
	}
	if spare < 2 && len(j.files) < j.maxFiles && !j.making {
		select {
		case s.makers <- j:
			j.making = true
		default: // many journals are waiting for files; the next record asks again
		}
	}
	if found == nil {
		return ErrJournalFull
	}
	j.current, j.off = found, journalStart
	return nil
}

// makeFile adds one file. A failure is not sticky: the journal is as large as
// it is, and the next need asks again.
func (j *journal) makeFile(s *Side) {
	s.mu.Lock()
	num := j.nextNumber()
	s.mu.Unlock()
	f, err := createJournalFile(j.fs, j.dir, num, j.fileSize, j.id)
	s.mu.Lock()
	defer s.mu.Unlock()
	j.making = false
	if err == nil {
		j.files = append(j.files, f)
	}
}

// forget waits until no call on j is outstanding and closes it. The log that
// owns j must have stopped writing. ErrHung, with j left as it is, when the side
// does not come back before ctx is done.
func (s *Side) forget(ctx context.Context, j *journal) error {
	done := make(chan struct{})
	s.write(&journalWrite{journal: j, result: func(uint64, seq, error) { close(done) }})
	select {
	case <-done:
		return j.Close()
	case <-ctx.Done():
		return fmt.Errorf("%w: closing the side journal %s: %w", ErrHung, j.dir, ctx.Err())
	}
}

// Close closes the journal's files and lets go of its lock.
func (j *journal) Close() error {
	var errs []error
	for _, f := range j.files {
		errs = append(errs, f.file.Close())
	}
	if j.lock != nil {
		errs = append(errs, j.lock.Close())
	}
	return errors.Join(errs...)
}

// sideDir is where the journal of a log lives on a side disk.
func sideDir(side, store, partition string) string {
	return filepath.Join(side, "side", store, partition)
}

var _ io.Closer = (*Side)(nil)
