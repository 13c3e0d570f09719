// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package supervise

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
)

// Process is one engine, our child or an adopted one.
type Process interface {
	Info() Info
	// Done is closed when the process has ended, its last thread included.
	Done() <-chan struct{}
	// Exit says how it ended, in words, once Done is closed.
	Exit() string
	Signal(sig syscall.Signal) error
	// Killed reports whether it was killed but is still held in the kernel.
	Killed() bool
}

// Launcher starts engines and remembers them on disk.
type Launcher interface {
	// Launch starts an engine with the configuration in place.
	Launch() (Process, error)
	// Adopt returns the engine that an earlier agent started. Where it has
	// ended the process is nil, and exit says what is known of its end.
	Adopt() (p Process, exit string, err error)
	// SaveWanted makes durable what somebody asked for, LoadWanted reads it;
	// true where nobody asked yet.
	SaveWanted(running bool) error
	LoadWanted() (bool, error)
}

// ErrHeld is returned where an engine that was killed does not end.
var ErrHeld = errors.New("the engine was killed but is held in the kernel, by a disk that does not answer")

// Supervisor owns the engine of one node. Its methods are safe for concurrent use.
type Supervisor struct {
	launcher  Launcher
	log       hclog.Logger
	stopBound time.Duration

	// wake tells the loop to decide again; one waiting token is enough, so it
	// is one deep. It is never closed.
	wake chan struct{}

	mu struct {
		sync.Mutex
		f        facts // all but now, present and killed
		proc     Process
		restarts int
		lastExit string
		err      error         // why the last launch or signal failed
		changed  chan struct{} // closed and replaced at every change
	}
}

// State is what the supervisor knows.
type State struct {
	Wanted   bool
	Ready    bool
	Process  *Info // nil where there is none
	Killed   bool  // it was killed but is still there
	Failures int   // exits in a row that nobody asked for
	Restarts int
	LastExit string
	Err      error // why the last launch or signal failed, nil after a good one
	// Idle: systemd has it stopped, which nobody asked the agent for, and starts it no
	// more: somebody stopped it by hand, or a mount that it needs went away.
	Idle bool
}

// New reads what was asked for earlier, adopts an engine that is there, and
// does nothing more before Run. stopBound is the time that an engine gets to
// stop by itself before it is killed.
func New(l Launcher, log hclog.Logger, stopBound time.Duration) (*Supervisor, error) {
	s := &Supervisor{launcher: l, log: log, stopBound: stopBound, wake: make(chan struct{}, 1)}
	s.mu.changed = make(chan struct{})
	s.mu.f.stopBound = stopBound
	wanted, err := l.LoadWanted()
	if err != nil {
		return nil, err
	}
	s.mu.f.wanted = wanted
	p, exit, err := l.Adopt()
	if err != nil {
		return nil, err
	}
	s.mu.lastExit = exit
	if p != nil {
		s.mu.proc = p
		log.Info("adopted the engine of an earlier agent", "pid", p.Info().PID)
	}
	return s, nil
}

// Run keeps the engine as wanted until ctx ends. The engine stays as it is then.
func (s *Supervisor) Run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		next, done := s.step()
		timer.Stop()
		var expired <-chan time.Time // nil: nothing is due
		if !next.IsZero() {
			timer.Reset(time.Until(next))
			expired = timer.C
		}
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		case <-expired:
		case <-done:
			s.reap()
		}
	}
}

// step does what is to be done now. It returns when to come again and, where
// there is a process, the channel that says that it ended.
func (s *Supervisor) step() (time.Time, <-chan struct{}) {
	s.mu.Lock()
	f := s.mu.f
	p := s.mu.proc
	s.mu.Unlock()
	f.now = time.Now()
	f.present = p != nil
	f.killed = f.killed || p != nil && p.Killed()

	act, next := decide(f)
	switch act {
	case rest:
	case launch:
		p = s.launch()
		if p == nil {
			next, _ = s.nextTry()
		}
	case terminate:
		s.log.Info("stopping the engine", "pid", p.Info().PID)
		s.signal(p, syscall.SIGTERM)
	case kill:
		s.log.Warn("the engine did not stop in time: killing it", "pid", p.Info().PID, "bound", s.stopBound)
		s.signal(p, syscall.SIGKILL)
	}
	if p == nil {
		return next, nil
	}
	return next, p.Done()
}

func (s *Supervisor) launch() Process {
	p, err := s.launcher.Launch()
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.changedLocked()
	s.mu.err = err
	if err != nil {
		s.log.Error("cannot start the engine", "error", err)
		s.mu.f.failures++
		s.mu.f.exited = time.Now()
		return nil
	}
	s.log.Info("started the engine", "pid", p.Info().PID)
	if s.mu.f.failures > 0 {
		s.mu.restarts++
	}
	s.mu.proc = p
	s.mu.f.replace, s.mu.f.terminated, s.mu.f.killed = false, time.Time{}, false
	return p
}

func (s *Supervisor) nextTry() (time.Time, action) {
	s.mu.Lock()
	f := s.mu.f
	s.mu.Unlock()
	f.now = time.Now()
	act, at := decide(f)
	return at, act
}

func (s *Supervisor) signal(p Process, sig syscall.Signal) {
	err := p.Signal(sig)
	if err != nil {
		s.log.Error("cannot signal the engine", "pid", p.Info().PID, "signal", sig.String(), "error", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.err = err
	if s.mu.f.terminated.IsZero() {
		s.mu.f.terminated = time.Now()
	}
	s.mu.f.killed = s.mu.f.killed || sig == syscall.SIGKILL
	s.changedLocked()
}

// reap takes note of an engine that has ended.
func (s *Supervisor) reap() {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.mu.proc
	s.mu.proc = nil
	ran := time.Since(p.Info().StartedAt)
	asked := !s.mu.f.terminated.IsZero()
	s.mu.f.replace, s.mu.f.terminated, s.mu.f.killed = false, time.Time{}, false
	s.mu.lastExit = p.Exit()
	if asked {
		s.mu.f.failures = 0
		s.log.Info("the engine stopped", "pid", p.Info().PID)
	} else {
		if ran >= Well {
			s.mu.f.failures = 0
		}
		s.mu.f.failures++
		s.mu.f.exited = time.Now()
		s.log.Warn("the engine ended", "pid", p.Info().PID, "exit", s.mu.lastExit, "again_in", delay(s.mu.f.failures))
	}
	s.changedLocked()
}

// SetReady says whether the configuration and directories of an engine are in
// place. None is started before; a running one is left alone.
func (s *Supervisor) SetReady(ready bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.f.ready = ready
	s.changedLocked()
}

// Retry forgets earlier failures: what made an engine fail may be mended, and
// one that is wanted is started at once.
func (s *Supervisor) Retry() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.f.failures = 0
	s.changedLocked()
}

// Start wants an engine. One that failed is tried again at once.
func (s *Supervisor) Start() error { return s.want(true, false) }

// Restart wants an engine in place of the one that is there, if one is.
func (s *Supervisor) Restart() error { return s.want(true, true) }

// Stop wants none, until Start or Restart, and comes back when it has ended.
func (s *Supervisor) Stop(ctx context.Context) error {
	if err := s.want(false, false); err != nil {
		return err
	}
	return s.gone(ctx)
}

func (s *Supervisor) want(running, replace bool) error {
	if err := s.launcher.SaveWanted(running); err != nil {
		return fmt.Errorf("remember what was asked for: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.f.wanted = running
	s.mu.f.replace = s.mu.proc != nil && (replace || running && !s.mu.f.terminated.IsZero())
	s.mu.f.failures = 0
	s.changedLocked()
	return nil
}

// gone waits until there is no process.
func (s *Supervisor) gone(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.stopBound+5*time.Second)
	defer cancel()
	err := s.Until(ctx, func(st State) bool { return st.Process == nil })
	if err != nil && s.State().Killed {
		return ErrHeld
	}
	return err
}

// Until waits until ok says yes of the state, which it is asked after every change.
func (s *Supervisor) Until(ctx context.Context, ok func(State) bool) error {
	for {
		s.mu.Lock()
		changed := s.mu.changed
		s.mu.Unlock()
		if ok(s.State()) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Hangup makes a running engine read again what it takes over while it runs.
func (s *Supervisor) Hangup() error {
	s.mu.Lock()
	p := s.mu.proc
	s.mu.Unlock()
	if p == nil {
		return nil
	}
	return p.Signal(syscall.SIGHUP)
}

// State returns what is known now.
func (s *Supervisor) State() State {
	s.mu.Lock()
	p := s.mu.proc
	st := State{
		Wanted: s.mu.f.wanted, Ready: s.mu.f.ready, Failures: s.mu.f.failures,
		Restarts: s.mu.restarts, LastExit: s.mu.lastExit, Err: s.mu.err,
	}
	s.mu.Unlock()
	if p != nil {
		info := p.Info()
		st.Process, st.Killed = &info, p.Killed()
	}
	return st
}

func (s *Supervisor) changedLocked() {
	close(s.mu.changed)
	s.mu.changed = make(chan struct{})
	select {
	case s.wake <- struct{}{}:
	default:
	}
}
