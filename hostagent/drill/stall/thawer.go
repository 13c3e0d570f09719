// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package stall

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// Errors of a hang that did not begin: the file system is as it was.
var (
	// ErrFrozen: somebody else froze it and has not thawed it.
	ErrFrozen = errors.New("it is frozen already")
	// ErrCannot: this kind of file system cannot be frozen.
	ErrCannot = errors.New("it cannot be frozen")
	// ErrNoThawer: the process that would thaw is gone.
	ErrNoThawer = errors.New("the thawer is gone")
)

const (
	readyBound = 15 * time.Second // a new thawer's first word, on a busy machine
	grace      = 2 * time.Second  // what the thawer may be late before the program thaws by itself
)

// Thawer is the program's hold on the process that freezes and thaws. Safe for
// concurrent use.
//
// Goroutines: receive, ended by the end of the socket; one watch per hang,
// ended with its hang. Close waits for all.
type Thawer struct {
	wire wire
	cmd  *exec.Cmd     // nil where somebody else started it
	gone chan struct{} // closed by receive
	up   chan struct{} // closed by receive at the first word
	wg   sync.WaitGroup
	mu   struct {
		sync.Mutex // also around sending
		next       int
		hangs      map[int]*Hang // that are not over
	}
}

// Start starts a thawer, argv, which calls [Serve].
func Start(argv []string) (*Thawer, error) {
	cmd, conn, err := Spawn(argv)
	if err != nil {
		return nil, err
	}
	t, err := Attach(conn)
	if err != nil {
		_ = cmd.Process.Kill() // it froze nothing
		_ = cmd.Wait()
		return nil, err
	}
	t.cmd = cmd
	return t, nil
}

// Spawn starts a thawer for somebody else: who has conn says what to freeze,
// by [Attach], and when no process has conn any more, the thawer thaws and ends.
func Spawn(argv []string) (cmd *exec.Cmd, conn *os.File, err error) {
	ours, theirs, err := pair()
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = theirs.Close() }() // the thawer has its own
	cmd = exec.Command(argv[0], argv[1:]...)
	cmd.Dir = "/" // not where something may be frozen
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		_ = ours.Close() // nothing was sent
		return nil, nil, fmt.Errorf("start the thawer: %w", err)
	}
	return cmd, ours, nil
}

// Attach takes over conn and waits for the thawer at its other end.
func Attach(conn *os.File) (*Thawer, error) {
	w, err := newWire(conn)
	if err != nil {
		return nil, err
	}
	t := &Thawer{wire: w, gone: make(chan struct{}), up: make(chan struct{})}
	t.mu.hangs = map[int]*Hang{}
	t.wg.Go(t.receive)
	timer := time.NewTimer(readyBound)
	defer timer.Stop()
	select {
	case <-t.up:
		return t, nil
	case <-t.gone:
		err = ErrNoThawer
	case <-timer.C:
		err = fmt.Errorf("the thawer says nothing within %v", readyBound)
	}
	return nil, errors.Join(err, t.Close())
}

// Close releases what hangs and ends the thawer.
func (t *Thawer) Close() error {
	var errs []error
	for _, h := range t.open() {
		errs = append(errs, h.Release())
	}
	_ = t.wire.conn.Close() // nothing is on its way
	t.wg.Wait()
	if t.cmd != nil {
		_ = t.cmd.Process.Kill() // it may be stopped; everything is thawed
		_ = t.cmd.Wait()
	}
	return errors.Join(errs...)
}

func (t *Thawer) open() (all []*Hang) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, h := range t.mu.hangs {
		all = append(all, h)
	}
	return all
}

func (t *Thawer) receive() {
	defer close(t.gone)
	for first := true; ; first = false {
		m, dir, err := t.wire.receive()
		if err != nil {
			return
		}
		if dir != nil {
			_ = dir.Close() // a thawer sends none
		}
		if first {
			close(t.up)
		}
		t.mu.Lock()
		h := t.mu.hangs[m.ID]
		t.mu.Unlock()
		if h != nil {
			h.told(m)
		}
	}
}

func (t *Thawer) send(m message) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.wire.send(m, nil)
}

func (t *Thawer) forget(id int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.mu.hangs, id)
}
