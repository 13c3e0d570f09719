// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package supervise

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
)

// The test binary is the engine of these tests: it says a word and stays until
// SIGTERM, or fails when its configuration file says so.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "held" {
		leaveLeader()
	}
	if len(os.Args) > 1 && os.Args[1] == "engine" {
		b, err := os.ReadFile(os.Args[3])
		if err != nil || string(b) == "fail" {
			fmt.Fprintln(os.Stderr, "listen tcp 127.0.0.2:8500: bind: address already in use")
			os.Exit(3)
		}
		c := make(chan os.Signal, 1)
		signal.Notify(c, syscall.SIGTERM)
		fmt.Println("here I am")
		<-c
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func testEngine(t *testing.T, config string) *Engine {
	t.Helper()
	dir := t.TempDir()
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "engine.json")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return &Engine{Dir: dir, Binary: binary, ConfigFile: file,
		Config: func() (string, *agentapi.Spec) { return "hash", &agentapi.Spec{Node: "a"} }}
}

func run(t *testing.T, e *Engine) (*Supervisor, func()) {
	t.Helper()
	s, err := New(e, hclog.NewNullLogger(), 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{}) // closed when Run returned
	go func() { defer close(done); s.Run(ctx) }()
	s.SetReady(true)
	return s, func() { cancel(); <-done }
}

func until(t *testing.T, s *Supervisor, what string, ok func(State) bool) State {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := s.Until(ctx, ok); err != nil {
		t.Fatalf("%s: %v; the state is %+v", what, err, s.State())
	}
	return s.State()
}

func TestEngineOutlivesAgent(t *testing.T) {
	e := testEngine(t, "")
	s, end := run(t, e)
	first := until(t, s, "first start", func(st State) bool { return st.Process != nil })
	pid := first.Process.PID
	defer func() { _ = syscall.Kill(pid, syscall.SIGKILL) }() // the last word if the test fails
	end()

	// A new agent finds it by its record.
	s, end = run(t, e)
	if st := s.State(); st.Process == nil || st.Process.Identity != first.Process.Identity || st.Process.ConfigHash != "hash" || st.Process.Spec.Node != "a" {
		t.Fatalf("not adopted: %+v", st)
	}
	end()

	// Another one without a record finds it in the process table.
	if err := os.Remove(filepath.Join(e.Dir, processFile)); err != nil {
		t.Fatal(err)
	}
	if err := waitCmdline(t, pid); err != nil {
		t.Fatal(err)
	}
	s, end = run(t, e)
	defer func() { end() }()
	if st := s.State(); st.Process == nil || st.Process.Identity != first.Process.Identity {
		t.Fatalf("not found: %+v", st)
	}

	// Killed, it is replaced; stopped, it is not, nor by the next agent.
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	st := until(t, s, "back", func(st State) bool { return st.Process != nil && st.Process.PID != pid })
	if d := time.Since(began); d > 2*time.Second {
		t.Errorf("back after %v", d)
	}
	pid = st.Process.PID
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(st.Process.Identity); !errors.Is(err, ErrGone) {
		t.Errorf("after the stop: %v", err)
	}
	end()
	s, end = run(t, e)
	if st := s.State(); st.Wanted || st.Process != nil {
		t.Errorf("the next agent: %+v", st)
	}
}

// waitCmdline waits until the child has become the engine (exec comes after fork).
func waitCmdline(t *testing.T, pid int) error {
	for t.Context().Err() == nil {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err != nil || strings.Contains(string(b), "-config-file") {
			return err
		}
	}
	return t.Context().Err()
}

func TestLastExit(t *testing.T) {
	s, end := run(t, testEngine(t, "fail"))
	defer end()
	st := until(t, s, "exit", func(st State) bool { return st.LastExit != "" })
	for _, want := range []string{"exited with code 3", "bind: address already in use"} {
		if !strings.Contains(st.LastExit, want) {
			t.Errorf("%q does not say %q", st.LastExit, want)
		}
	}
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// A pid that now belongs to somebody else is not our engine.
func TestForeignPID(t *testing.T) {
	id, err := Identify(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	p, err := Open(id)
	if err != nil {
		t.Fatal(err)
	}
	if p.Killed() {
		t.Error("alive, not killed")
	}
	_ = p.Close()
	for _, other := range []Identity{{id.PID, id.StartTicks + 1, id.BootID}, {id.PID, id.StartTicks, "x"}, {1 << 30, 1, id.BootID}} {
		if _, err := Open(other); err == nil {
			t.Errorf("%+v opens", other)
		}
	}
}

func TestParseProc(t *testing.T) {
	st, err := parseStat([]byte("42 (a b) c) D 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 9 0 123456 1 2\n"))
	if err != nil || st.state != 'D' || st.startTicks != 123456 {
		t.Errorf("%+v %v", st, err)
	}
	if !killPending([]byte("Name:\tx\nSigPnd:\t0000000000000000\nShdPnd:\t0000000000000100\n")) {
		t.Error("SIGKILL is pending")
	}
	if killPending([]byte("SigPnd:\t0000000000004000\nShdPnd:\t0000000000000000\nSigCgt:\tffffffffffffffff\n")) {
		t.Error("SIGTERM is pending, not SIGKILL")
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("1 (x) S 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 7"))
	f.Add([]byte(")"))
	f.Fuzz(func(_ *testing.T, b []byte) { _, _ = parseStat(b) })
}
