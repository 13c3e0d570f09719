// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package failover

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"syscall"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs"
)

// The prober writes and syncs a few bytes of a file of its own, <side>/side/.probe,
// made and filled beforehand: when the side is opened, every probeRetry while
// the disk is not well, and after it was idle for probeIdle. Writes of logs
// say the same for nothing, so a side that is used is not probed.
//
// The file has a random id. Between probes it is opened by its path, too: where another id or none
// is there, the directory names another file system than the one that the journals are open on, and a start
// would look for their records where they are not. So the side is not used until they are
// opened by their paths again.

const (
	probeRetry = time.Second
	probeIdle  = 30 * time.Second
	// probePatience is how long a probe may take before the disk hangs; a busy
	// small disk takes its time to make the file.
	probePatience = time.Second
	// sideFloor in bytes per second is as slow as a side may be without being
	// said to hang.
	sideFloor = 8 << 20
)

const (
	probeName = ".probe"
	probeSize = 4096
	probeID   = 512 // where the id begins, probeIDLen bytes; what is written at each probe is before it

	probeIDLen = 26 // of rand.Text
)

// A health is what is known of a side disk. The side's mutex guards it.
type health struct {
	probing inFlight
	known   bool      // a probe has ended
	err     error     // of the newest probe, or of a write since
	used    time.Time // when the disk last did what it was told
	mounts  uint64    // how often the path did not lead to what was open
}

// Err is why the side cannot be written, nil where it can as far as is known. A
// side that hangs has no error.
func (s *Side) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.health.err
}

// hangs reports whether a call on the side has been going on for longer than
// patience, and the time that its bytes may take.
func (s *Side) hangs(patience time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	w := s.mu.writing
	return w.age(now) > patience+perByte(w.bytes) || s.mu.health.probing.age(now) > max(patience, probePatience)
}

func perByte(n int) time.Duration { return time.Duration(n) * time.Second / sideFloor }

// trouble is why no log should count on the side; nil where it is well.
func (s *Side) trouble(patience time.Duration) error {
	if s.hangs(patience) {
		return fmt.Errorf("%w: the side %s has not answered for %s", ErrHung, s.dir, s.Overdue().Round(time.Millisecond))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.mu.health.known {
		return fmt.Errorf("the side %s has not answered yet", s.dir)
	}
	return s.mu.health.err
}

// mounts is how often the side's path turned out to lead to another file system than the
// one that was open: a journal that was opened at another count is to be opened again.
func (s *Side) mounts() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.health.mounts
}

func (s *Side) runProber() {
	var file vfs.File
	t := time.NewTimer(0)
	defer t.Stop()
	for first := true; ; first = false {
		select {
		case <-t.C:
		case <-s.stop:
			if file != nil {
				_ = file.Close() // nothing in it matters
			}
			return
		}
		if s.probeDue(time.Now()) {
			file = s.probe(file)
		} else if file != nil {
			file = s.look(file)
		}
		if first {
			close(s.probed)
		}
		t.Reset(probeRetry)
	}
}

// probeDue starts the clock of a probe when it is time for one.
func (s *Side) probeDue(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := &s.mu.health
	if h.known && h.err == nil && now.Sub(h.used) < probeIdle || s.mu.writing.age(now) > 0 {
		return false
	}
	h.probing = inFlight{since: now}
	return true
}

// probe writes and syncs the probe file, opening it first where file is nil, and
// returns it, nil after an error.
func (s *Side) probe(file vfs.File) vfs.File {
	err := func() (err error) {
		if file == nil {
			if file, err = s.openProbe(); err != nil {
				return err
			}
			if err := nameProbe(file); err != nil {
				return err
			}
		}
		stamp := binary.LittleEndian.AppendUint64(nil, uint64(time.Now().UnixNano())) //nolint:gosec // any bytes do
		if _, err := file.WriteAt(stamp, 0); err != nil {
			return err
		}
		return file.SyncData()
	}()
	if err != nil && file != nil {
		_ = file.Close() // err says more
		file = nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	h := &s.mu.health
	h.probing, h.known = inFlight{}, true
	if h.err = sideAdvice(s.dir, err); err == nil {
		h.used = time.Now()
	}
	return file
}

// nameProbe gives the file an id, unless it has one. One that a crash left half made is filled first.
func nameProbe(f vfs.File) error {
	id := make([]byte, probeIDLen)
	_, err := f.ReadAt(id, probeID)
	if errors.Is(err, io.EOF) {
		err = vfs.FillZero(f, probeSize)
	}
	if err != nil {
		return err
	}
	if bytes.IndexByte(id, 0) < 0 {
		return nil
	}
	_, err = f.WriteAt([]byte(rand.Text()), probeID)
	return err
}

// look looks for the probe file where its path leads, and returns it, nil where another one or
// none is there.
func (s *Side) look(file vfs.File) vfs.File {
	s.mu.Lock()
	s.mu.health.probing = inFlight{since: time.Now()}
	s.mu.Unlock()
	open, there := make([]byte, probeIDLen), make([]byte, probeIDLen)
	_, err := file.ReadAt(open, probeID)
	if err == nil {
		err = s.readProbe(there)
	}
	if err == nil && !bytes.Equal(there, open) {
		err = errors.New("another file system is mounted there than the one that is open, or none any more. It is used once it is well")
	}
	if err != nil {
		_ = file.Close() // nothing in it matters
		file = nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	h := &s.mu.health
	h.probing = inFlight{}
	if err != nil {
		h.err = sideAdvice(s.dir, err)
		h.mounts++
	}
	return file
}

// readProbe reads the id of the file that the path leads to.
func (s *Side) readProbe(id []byte) error {
	f, err := s.fs.Open(filepath.Join(s.dir, "side", probeName))
	if err != nil {
		return err
	}
	_, err = f.ReadAt(id, probeID)
	return errors.Join(err, f.Close())
}

// openProbe opens the probe file or makes it. The side's directory itself is
// never made: a missing one is a disk that is not mounted.
func (s *Side) openProbe() (vfs.File, error) {
	if _, err := s.fs.List(s.dir); err != nil {
		return nil, err
	}
	dir := filepath.Join(s.dir, "side")
	if err := s.fs.MkdirAll(dir); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, probeName)
	f, err := s.fs.OpenReadWrite(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	if f, err = s.fs.Create(path); err != nil {
		return nil, err
	}
	if err := vfs.FillZero(f, probeSize); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if err := s.fs.SyncDir(dir); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// sideAdvice says what to do about an error of a side directory.
func sideAdvice(dir string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: the directory %s is not there. Mount the side disk, or make the directory on it: %w", ErrSideUnusable, dir, err)
	case errors.Is(err, syscall.EROFS):
		return fmt.Errorf("%w: %s is read-only. Mount it read-write; a file system that turned read-only by itself wants fsck, and its disk a look: %w", ErrSideUnusable, dir, err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: %s may not be written. Make the user of this process its owner: %w", ErrSideUnusable, dir, err)
	case errors.Is(err, syscall.ENOSPC):
		return fmt.Errorf("%w: %s is full. Make room on the side disk: %w", ErrSideUnusable, dir, err)
	}
	return fmt.Errorf("%w: %s: %w", ErrSideUnusable, dir, err)
}
