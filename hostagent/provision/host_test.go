// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package provision

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Attempts, waits and timeouts in virtual time.
func TestRetries(t *testing.T) {
	for _, tc := range []struct {
		name  string
		step  Step
		fails int // attempts that fail at once
		hangs int // attempts, after those, that take until their context ends
		want  []time.Duration
		err   error
	}{
		{name: "at once", want: []time.Duration{0}},
		{name: "a pause before", step: Step{PauseBefore: time.Minute}, want: []time.Duration{time.Minute}},
		{name: "no retries", fails: 1, want: []time.Duration{0}, err: errNo},
		{name: "doubled waits", step: Step{Retries: 3, Backoff: time.Second}, fails: 3,
			want: []time.Duration{0, time.Second, 3 * time.Second, 7 * time.Second}},
		{name: "one attempt too few", step: Step{Retries: 1}, fails: 2, want: []time.Duration{0, time.Second}, err: errNo},
		{name: "waits are bounded", step: Step{Retries: 3, Backoff: 40 * time.Second}, fails: 3,
			want: []time.Duration{0, 40 * time.Second, 100 * time.Second, 160 * time.Second}},
		{name: "a timeout is for one attempt", step: Step{Retries: 1, Timeout: 10 * time.Second}, hangs: 1,
			want: []time.Duration{0, 11 * time.Second}},
		{name: "the default timeout", hangs: 1, want: []time.Duration{0}, err: ErrTimeout},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				h := NewHost(dir, "n1")
				start := time.Now()
				var at []time.Duration
				h.attempt = func(ctx context.Context, _ *Step, _ given) (*Disk, error) {
					at = append(at, time.Since(start))
					switch n := len(at); {
					case n <= tc.fails:
						return nil, errNo
					case n <= tc.fails+tc.hangs:
						<-ctx.Done()
						return nil, context.Cause(ctx)
					}
					return nil, nil
				}
				s := tc.step
				s.Name, s.Shell = "s", &Shell{Script: "true"}
				_, err := h.Run(t.Context(), []Step{s}, nil)
				if !errors.Is(err, tc.err) || (err == nil) != (tc.err == nil) {
					t.Errorf("ended with %v, want %v", err, tc.err)
				}
				if diff := cmp.Diff(tc.want, at); diff != "" {
					t.Errorf("attempts at: %s", diff)
				}
			})
		})
	}
}

var errNo = errors.New("no")

// A command that the kernel holds gets no second one beside it, whatever retries say.
// Seen to fail with the clause taken out of attempts.
func TestHeldIsNotRetried(t *testing.T) {
	h := NewHost(t.TempDir(), "n1")
	n := 0
	h.attempt = func(context.Context, *Step, given) (*Disk, error) { n++; return nil, ErrHeld }
	_, err := h.Run(t.Context(), []Step{{Name: "s", Retries: 5, Shell: &Shell{Script: "true"}}}, nil)
	if !errors.Is(err, ErrHeld) || n != 1 {
		t.Errorf("%d attempts, %v", n, err)
	}
}

// A run that is called off ends in its wait, and leaves the step as started.
func TestCalledOff(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		h := NewHost(dir, "n1")
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		h.attempt = func(context.Context, *Step, given) (*Disk, error) { return nil, errNo }
		steps := []Step{{Name: "s", Retries: 5, Backoff: time.Minute, Shell: &Shell{Script: "true"}}}
		start := time.Now()
		_, err := h.Run(ctx, steps, nil)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 30*time.Second {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		plan, err := h.Plan(steps)
		if err != nil || !strings.Contains(plan.String(), "it was interrupted") {
			t.Errorf("%v %v", plan, err)
		}
	})
}

// One run at a time, also for a host in another process: the lock is the kernel's.
func TestBusy(t *testing.T) {
	dir := t.TempDir()
	a, b := NewHost(dir, "n1"), NewHost(dir, "n1")
	steps := []Step{{Name: "s", Shell: &Shell{Script: "true"}}}
	a.attempt = func(context.Context, *Step, given) (*Disk, error) {
		if _, err := b.Run(t.Context(), steps, nil); !errors.Is(err, ErrBusy) {
			t.Errorf("a second run: %v", err)
		}
		return nil, nil
	}
	if _, err := a.Run(t.Context(), steps, nil); err != nil {
		t.Fatal(err)
	}
	if res, err := b.Run(t.Context(), steps, nil); err != nil || len(res.Done) != 0 {
		t.Errorf("the run after it: %+v, %v", res, err)
	}
}

// dieVariable makes this test binary run a step that kills it.
const dieVariable = "HOLDFAST_PROVISION_TEST_DIE"

// The agent is killed within a step, for real: its step kills it. The next run does
// the step again and says why. Seen to fail with the "started" record taken out.
func TestKilledWithinStep(t *testing.T) {
	dir := os.Getenv(dieVariable)
	marks := func() string { b, _ := os.ReadFile(filepath.Join(dir, "marks")); return string(b) }
	steps := func(last string) []Step {
		return []Step{
			{Name: "one", Shell: &Shell{Inline: []string{"echo one >> marks"}, Dir: dir}},
			{Name: "two", Shell: &Shell{Inline: []string{"echo two >> marks", last}, Dir: dir}},
		}
	}
	if dir != "" {
		_, err := NewHost(filepath.Join(dir, "record"), "n1").Run(t.Context(), steps(`kill -9 $PPID`), nil)
		t.Fatalf("still here: %v", err)
	}
	dir = t.TempDir()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilledWithinStep$")
	cmd.Env = append(os.Environ(), dieVariable+"="+dir)
	out, err := cmd.CombinedOutput()
	if e, ok := errors.AsType[*exec.ExitError](err); !ok || e.ExitCode() != -1 {
		t.Fatalf("it was not killed: %v\n%s", err, out)
	}
	h := NewHost(filepath.Join(dir, "record"), "n1")
	plan, err := h.Plan(steps(`kill -9 $PPID`))
	if err != nil {
		t.Fatal(err)
	}
	if got := plan.String(); !strings.Contains(got, "skip   one: done at ") || !strings.Contains(got, "rerun  two: it was interrupted: started at ") {
		t.Errorf("the plan:\n%s", got)
	}
	_, err = h.Run(t.Context(), steps("true"), nil)
	for ; errors.Is(err, ErrBusy); runtime.Gosched() { // the command may live a moment longer than its agent
		_, err = h.Run(t.Context(), steps("true"), nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	if got := marks(); got != "one\ntwo\ntwo\n" {
		t.Errorf("what ran: %q", got)
	}
}

// A plan leaves nothing behind, not even its directory.
func TestPlanChangesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "record")
	plan, err := NewHost(dir, "n1").Plan([]Step{{Name: "s", Shell: &Shell{Script: "true"}}})
	if _, serr := os.Stat(dir); err != nil || plan.Empty() || !errors.Is(serr, os.ErrNotExist) {
		t.Errorf("%v %v %v", plan, err, serr)
	}
}

// Nothing is recorded as done that was not written: the record cannot be.
func TestRecordCannotBeWritten(t *testing.T) {
	dir := t.TempDir()
	h := NewHost(dir, "n1")
	ran := false
	h.attempt = func(context.Context, *Step, given) (*Disk, error) { ran = true; return nil, nil }
	if err := os.Mkdir(filepath.Join(dir, recordName+".new"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, recordName+".new", "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Run(t.Context(), []Step{{Name: "s", Shell: &Shell{Script: "true"}}}, nil); err == nil || ran {
		t.Errorf("ran: %v, %v", ran, err)
	}
}

// A command that outlives its agent keeps the next one from running it beside itself;
// what a step leaves running on purpose keeps nobody. Seen to fail, one with the lock kept
// from commands, the other without LOCK_UN.
func TestLockOutlivesTheAgent(t *testing.T) {
	dir := t.TempDir()
	h := NewHost(filepath.Join(dir, "record"), "n1")
	steps := []Step{{Name: "s", Shell: &Shell{Dir: dir, Inline: []string{
		"setsid sh -c 'echo $$ > left; exec sleep 60' >/dev/null 2>&1 &", "while test ! -s left; do sleep 0.02; done"}}}}
	wait := &Step{Name: "w", Shell: &Shell{Inline: []string{"touch " + dir + "/begun", "while test ! -e " + dir + "/go; do sleep 0.02; done"}}}
	lock, err := h.lock()
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1) // one result
	go func() { ended <- runShell(t.Context(), "n1", wait, given{lock: lock}) }()
	for {
		if _, err := os.Stat(filepath.Join(dir, "begun")); err == nil {
			break
		}
		runtime.Gosched()
	}
	if err := lock.Close(); err != nil { // as the kernel does for a process that is killed
		t.Fatal(err)
	}
	if _, err := h.Run(t.Context(), steps, nil); !errors.Is(err, ErrBusy) {
		t.Errorf("beside the command: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := h.Run(t.Context(), steps, nil); err != nil {
			t.Errorf("after the command: %v", err)
		}
	}
	b, err := os.ReadFile(filepath.Join(dir, "left"))
	pid, perr := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || perr != nil || syscall.Kill(pid, syscall.SIGKILL) != nil {
		t.Errorf("nothing was left running: %v %v", err, perr)
	}
}
