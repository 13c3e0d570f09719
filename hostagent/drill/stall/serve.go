// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package stall

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Most is the longest time that a file system is ever held.
const Most = 10 * time.Minute

// serveFD is where the thawer finds its end of the socketpair.
const serveFD = 3

// server is the thawer.
//
// Goroutines: Serve reads the socket's messages from receive, which ends when
// the process does; each hang has one of its own, ended by stop and waited for
// before Serve returns.
type server struct {
	wire wire
	stop chan struct{} // closed by Serve: thaw everything
	wg   sync.WaitGroup
	mu   struct {
		sync.Mutex                       // also around sending
		release    map[int]chan struct{} // by hang; closed by Serve when asked
	}
}

// Serve is the main function of the thawer, in a process that [Start] or
// [Spawn] made. It returns when the other end of the socket is gone, or on a
// signal, with everything thawed.
func Serve() error {
	// What the program's terminal or service manager sends to everybody must
	// not end the one process that can thaw.
	signals := make(chan os.Signal, 1) // from the runtime; one is enough
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT)
	w, err := newWire(os.NewFile(serveFD, "thawer"))
	if err != nil {
		return fmt.Errorf("the thawer is started by a drill, not by hand: %w", err)
	}
	s := &server{wire: w, stop: make(chan struct{})}
	s.mu.release = map[int]chan struct{}{}
	s.answer(message{Kind: kindReady})

	requests := make(chan request) // from receive, closed by it at the end of the socket
	go s.receive(requests)
	for running := true; running; {
		select {
		case r, ok := <-requests:
			if running = ok; ok {
				s.handle(r)
			}
		case <-signals:
			running = false
		}
	}
	close(s.stop)
	s.wg.Wait()
	return nil
}

type request struct {
	message
	dir *os.File
}

func (s *server) receive(to chan<- request) {
	defer close(to)
	for {
		m, dir, err := s.wire.receive()
		if err != nil {
			return // whatever it is: without a socket nobody can release
		}
		to <- request{m, dir}
	}
}

func (s *server) handle(r request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch r.Kind {
	case kindFreeze:
		release := make(chan struct{})
		s.mu.release[r.ID] = release
		s.wg.Go(func() { s.hold(r, release) })
	case kindRelease:
		if release := s.mu.release[r.ID]; release != nil {
			close(release)
			delete(s.mu.release, r.ID)
		}
	}
}

// hold freezes and thaws one file system.
func (s *server) hold(r request, release <-chan struct{}) {
	if r.dir == nil || r.Most <= 0 || r.Most > Most {
		s.answer(failed(r.ID, fmt.Errorf("freeze for %v: %w", r.Most, unix.EINVAL)))
		return
	}
	defer func() { _ = r.dir.Close() }() // nothing was written through it
	if err := freeze(r.dir); err != nil {
		s.answer(failed(r.ID, err))
		return
	}
	deadline := time.NewTimer(r.Most)
	defer deadline.Stop()
	s.answer(message{Kind: kindFrozen, ID: r.ID})
	select {
	case <-release:
	case <-deadline.C:
	case <-s.stop:
	}
	m := message{Kind: kindThawed, ID: r.ID}
	if err := thawForSure(r.dir); err != nil {
		m.Error = err.Error()
	}
	s.answer(m)
}

func failed(id int, err error) message {
	m := message{Kind: kindFailed, ID: id, Error: err.Error()}
	if no, ok := errors.AsType[unix.Errno](err); ok {
		m.Errno = no
	}
	return m
}

// answer tells the program, which may be gone.
func (s *server) answer(m message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m.Kind == kindThawed || m.Kind == kindFailed {
		delete(s.mu.release, m.ID)
	}
	_ = s.wire.send(m, nil)
}
