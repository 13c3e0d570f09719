// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package supervise

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
)

// Bounds of a unit's supervision.
const (
	// lookEvery is between two looks at a unit to which nothing seems to happen.
	lookEvery = time.Second
	// commandBound is for one call of systemctl, which waits for no job.
	commandBound = 20 * time.Second
	// unitStop is what systemd takes to stop an engine: TimeoutStopSec, twice with SIGKILL.
	unitStop = 35 * time.Second
)

// Runner runs a command to its end and returns what it printed.
type Runner interface {
	Run(ctx context.Context, argv ...string) (string, error)
}

// Unit is an engine that systemd runs as a unit. It asks systemd to start, stop and
// restart it, and observes the rest: systemd starts a crashed engine by itself. Its
// methods are safe for concurrent use.
type Unit struct {
	name   string
	wanted record
	run    Runner
	log    hclog.Logger
	// cgroup lists the processes of a cgroup, also such that systemd has given up.
	cgroup func(group string) []int

	// wake tells the loop to look and decide again; one waiting token is enough, so it
	// is one deep. It is never closed.
	wake chan struct{}

	mu struct {
		sync.Mutex
		f        unitFacts // wanted, ready, due and replace; the rest is in unit
		unit     unitState
		proc     *watched // the process of the unit
		left     *watched // a predecessor that was killed and does not end
		asked    int      // requests so far
		restarts int
		lastExit string
		err      error         // why the last look or command failed
		changed  chan struct{} // closed and replaced at every change
	}
}

// watched is a process that is waited for. done is closed by the one goroutine that
// waits, which ends with the process.
type watched struct {
	info  Info
	pidfd *Pidfd
	done  chan struct{}
}

// NewUnit reads from dir what was asked for earlier, looks at the unit, and does nothing
// more before Run. A unit that is not there is no error.
func NewUnit(ctx context.Context, name, dir string, run Runner, log hclog.Logger) (*Unit, error) {
	u := &Unit{name: name, wanted: record{dir}, run: run, log: log, wake: make(chan struct{}, 1), cgroup: func(group string) []int { return processesOf(hierarchies, group) }}
	u.mu.changed = make(chan struct{})
	wanted, err := u.wanted.load()
	if err != nil {
		return nil, err
	}
	u.mu.f.wanted = wanted
	if err := u.look(ctx); err != nil {
		return nil, err
	}
	if s := u.mu.unit; s.mainPID == 0 && s.last.pid > 0 && s.last.code > 0 {
		u.mu.lastExit = u.describe(ctx, s)
	}
	return u, nil
}

// Run keeps the engine as wanted until ctx ends. The engine stays as it is then.
func (u *Unit) Run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		ok := u.step(ctx)
		timer.Reset(lookEvery)
		u.mu.Lock()
		if u.mu.unit.mainPID > 0 && u.mu.proc == nil { // it has ended, and systemd is about to see it
			timer.Reset(lookEvery / 20)
		}
		var ended <-chan struct{} // nil: nothing to wait for
		switch {
		case !ok: // who has ended is not known to have: it would be looked for without a pause
		case u.mu.left != nil:
			ended = u.mu.left.done
		case u.mu.proc != nil:
			ended = u.mu.proc.done
		}
		u.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-u.wake:
		case <-ended:
		case <-timer.C:
		}
	}
}

// step looks, and asks of systemd what is to be asked. It says no where that fails.
func (u *Unit) step(ctx context.Context) bool {
	if err := u.look(ctx); err != nil {
		u.failed(ctx, err)
		return false
	}
	u.mu.Lock()
	f, s, asked := u.mu.f, u.mu.unit, u.mu.asked
	f.loaded, f.enabled, f.active, f.sub = s.loaded, s.enabled, s.active, s.sub
	f.held = u.heldLocked()
	if f.due && !f.replace && (s.active == active || s.active == reloading || s.active == activating && s.sub != autoRestart) {
		u.mu.f.due, f.due = false, false // it is there
	}
	u.mu.Unlock()
	do := decideUnit(f)
	if do == "" {
		u.failed(ctx, nil)
		return true
	}
	argv := []string{"systemctl", string(do), u.name}
	if do != enableUnit && do != disableUnit {
		argv = []string{"systemctl", "--no-block", string(do), u.name} // a stop takes as long as a disk hangs
		u.log.Info("asking systemd", "do", string(do), "unit", u.name)
	}
	err := u.command(ctx, argv...)
	u.failed(ctx, err)
	if err != nil {
		return false
	}
	err = u.look(ctx) // with the job in it, or what came of it
	u.mu.Lock()
	if (do == startUnit || do == restartUnit) && u.mu.asked == asked { // else somebody asked again meanwhile
		u.mu.f.due, u.mu.f.replace = false, false
		u.changedLocked()
	}
	u.mu.Unlock()
	if err != nil {
		u.failed(ctx, err)
	}
	u.poke() // there may be more to do
	return err == nil
}

func (u *Unit) command(ctx context.Context, argv ...string) error {
	ctx, cancel := context.WithTimeout(ctx, commandBound)
	defer cancel()
	_, err := u.run.Run(ctx, argv...)
	return err
}

// failed keeps why the last look or command failed.
func (u *Unit) failed(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if err != nil && (u.mu.err == nil || u.mu.err.Error() != err.Error()) {
		u.log.Error("systemd does not do what it is asked", "error", err)
	}
	if (err == nil) != (u.mu.err == nil) {
		u.changedLocked()
	}
	u.mu.err = err
}

// look asks systemd for the state of the unit and watches its process.
func (u *Unit) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, commandBound)
	defer cancel()
	out, err := u.run.Run(ctx, "systemctl", "show", "--timestamp=unix", "--property="+shown, "--", u.name)
	if err != nil {
		return err
	}
	s, err := parseUnit(out)
	if err != nil {
		return err
	}
	u.mu.Lock()
	old, was, left := u.mu.unit, u.mu.proc, u.mu.left
	u.mu.Unlock()

	exit := ""
	switch pid, known := ended(old.last, s.last); {
	case pid == 0 || !old.loaded:
	case known:
		exit = u.describe(ctx, s)
	default:
		exit = describe(pid, "ended; how is not known, as systemd has started another one", u.tail(ctx, pid))
	}
	proc, err := u.watch(was, s)
	if err != nil {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.mu.unit = s
	if s.restarts > old.restarts && old.loaded {
		u.mu.restarts += s.restarts - old.restarts
	}
	if was != nil && was != proc && !was.ended() && (u.mu.left == nil || u.mu.left.ended()) {
		u.mu.left = was // systemd does not wait for it any more; we do
	}
	if u.mu.left == nil && proc == nil {
		u.mu.left = u.leftoverLocked()
	}
	if u.mu.left != nil && u.mu.left.ended() {
		u.mu.left = nil
	}
	u.mu.proc = proc
	if exit != "" {
		u.mu.lastExit = exit
		u.log.Warn("the engine ended", "exit", exit)
	}
	if s != old || was != proc || left != u.mu.left || u.heldLocked() { // a process comes to be held by itself
		u.changedLocked()
	}
	return nil
}

func (u *Unit) describe(ctx context.Context, s unitState) string {
	return describe(s.last.pid, s.how(), u.tail(ctx, s.last.pid))
}

// tail is the end of what a process of the unit wrote to the journal.
func (u *Unit) tail(ctx context.Context, pid int) string {
	ctx, cancel := context.WithTimeout(ctx, commandBound)
	defer cancel()
	out, err := u.run.Run(ctx, "journalctl", "--quiet", "--no-pager", "--output=cat", "--boot", fmt.Sprintf("--lines=%d", tailLines),
		"_SYSTEMD_UNIT="+u.name, fmt.Sprintf("_PID=%d", pid))
	if err != nil {
		return "" // how it ended is what counts
	}
	out = strings.TrimSpace(strings.ToValidUTF8(out, "?"))
	return out[max(0, len(out)-tailBytes):]
}

// watch returns the main process of the unit, which may be the one that is watched already.
func (u *Unit) watch(was *watched, s unitState) (*watched, error) {
	if s.mainPID == 0 {
		return nil, nil
	}
	if was != nil && was.info.PID == s.mainPID && !was.ended() {
		return was, nil
	}
	return u.open(s.mainPID, s.last.started)
}

// open watches a process; it is nil where that has ended.
func (u *Unit) open(pid int, started time.Time) (*watched, error) {
	id, err := Identify(pid)
	if errors.Is(err, ErrGone) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	pfd, err := Open(id)
	if errors.Is(err, ErrGone) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return u.wait(pfd, Info{Identity: id, StartedAt: started}), nil
}

// wait waits for a process.
func (u *Unit) wait(pfd *Pidfd, info Info) *watched {
	w := &watched{info: info, pidfd: pfd, done: make(chan struct{})}
	go func() { // owned by the process: it ends when that does
		_ = pfd.Wait() // nobody closes it before
		close(w.done)
		_ = pfd.Close()
	}()
	return w
}

func (w *watched) ended() bool {
	select {
	case <-w.done:
		return true
	default:
		return false
	}
}

// leftoverLocked is a process of the unit that systemd has given up: killed, and held by a disk.
func (u *Unit) leftoverLocked() *watched {
	for _, pid := range u.cgroup(groupOf(u.mu.unit, u.name)) {
		id, err := Identify(pid)
		if err != nil {
			continue
		}
		p, err := Open(id)
		if err != nil {
			continue
		}
		if p.Killed() {
			return u.wait(p, Info{Identity: id})
		}
		_ = p.Close() // nobody waits for it
	}
	return nil
}

// heldLocked reports whether a process of the unit was killed and is still there.
func (u *Unit) heldLocked() bool {
	left, proc := u.mu.left, u.mu.proc
	return left != nil && !left.ended() || proc != nil && !proc.ended() && proc.pidfd.Killed()
}

// SetReady says whether everything that an engine needs is in place. None is started
// before; a running one is left alone, one that does not run is started when everything
// has just come into place. Said again, it changes nothing: an engine that systemd waits
// with, or that somebody stopped by hand, stays so.
func (u *Unit) SetReady(ready bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.mu.f.ready == ready {
		return
	}
	u.mu.f.ready = ready
	u.mu.f.due = u.mu.f.due || ready
	u.mu.asked++
	u.changedLocked()
	u.poke()
}

// Retry starts an engine that is wanted and waits after a failure, or failed for good.
func (u *Unit) Retry() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.mu.f.due = true
	u.mu.asked++
	u.changedLocked()
	u.poke()
}

// Start wants an engine, now and at boot.
func (u *Unit) Start() error { return u.want(true, false) }

// Restart wants an engine in place of the one that is there, if one is.
func (u *Unit) Restart() error { return u.want(true, true) }

// Stop wants none, until Start or Restart, and comes back when it has ended.
func (u *Unit) Stop(ctx context.Context) error {
	if err := u.want(false, false); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, unitStop)
	defer cancel()
	err := u.Until(ctx, func(st State) bool { return st.Process == nil && u.stopped() })
	if err != nil && u.State().Killed {
		return ErrHeld
	}
	return err
}

// stopped reports that systemd does nothing more for the unit.
func (u *Unit) stopped() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	s := u.mu.unit
	return !s.enabled && (!s.loaded || s.active == inactive || s.active == failed)
}

func (u *Unit) want(running, replace bool) error {
	if err := u.wanted.save(running); err != nil {
		return fmt.Errorf("remember what was asked for: %w", err)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.mu.f.wanted, u.mu.f.due, u.mu.f.replace = running, running, running && replace
	u.mu.asked++
	u.changedLocked()
	u.poke()
	return nil
}

// Hangup makes a running engine read again what it takes over while it runs.
func (u *Unit) Hangup() error {
	u.mu.Lock()
	p := u.mu.proc
	u.mu.Unlock()
	if p == nil || p.ended() {
		return nil
	}
	return p.pidfd.Signal(syscall.SIGHUP)
}

// Until waits until ok says yes of the state, which it is asked after every change.
func (u *Unit) Until(ctx context.Context, ok func(State) bool) error {
	for {
		u.mu.Lock()
		changed := u.mu.changed
		u.mu.Unlock()
		if ok(u.State()) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// State returns what is known now. A predecessor that is held comes before the engine
// that systemd tries to start meanwhile: its store is locked.
func (u *Unit) State() State {
	u.mu.Lock()
	defer u.mu.Unlock()
	f := u.mu.f
	st := State{Wanted: f.wanted, Ready: f.ready, Restarts: u.mu.restarts, LastExit: u.mu.lastExit, Err: u.mu.err}
	for _, p := range []*watched{u.mu.left, u.mu.proc} {
		if p != nil && !p.ended() {
			info := p.info
			st.Process, st.Killed = &info, p.pidfd.Killed()
			break
		}
	}
	s, rests := u.mu.unit, !f.due && !f.replace
	st.Idle = rests && f.wanted && f.ready && s.loaded && s.active == inactive && !s.job && st.Process == nil
	if rests && (s.active == failed || s.sub == autoRestart) || st.Idle {
		st.Failures = 1 + s.restarts
	}
	return st
}

func (u *Unit) changedLocked() {
	close(u.mu.changed)
	u.mu.changed = make(chan struct{})
}

func (u *Unit) poke() {
	select {
	case u.wake <- struct{}{}:
	default:
	}
}
