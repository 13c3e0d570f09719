// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package stall

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Hang is one file system that hangs.
type Hang struct {
	thawer *Thawer
	id     int
	dir    *os.File // the program's own way to thaw; used and closed by watch
	most   time.Duration
	answer chan message  // from told: frozen or failed, one of them once
	hurry  chan struct{} // closed by Release
	over   chan struct{} // closed by end
	mu     struct {
		sync.Mutex
		began, frozen, ended time.Time
		hurried              bool
		byProgram            bool // the thawer did not do it
		err                  error
	}
}

// Hang freezes the file system that dir is the root of, for the time given
// where nobody releases it before, and returns when it hangs. Where ctx ends first, it is thawed again.
// dir may be closed afterwards.
func (t *Thawer) Hang(ctx context.Context, dir *os.File, most time.Duration) (*Hang, error) {
	if most <= 0 || most > Most {
		return nil, fmt.Errorf("hang %s for %v: %w: at least a moment and at most %v", dir.Name(), most, unix.EINVAL, Most)
	}
	fd, err := unix.FcntlInt(dir.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("hang %s: %w", dir.Name(), err)
	}
	h := &Hang{
		thawer: t, dir: os.NewFile(uintptr(fd), dir.Name()), most: most,
		answer: make(chan message, 1), hurry: make(chan struct{}), over: make(chan struct{}),
	}
	h.mu.began = time.Now()
	if err := t.ask(h); err != nil {
		_ = h.dir.Close() // nothing was done through it
		return nil, fmt.Errorf("hang %s: %w", dir.Name(), err)
	}
	select {
	case m := <-h.answer:
		return h.begun(m)
	case <-h.over:
	case <-ctx.Done():
		return nil, errors.Join(ctx.Err(), h.Release())
	}
	select {
	case m := <-h.answer: // it was over before we looked
		return h.begun(m)
	default:
		return nil, fmt.Errorf("hang %s: %w", dir.Name(), errors.Join(ErrNoThawer, h.Err()))
	}
}

// ask sends the request. Only what was sent is watched: a thawer that never
// got it froze nothing.
func (t *Thawer) ask(h *Hang) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mu.next++
	h.id = t.mu.next
	if err := t.wire.send(message{Kind: kindFreeze, ID: h.id, Most: h.most}, h.dir); err != nil {
		return fmt.Errorf("%w: %w", ErrNoThawer, err)
	}
	t.mu.hangs[h.id] = h
	t.wg.Go(h.watch)
	return nil
}

func (h *Hang) begun(m message) (*Hang, error) {
	if m.Kind != kindFailed {
		return h, nil
	}
	var err error = m.Errno
	switch m.Errno {
	case 0:
		err = errors.New(m.Error)
	case unix.EBUSY:
		err = ErrFrozen
	case unix.EOPNOTSUPP, unix.ENOTTY:
		err = fmt.Errorf("%w: %w", ErrCannot, m.Errno)
	}
	return nil, fmt.Errorf("hang %s: %w", h.dir.Name(), err)
}

// Release thaws the file system, if it is not yet, and returns when it is.
func (h *Hang) Release() error {
	// A thawer that is gone is noticed by watch.
	_ = h.thawer.send(message{Kind: kindRelease, ID: h.id})
	h.mu.Lock()
	if !h.mu.hurried {
		h.mu.hurried = true
		close(h.hurry)
	}
	h.mu.Unlock()
	<-h.over
	return h.Err()
}

// Over is closed when the file system is thawed.
func (h *Hang) Over() <-chan struct{} { return h.over }

// Err is set once the hang is over and the file system is frozen all the same.
func (h *Hang) Err() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.mu.err
}

// Times returns when the freeze was asked for, when the file system was frozen
// and when it was thawed; zero where that is to come. From the first on a write may wait.
func (h *Hang) Times() (began, frozen, ended time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.mu.began, h.mu.frozen, h.mu.ended
}

// told takes what the thawer says.
func (h *Hang) told(m message) {
	switch m.Kind {
	case kindFrozen:
		h.mu.Lock()
		h.mu.frozen = time.Now()
		h.mu.Unlock()
		h.answer <- m
	case kindFailed:
		h.answer <- m
		h.end(false, nil)
	case kindThawed:
		var err error
		if m.Error != "" {
			err = h.stillFrozen(errors.New(m.Error))
		}
		h.end(false, err)
	}
}

func (h *Hang) stillFrozen(err error) error {
	return fmt.Errorf("%s is still frozen: %w: try `fsfreeze -u %[1]s`", h.dir.Name(), err)
}

// watch thaws in the thawer's place where that is dead, or late.
func (h *Hang) watch() {
	defer func() { _ = h.dir.Close() }() // nothing was written through it
	late := time.NewTimer(h.most + grace)
	defer late.Stop()
	hurry := h.hurry
	for {
		select {
		case <-h.over:
			return
		case <-hurry:
			late.Reset(grace)
			hurry = nil
		case <-h.thawer.gone:
			// Its last system call is over: what is frozen now stays so. Where it
			// died before it could say that it froze, this may find nothing frozen.
			if err := thawForSure(h.dir); err != nil {
				h.end(true, h.stillFrozen(err))
			}
			h.end(true, nil)
			return
		case <-late.C:
			if left := h.left(); left > 0 && hurry != nil { // freezing took its time
				late.Reset(left)
				continue
			}
			if thaw(h.dir) == nil {
				h.end(true, nil)
				return
			}
			late.Reset(time.Second) // it is about to be frozen, or was thawed
		}
	}
}

// left is the time until the thawer is late; 0 where it never said that it froze.
func (h *Hang) left() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.mu.frozen.IsZero() {
		return 0
	}
	return time.Until(h.mu.frozen.Add(h.most + grace))
}

// end is the end of the hang; the first one counts.
func (h *Hang) end(byProgram bool, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.mu.ended.IsZero() {
		return
	}
	h.mu.ended, h.mu.byProgram, h.mu.err = time.Now(), byProgram, err
	h.thawer.forget(h.id)
	close(h.over)
}
