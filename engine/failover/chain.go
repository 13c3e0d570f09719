// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package failover

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs"
)

// ErrJournalFull is returned to a log whose journal has no free file left, or
// that holds its budget in memory: the primary has been hanging for longer than
// the side's share lasts. The log then does as if the side hung.
var ErrJournalFull = errors.New("the side journal is full")

// A journal is the chain of one log on one side, as it is being written.
type journal struct {
	fs       vfs.FS
	dir      string
	header   journalHeader
	sum      uint32
	fileSize int64
	maxFiles int
	lock     io.Closer // of the journal's directory; nil where the caller holds none

	// Guarded by the side's mutex; a file's contents belong to the writer.
	files   []*journalFile
	making  bool
	makeErr error // why the newest file could not be made; nil since one was
	closed  bool  // no file is to be made any more

	// The writer's own.
	current *journalFile
	off     int64
	prev    uint32
	epoch   uint64
	broken  error                 // sticky within an epoch: the chain is cut, and nothing is written behind the cut
	wrote   map[*journalFile]bool // by the batch in progress
	buf     []byte
	newest  seq // in buf
}

// openJournal opens the journal of a log on a side and returns what recovery
// has to look at. The files that a chain begins with exist when it returns.
func openJournal(fsys vfs.FS, dir string, id Identity, fileSize int64, maxFiles int) (*journal, []run, error) {
	if err := fsys.MkdirAll(dir); err != nil {
		return nil, nil, err
	}
	j := &journal{
		fs: fsys, dir: dir, sum: logSum(id.Log),
		fileSize: fileSize, maxFiles: max(maxFiles, initialFiles), wrote: map[*journalFile]bool{},
	}
	files, name, err := openJournalFiles(fsys, dir, id)
	if err != nil {
		return nil, nil, err
	}
	if len(files) == 0 {
		name = rand.Text()
	}
	j.files, j.header = files, journalHeader{id, name}
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
		f, err := createJournalFile(fsys, dir, j.nextNumber(), fileSize, j.header)
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

// append writes w's records behind the chain, without syncing, and notes in
// wrote which files need a sync. The writer calls it.
func (j *journal) append(s *Side, w *journalWrite) error {
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
	for _, o := range w.ops {
		if j.current == nil || j.off+int64(len(j.buf)+o.size) > j.current.size {
			if err := j.flush(s); err != nil {
				return j.cut(err)
			}
			if err := j.nextFile(s, w.fenced, int64(o.size)); err != nil {
				return j.cut(err)
			}
		}
		j.buf, j.prev = appendRecord(j.buf, o, j.sum, j.prev, w.epoch, w.durable)
		j.newest = o.seq
	}
	if err := j.flush(s); err != nil {
		return j.cut(err)
	}
	return nil
}

// flush hands buf to the current file, which is not free from here on.
func (j *journal) flush(s *Side) error {
	if len(j.buf) == 0 {
		return nil
	}
	s.mu.Lock()
	j.current.newest, j.current.outstanding, j.current.used = j.newest, true, j.off+int64(len(j.buf))
	s.mu.Unlock()
	j.wrote[j.current] = true
	n, err := j.current.file.WriteAt(j.buf, j.off)
	j.off += int64(n)
	j.buf = j.buf[:0]
	return err
}

// cut ends the chain: nothing is written behind a hole.
func (j *journal) cut(err error) error {
	j.broken = fmt.Errorf("writing the journal %s: %w", j.dir, err)
	return j.broken
}

// nextFile makes a free file the current one, and has another made when few
// are left. Only when the maker is behind does the writer wait for it.
func (j *journal) nextFile(s *Side, fenced seq, need int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	asked := false
	for {
		var found *journalFile
		spare := 0
		for _, f := range j.files {
			switch {
			case f == j.current || !f.free(fenced):
			case found == nil && need <= f.size-journalStart:
				found = f
			default:
				spare++
			}
		}
		if spare < 2 && !asked {
			asked = j.askLocked(s)
		}
		if found != nil {
			j.current, j.off = found, journalStart
			return nil
		}
		if !j.making || need > j.fileSize-journalStart {
			return errors.Join(fmt.Errorf("%w: %d files of %d bytes hold what the primary lacks, and a record of %d bytes has no room", ErrJournalFull, len(j.files), j.fileSize, need), j.makeErr)
		}
		s.made.Wait()
	}
}

// askLocked has another file made, if the journal may have one.
func (j *journal) askLocked(s *Side) bool {
	if j.making || j.closed || len(j.files) >= j.maxFiles {
		return false
	}
	select {
	case s.makers <- j:
		j.making = true
	default: // many journals are waiting for files; the next need asks again
	}
	return j.making
}

// prepare has files made beside the writer, so that the first epoch finds them.
func (j *journal) prepare(s *Side) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(j.files) < preparedFiles {
		j.askLocked(s)
	}
}

// makeFile adds one file. A failure shows in the status until one succeeds: the
// journal is as large as it is, and the next need asks again. The maker calls it.
func (j *journal) makeFile(s *Side) {
	s.mu.Lock()
	num, closed := j.nextNumber(), j.closed
	s.mu.Unlock()
	var f *journalFile
	var err error
	if !closed {
		f, err = createJournalFile(j.fs, j.dir, num, j.fileSize, j.header)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	j.making, j.makeErr = false, sideAdvice(j.dir, err)
	s.made.Broadcast()
	if f != nil {
		j.files = append(j.files, f) // closed with the others
		if len(j.files) < preparedFiles {
			j.askLocked(s)
		}
	}
}

// bytesUsed is how much of the files recovery would need.
func (j *journal) bytesUsed(s *Side, fenced seq) (n int64, makeErr error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range j.files {
		if !f.free(fenced) {
			n += f.used
		}
	}
	return n, j.makeErr
}

// Close closes the journal's files and lets go of its lock.
func (j *journal) Close() error {
	var errs []error
	for _, f := range j.files {
		errs = append(errs, f.file.Close())
	}
	j.files = nil
	if j.lock != nil {
		errs = append(errs, j.lock.Close())
		j.lock = nil
	}
	return errors.Join(errs...)
}
