// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package supervise

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"
)

// world is a node without processes: what was launched and what it was sent.
type world struct {
	mu      sync.Mutex
	begin   time.Time
	events  []string
	now     *fakeProcess
	wanted  bool
	launch  error
	deaf    bool // engines ignore SIGTERM
	held    bool // SIGKILL does not end them either
	pids    int
	adopted *fakeProcess
}

type fakeProcess struct {
	w      *world
	info   Info
	done   chan struct{}
	exit   string
	killed bool
}

func newWorld() *world { return &world{begin: time.Now(), wanted: true} }

func (w *world) note(format string, args ...any) {
	w.events = append(w.events, fmt.Sprintf("%v ", time.Since(w.begin))+fmt.Sprintf(format, args...))
}

func (w *world) process() *fakeProcess {
	w.pids++
	return &fakeProcess{w: w, done: make(chan struct{}), info: Info{Identity: Identity{PID: w.pids}, StartedAt: time.Now()}}
}

func (w *world) Launch() (Process, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.launch != nil {
		w.note("launch fails")
		return nil, w.launch
	}
	if w.now != nil {
		w.note("A SECOND ENGINE")
	}
	w.now = w.process()
	w.note("launch %d", w.now.info.PID)
	return w.now, nil
}

func (w *world) Adopt() (Process, string, error) {
	if w.adopted == nil {
		return nil, "", nil
	}
	w.now = w.adopted
	return w.adopted, "", nil
}
func (w *world) SaveWanted(running bool) error { w.wanted = running; return nil }
func (w *world) LoadWanted() (bool, error)     { return w.wanted, nil }

// end ends the engine that runs.
func (w *world) end(how string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.endLocked(how)
}

func (w *world) endLocked(how string) {
	p := w.now
	w.now = nil
	p.exit = how
	close(p.done)
}

func (p *fakeProcess) Info() Info            { return p.info }
func (p *fakeProcess) Done() <-chan struct{} { return p.done }
func (p *fakeProcess) Exit() string          { return p.exit }
func (p *fakeProcess) Killed() bool          { p.w.mu.Lock(); defer p.w.mu.Unlock(); return p.killed }
func (p *fakeProcess) Signal(sig syscall.Signal) error {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	p.w.note("%v to %d", sig, p.info.PID)
	switch {
	case sig == syscall.SIGTERM && !p.w.deaf:
		p.w.endLocked("stopped")
	case sig == syscall.SIGKILL:
		p.killed = true
		if !p.w.held {
			p.w.endLocked("killed")
		}
	}
	return nil
}

// story runs a supervisor over w in a bubble of its own time.
func story(t *testing.T, setup func(w *world), play func(t *testing.T, s *Supervisor, w *world), want []string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		if setup != nil {
			setup(w)
		}
		s, err := New(w, hclog.NewNullLogger(), 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{}) // closed when Run returned
		go func() { defer close(done); s.Run(ctx) }()
		s.SetReady(true)
		synctest.Wait()
		play(t, s, w)
		synctest.Wait()
		cancel()
		<-done
		if diff := cmp.Diff(want, w.events); diff != "" {
			t.Error(diff)
		}
	})
}

func TestBackAfterDeath(t *testing.T) {
	story(t, nil, func(t *testing.T, s *Supervisor, w *world) {
		w.end("killed by signal 9")
		time.Sleep(Well + time.Second) // the second one is well
		w.end("killed by signal 9")
		for range 8 { // and then each of them fails at once
			time.Sleep(15 * time.Second)
			w.mu.Lock()
			running := w.now != nil
			w.mu.Unlock()
			if running {
				w.end("exited with code 1")
			}
		}
		if st := s.State(); st.LastExit != "exited with code 1" || st.Restarts != 9 {
			t.Errorf("%+v", st)
		}
	}, []string{
		"0s launch 1", "200ms launch 2", "21.2s launch 3", "36.4s launch 4", "51.8s launch 5", "1m7.6s launch 6",
		"1m24.2s launch 7", "1m42.4s launch 8", "2m1s launch 9", "2m16s launch 10",
	})
}

func TestStopIsRemembered(t *testing.T) {
	story(t, nil, func(t *testing.T, s *Supervisor, w *world) {
		if err := s.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Hour)
		if w.wanted {
			t.Error("the stop is not saved")
		}
		if err := s.Start(); err != nil {
			t.Error(err)
		}
	}, []string{"0s launch 1", "0s terminated to 1", "1h0m0s launch 2"})
	story(t, func(w *world) { w.wanted = false }, func(*testing.T, *Supervisor, *world) { time.Sleep(time.Hour) }, nil)
}

func TestHeldPredecessor(t *testing.T) {
	story(t, func(w *world) { w.deaf, w.held = true, true }, func(t *testing.T, s *Supervisor, w *world) {
		if err := s.Stop(t.Context()); !errors.Is(err, ErrHeld) {
			t.Errorf("stop: %v", err)
		}
		if st := s.State(); !st.Killed || st.Process == nil {
			t.Errorf("%+v", st)
		}
		if err := s.Start(); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Hour) // no engine beside it
		w.end("killed by signal 9")
	}, []string{"0s launch 1", "0s terminated to 1", "10s killed to 1", "1h0m15s launch 2"})
}

func TestRestartAndAdoption(t *testing.T) {
	story(t, func(w *world) { w.adopted = w.process() }, func(t *testing.T, s *Supervisor, _ *world) {
		time.Sleep(time.Minute)
		if st := s.State(); st.Process == nil || st.Process.PID != 1 {
			t.Errorf("%+v", st)
		}
		if err := s.Restart(); err != nil {
			t.Error(err)
		}
	}, []string{"1m0s terminated to 1", "1m0s launch 2"})
}

func TestLaunchFails(t *testing.T) {
	story(t, func(w *world) { w.launch = errors.New("no such binary") }, func(t *testing.T, s *Supervisor, w *world) {
		time.Sleep(time.Second)
		if st := s.State(); st.Err == nil {
			t.Error("the failure is not in the state")
		}
		w.mu.Lock()
		w.launch = nil
		w.mu.Unlock()
		time.Sleep(time.Second)
		if st := s.State(); st.Err != nil || st.Process == nil {
			t.Errorf("%+v", st)
		}
	}, []string{"0s launch fails", "200ms launch fails", "600ms launch fails", "1.4s launch 1"})
}
