// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package supervise

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"
)

func TestDecideUnit(t *testing.T) {
	ready := unitFacts{wanted: true, ready: true, loaded: true, enabled: true, active: active}
	with := func(edit func(*unitFacts)) unitFacts { f := ready; edit(&f); return f }
	for _, tc := range []struct {
		name string
		f    unitFacts
		want verb
	}{
		{"runs", ready, ""},
		{"no unit yet", with(func(f *unitFacts) { f.loaded, f.due, f.active = false, true, inactive }), ""},
		{"no spec yet", with(func(f *unitFacts) { f.ready, f.enabled, f.due, f.active = false, false, true, inactive }), ""},
		{"runs though its disk went away", with(func(f *unitFacts) { f.ready = false }), ""},
		{"first start, at boot", with(func(f *unitFacts) { f.enabled, f.due, f.active = false, true, inactive }), enableUnit},
		{"first start, now", with(func(f *unitFacts) { f.due, f.active = true, inactive }), startUnit},
		{"systemd starts it again", with(func(f *unitFacts) { f.active, f.sub = activating, autoRestart }), ""},
		{"a new spec while systemd waits", with(func(f *unitFacts) { f.active, f.sub, f.due = activating, autoRestart, true }), restartUnit},
		{"on its way", with(func(f *unitFacts) { f.active, f.sub, f.due = activating, "start", true }), ""},
		{"its configuration is refused", with(func(f *unitFacts) { f.active = failed }), ""},
		{"refused, and there is another one", with(func(f *unitFacts) { f.active, f.due = failed, true }), startUnit},
		{"stopped by hand", with(func(f *unitFacts) { f.active = inactive }), ""},
		{"restart", with(func(f *unitFacts) { f.replace = true }), restartUnit},
		{"restart while it stops", with(func(f *unitFacts) { f.replace, f.active = true, deactivating }), ""},
		{"restart: held by a disk", with(func(f *unitFacts) { f.replace, f.held = true, true }), ""},
		{"start: predecessor held by a disk", with(func(f *unitFacts) { f.due, f.held, f.active = true, true, failed }), ""},
		{"stop, now", with(func(f *unitFacts) { f.wanted = false }), stopUnit},
		{"stop, at boot", with(func(f *unitFacts) { f.wanted, f.active = false, inactive }), disableUnit},
		{"stop while it crashes", with(func(f *unitFacts) { f.wanted, f.enabled, f.active, f.sub = false, false, activating, autoRestart }), stopUnit},
		{"stopped", with(func(f *unitFacts) { f.wanted, f.enabled, f.active = false, false, inactive }), ""},
		{"stopped before it was ready", with(func(f *unitFacts) { f.wanted, f.ready, f.active = false, false, inactive }), disableUnit},
	} {
		if got := decideUnit(tc.f); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}

func TestEnded(t *testing.T) {
	for _, tc := range []struct {
		name     string
		old, now lastProcess
		pid      int
		known    bool
	}{
		{"runs", lastProcess{pid: 7}, lastProcess{pid: 7}, 0, false},
		{"never ran", lastProcess{}, lastProcess{}, 0, false},
		{"started", lastProcess{}, lastProcess{pid: 7}, 0, false},
		{"ended", lastProcess{pid: 7}, lastProcess{pid: 7, code: cldKilled}, 7, true},
		{"told already", lastProcess{pid: 7, code: cldKilled}, lastProcess{pid: 7, code: cldKilled}, 0, false},
		{"started again", lastProcess{pid: 7, code: cldKilled}, lastProcess{pid: 8}, 0, false},
		{"ended and started between two looks", lastProcess{pid: 7}, lastProcess{pid: 8}, 7, false},
		{"came and went between two looks", lastProcess{pid: 7, code: cldExited}, lastProcess{pid: 8, code: cldExited}, 8, true},
	} {
		if pid, known := ended(tc.old, tc.now); pid != tc.pid || known != tc.known {
			t.Errorf("%s: %d %v, want %d %v", tc.name, pid, known, tc.pid, tc.known)
		}
	}
}

func TestParseUnit(t *testing.T) {
	got, err := parseUnit("LoadState=loaded\nActiveState=failed\nSubState=failed\nUnitFileState=enabled\nResult=timeout\nMainPID=0\nNRestarts=3\n" +
		"ExecMainPID=812\nExecMainCode=2\nExecMainStatus=9\nExecMainStartTimestamp=@1764130000\nExecMainExitTimestamp=@1764130042\nJob=17\nControlGroup=/a.slice/x\n")
	if err != nil || !got.job || got.group != "/a.slice/x" || !got.loaded || !got.enabled || got.restarts != 3 || got.how() != "killed by signal 9 (killed) after 42s, systemd says timeout" {
		t.Errorf("%+v, %q, %v", got, got.how(), err)
	}
	if got, err := parseUnit("LoadState=not-found\nMainPID=[not set]\nExecMainStartTimestamp=\nJob=0\nControlGroup=\n"); err != nil || got != (unitState{}) {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := parseUnit("MainPID=x\n"); err == nil {
		t.Error("a pid that is none")
	}
}

// fakeSystemd has one service, whose processes are real.
type fakeSystemd struct {
	t  *testing.T
	mu struct {
		sync.Mutex
		unit  unitState
		child *exec.Cmd
		asked []string
		looks int
	}
}

// Run implements Runner.
func (f *fakeSystemd) Run(_ context.Context, argv ...string) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	words := slices.DeleteFunc(slices.Clone(argv), func(w string) bool { return strings.HasPrefix(w, "--") })
	u := &f.mu.unit
	switch {
	case words[0] == "journalctl":
		return "last words of " + words[len(words)-1] + "\n", nil
	case words[1] == "show":
		f.mu.looks++
		load, state := "not-found", "disabled"
		if u.loaded {
			load = "loaded"
		}
		if u.enabled {
			state = "enabled"
		}
		return fmt.Sprintf("LoadState=%s\nActiveState=%s\nSubState=%s\nUnitFileState=%s\nMainPID=%d\nNRestarts=%d\nExecMainPID=%d\nExecMainCode=%d\nExecMainStatus=%d\nExecMainStartTimestamp=@1000\n",
			load, u.active, u.sub, state, u.mainPID, u.restarts, u.last.pid, u.last.code, u.last.status), nil
	}
	f.mu.asked = append(f.mu.asked, words[1])
	switch words[1] {
	case "enable":
		u.enabled = true
	case "disable":
		u.enabled = false
	case "start":
		f.launchLocked()
	case "restart":
		f.endLocked(syscall.SIGTERM, inactive, "dead")
		f.launchLocked()
	case "stop":
		f.endLocked(syscall.SIGTERM, inactive, "dead")
	}
	return "", nil
}

func (f *fakeSystemd) launchLocked() {
	f.mu.child = exec.Command("sleep", "60")
	if err := f.mu.child.Start(); err != nil {
		f.t.Error(err)
		return
	}
	u := &f.mu.unit
	u.active, u.sub, u.mainPID, u.last = active, "running", f.mu.child.Process.Pid, lastProcess{pid: f.mu.child.Process.Pid}
}

func (f *fakeSystemd) endLocked(sig syscall.Signal, activeState, sub string) {
	u := &f.mu.unit
	if f.mu.child != nil {
		_ = f.mu.child.Process.Signal(sig)
		_ = f.mu.child.Wait()
		u.last.code, u.last.status = cldKilled, int(sig)
	}
	f.mu.child, u.mainPID, u.active, u.sub = nil, 0, activeState, sub
}

func (f *fakeSystemd) edit(do func(*unitState)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do(&f.mu.unit)
}

// looked waits until a unit has looked, and decided, since.
func (f *fakeSystemd) looked(u *Unit) {
	looks := func() int {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.mu.looks
	}
	for n := looks(); looks() < n+2; runtime.Gosched() {
		u.poke()
	}
}

// asked returns what was asked since the last time.
func (f *fakeSystemd) asked() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := strings.Join(f.mu.asked, " ")
	f.mu.asked = nil
	return s
}

// The story of a unit. Seen to fail with decideUnit starting whatever does not run: the
// agent races with systemd after the crash, and after the stop by hand.
func TestUnit(t *testing.T) {
	sys := &fakeSystemd{t: t}
	dir := t.TempDir()
	t.Cleanup(func() {
		sys.mu.Lock()
		defer sys.mu.Unlock()
		sys.endLocked(syscall.SIGKILL, failed, failed)
	})
	u, end := runUnit(t, sys, dir)
	u.SetReady(true)
	expect(t, u, "no unit, no engine", func(st State) bool { return st.Ready && st.Process == nil })
	said := func(want string) {
		t.Helper()
		if diff := cmp.Diff(want, sys.asked()); diff != "" {
			t.Error(diff)
		}
	}
	said("")
	sys.edit(func(u *unitState) { u.loaded, u.active, u.sub = true, inactive, "dead" })
	u.SetReady(true)
	pid := expect(t, u, "it starts", func(st State) bool { return st.Process != nil }).Process.PID
	said("enable start")

	// A crash is systemd's; it is told, and nothing is asked.
	sys.mu.Lock()
	sys.endLocked(syscall.SIGSEGV, activating, autoRestart)
	sys.mu.Unlock()
	st := expect(t, u, "the crash", func(st State) bool { return st.LastExit != "" && st.Process == nil })
	if want := fmt.Sprintf("pid %d killed by signal 11 (segmentation fault); its log ends:\nlast words of _PID=%d", pid, pid); st.LastExit != want || st.Failures == 0 {
		t.Errorf("%+v", st)
	}
	sys.mu.Lock()
	sys.launchLocked()
	sys.mu.unit.restarts = 1
	sys.mu.Unlock()
	expect(t, u, "systemd started it again", func(st State) bool { return st.Process != nil && st.Restarts == 1 && st.Failures == 0 })
	said("")

	// A restart, and one while systemd waits.
	pid = u.State().Process.PID
	if err := u.Restart(); err != nil {
		t.Fatal(err)
	}
	expect(t, u, "another one", func(st State) bool { return st.Process != nil && st.Process.PID != pid })
	sys.mu.Lock()
	sys.endLocked(syscall.SIGKILL, activating, autoRestart)
	sys.mu.Unlock()
	expect(t, u, "crashed", func(st State) bool { return st.Process == nil && st.Failures > 0 })
	u.Retry()
	expect(t, u, "it does not wait", func(st State) bool { return st.Process != nil })
	said("restart restart")

	// Refused for good: one start for each time that somebody asks.
	sys.mu.Lock()
	sys.endLocked(syscall.SIGKILL, failed, failed)
	sys.mu.Unlock()
	expect(t, u, "failed", func(st State) bool { return st.Process == nil && st.Failures > 0 })
	u.SetReady(true) // as every convergence says
	sys.looked(u)
	said("")
	u.Retry()
	expect(t, u, "tried again", func(st State) bool { return st.Process != nil })
	said("start")

	// Stopped by hand, or with a mount: told, and left so. A mount that went away and came
	// back makes it ready anew.
	sys.mu.Lock()
	sys.endLocked(syscall.SIGTERM, inactive, "dead")
	sys.mu.Unlock()
	expect(t, u, "idle", func(st State) bool { return st.Idle && st.Failures > 0 })
	u.SetReady(true)
	sys.looked(u)
	said("")
	u.SetReady(false)
	u.SetReady(true)
	expect(t, u, "its mount is back", func(st State) bool { return st.Process != nil && !st.Idle })
	said("start")

	// An agent's end leaves it; the next one finds it.
	pid = u.State().Process.PID
	end()
	u, end = runUnit(t, sys, dir)
	if st := u.State(); st.Process == nil || st.Process.PID != pid {
		t.Errorf("the next agent: %+v", st)
	}
	if err := u.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	said("stop disable")
	end()

	// The stop is remembered.
	u, end = runUnit(t, sys, dir)
	defer func() { end() }()
	u.SetReady(true)
	if st := u.State(); st.Wanted || st.Process != nil || !strings.Contains(st.LastExit, "signal 15") {
		t.Errorf("the agent after a stop: %+v", st)
	}
	said("")
	if err := u.Start(); err != nil {
		t.Fatal(err)
	}
	expect(t, u, "started", func(st State) bool { return st.Process != nil })
	said("enable start")
}

func runUnit(t *testing.T, run Runner, dir string) (*Unit, func()) {
	t.Helper()
	u, err := NewUnit(t.Context(), "holdfast-engine.service", dir, run, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	u.cgroup = func(string) []int { return nil }
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{}) // closed when Run returned
	go func() { defer close(done); u.Run(ctx) }()
	return u, func() { cancel(); <-done }
}

func expect(t *testing.T, u *Unit, what string, ok func(State) bool) State {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := u.Until(ctx, ok); err != nil {
		t.Fatalf("%s: %v; the state is %+v", what, err, u.State())
	}
	return u.State()
}

func init() {
	if len(os.Args) > 1 && os.Args[1] == "held" {
		runtime.LockOSThread() // of main: the process's first thread
	}
}

// leaveLeader ends the first thread of this process while others stay, which is how a
// killed engine looks whose thread sits in a disk that hangs.
func leaveLeader() {
	go func() { select {} }()
	fmt.Println("held")
	_, _, _ = syscall.RawSyscall(syscall.SYS_EXIT, 0, 0, 0)
}

// A killed engine that systemd has given up is told as held, and no other is asked for
// before it has ended; by the agent that saw it, and by the next, which finds it in the
// cgroup.
func TestUnitHeld(t *testing.T) {
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command(binary, "held")
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	pid := child.Process.Pid
	defer func() { _ = child.Process.Kill(); _ = child.Wait() }()
	if _, err := out.Read(make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
	for began := time.Now(); ; runtime.Gosched() { // it said so just before its first thread ends
		if st, err := readStat(pid); err != nil || st.state == 'Z' || time.Since(began) > 10*time.Second {
			break
		}
	}
	sys := &fakeSystemd{t: t}
	t.Cleanup(func() {
		sys.mu.Lock()
		defer sys.mu.Unlock()
		sys.endLocked(syscall.SIGKILL, failed, failed)
	})
	sys.edit(func(u *unitState) {
		*u = unitState{loaded: true, enabled: true, active: active, sub: "running", mainPID: pid, last: lastProcess{pid: pid}}
	})
	dir := t.TempDir()
	u, end := runUnit(t, sys, dir)
	u.SetReady(true)
	sys.edit(func(u *unitState) {
		u.active, u.sub, u.mainPID, u.last.code, u.last.status = failed, failed, 0, cldKilled, 9
	})
	held := func(st State) bool { return st.Killed && st.Process != nil && st.Process.PID == pid }
	expect(t, u, "held", held)
	if err := u.Restart(); err != nil {
		t.Fatal(err)
	}
	end()

	before := openPidfds(t)
	u, end = runUnit(t, sys, dir)
	defer func() { end() }()
	u.mu.Lock()
	u.cgroup = func(string) []int { return []int{os.Getpid(), pid} }
	u.mu.Unlock()
	u.SetReady(true)
	expect(t, u, "held, the next agent says", held)
	if more := openPidfds(t) - before; more != 1 {
		t.Errorf("%d more processes are waited for, want the one that is held", more)
	}
	if asked := sys.asked(); asked != "" {
		t.Errorf("asked for %s while the predecessor is held", asked)
	}
	_ = child.Process.Kill()
	expect(t, u, "a new one", func(st State) bool { return st.Process != nil && st.Process.PID != pid && !st.Killed })
}

// openPidfds counts the descriptors of processes that this one has.
func openPidfds(t *testing.T) int {
	t.Helper()
	links, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, l := range links {
		if to, err := os.Readlink("/proc/self/fd/" + l.Name()); err == nil && strings.Contains(to, "pidfd") {
			n++
		}
	}
	return n
}

// Where a process has ended and systemctl fails, systemd is not asked without a pause.
// Seen to fail, by hundreds, with ended left as it is.
func TestUnitAsksWithPauses(t *testing.T) {
	sys := &fakeSystemd{t: t}
	sys.edit(func(u *unitState) { *u = unitState{loaded: true, enabled: true} })
	sys.mu.Lock()
	sys.launchLocked()
	sys.mu.Unlock()
	broken := &brokenSystemd{fakeSystemd: sys}
	u, end := runUnit(t, broken, t.TempDir())
	defer end()
	u.SetReady(true)
	expect(t, u, "it runs", func(st State) bool { return st.Process != nil })
	broken.after.Store(1)
	sys.mu.Lock()
	sys.endLocked(syscall.SIGKILL, failed, failed)
	sys.mu.Unlock()
	expect(t, u, "systemctl fails", func(st State) bool { return st.Err != nil })
	time.Sleep(300 * time.Millisecond) // time in which a loop would spin
	if n := broken.asked.Load(); n > 5 {
		t.Errorf("asked %d times", n)
	}
}

// brokenSystemd fails once after is set.
type brokenSystemd struct {
	*fakeSystemd
	after, asked atomic.Int32
}

// Run implements Runner.
func (b *brokenSystemd) Run(ctx context.Context, argv ...string) (string, error) {
	if b.after.Load() == 0 {
		return b.fakeSystemd.Run(ctx, argv...)
	}
	b.asked.Add(1)
	return "", errors.New("the bus is gone")
}

// The processes of a unit are found with cgroups of either version.
func TestProcessesOf(t *testing.T) {
	dir := t.TempDir()
	v2, v1 := filepath.Join(dir, "v2"), filepath.Join(dir, "v1")
	for path, text := range map[string]string{filepath.Join(v2, "a.slice/x"): "7\n8\n", filepath.Join(v1, "a.slice/x"): "8\n9\n"} {
		if err := errors.Join(os.MkdirAll(path, 0o755), os.WriteFile(filepath.Join(path, "cgroup.procs"), []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]int{7, 8, 9}, processesOf([]string{v2, filepath.Join(dir, "none"), v1}, "/a.slice/x")); diff != "" {
		t.Error(diff)
	}
	if g := groupOf(unitState{}, "x.service"); g != "/system.slice/x.service" {
		t.Error(g)
	}
}
