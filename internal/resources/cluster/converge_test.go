// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cluster

import (
	stdcmp "cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/observe"
)

func TestSettingsChange(t *testing.T) {
	for name, tc := range map[string]struct {
		have, want map[string]string
		change     []string
	}{
		"none and none":         {},
		"as they are":           {have: map[string]string{"a": "1"}, want: map[string]string{"a": "1"}},
		"a new one":             {want: map[string]string{"a": "1"}, change: []string{"a=1"}},
		"another value":         {have: map[string]string{"a": "2"}, want: map[string]string{"a": "1"}, change: []string{"a=1"}},
		"back to its default":   {have: map[string]string{"a": "1", "b": "1"}, want: map[string]string{"b": "1"}, change: []string{"a=default"}},
		"an empty value is one": {have: map[string]string{}, want: map[string]string{"a": ""}, change: []string{"a="}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			change := settingsChange(tc.have, tc.want)
			for _, name := range slices.Sorted(maps.Keys(change)) {
				if v := change[name]; v != nil {
					got = append(got, name+"="+*v)
				} else {
					got = append(got, name+"=default")
				}
			}
			if diff := cmp.Diff(tc.change, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestWaitEndsWithTheCause: a cluster that will not become ready is not waited for
// until the time is over, and the error says what the node said.
func TestWaitEndsWithTheCause(t *testing.T) {
	for name, tc := range map[string]struct {
		b      *agentapi.Status // nil: no agent answers
		want   string
		engine bool // the error is the engine's
		ssh    bool
		most   time.Duration // patience where it says nothing
	}{
		"no agent over SSH": {want: "node b: the host agent does not answer", ssh: true, most: patienceSSH},
		"an engine over SSH": {
			b:    &agentapi.Status{Engine: agentapi.Engine{State: agentapi.EngineFailed, LastExit: "exit status 1: cannot bind"}},
			want: "node b: the engine does not stay up: exit status 1: cannot bind", engine: true, ssh: true, most: patienceSystemd,
		},
		"no agent": {want: "node b: the host agent does not answer"},
		"an engine that ends each time": {
			b:    &agentapi.Status{Engine: agentapi.Engine{State: agentapi.EngineFailed, LastExit: "exit status 1: cannot bind"}},
			want: "node b: the engine does not stay up: exit status 1: cannot bind", engine: true,
		},
		"a node with a problem": {
			b:    &agentapi.Status{Engine: agentapi.Engine{State: agentapi.EngineNone}, Problems: []agentapi.Problem{{What: "the store cannot be made", Why: "no space", Next: "Make room."}}},
			want: "node b: the store cannot be made: no space. Make room.",
		},
		"a machine with a problem": {
			b:    &agentapi.Status{Engine: agentapi.Engine{State: agentapi.EngineNone}, Problems: []agentapi.Problem{{What: "the store cannot be made", Why: "no space", Next: "Make room."}}},
			want: "node b: the store cannot be made: no space. Make room.", ssh: true,
		},
		"a machine with a problem, and an agent that goes on trying": {
			b: &agentapi.Status{Engine: agentapi.Engine{State: agentapi.EngineNone}, Problems: []agentapi.Problem{
				{What: "the store cannot be made", Why: "no space", Next: "Make room."},
				{What: "the engine cannot be started", Why: "systemctl does not answer", Next: "The agent goes on trying.", Passing: true}}},
			want: "node b: the store cannot be made: no space. Make room.", ssh: true,
		},
		"a machine whose agent goes on trying": {
			b: &agentapi.Status{Engine: agentapi.Engine{State: agentapi.EngineNone}, Problems: []agentapi.Problem{
				{What: "the engine cannot be started", Why: "systemctl does not answer", Next: "The agent goes on trying.", Passing: true}}},
			want: "node b: the engine cannot be started: systemctl does not answer. The agent goes on trying.", ssh: true, most: patienceSystemd,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				running := agentapi.Status{Engine: agentapi.Engine{State: agentapi.EngineRunning}}
				p := &fakePlatform{agents: map[string]*fakeAgent{"a": {status: running}, "c": {status: running}}}
				if tc.b != nil {
					p.agents["b"] = &fakeAgent{status: *tc.b}
				}
				p.serve(t)
				w := &work{platform: p, want: threeNodes(), step: func(string, ...any) {}}
				if tc.ssh {
					w.want = onMachines()
				}
				most := stdcmp.Or(tc.most, patience)
				start := time.Now()
				err := w.waitReady(t.Context())
				if err == nil || !strings.HasPrefix(err.Error(), tc.want) {
					t.Errorf("%v, want %s", err, tc.want)
				}
				if _, ok := errors.AsType[*observe.EngineError](err); ok != tc.engine {
					t.Errorf("an engine's error: %t", ok)
				}
				if waited := time.Since(start); waited < most || waited > most+time.Second {
					t.Errorf("it was waited for %v, patience is %v", waited, most)
				}
			})
		})
	}
}

// TestReach: an agent that is silent for a while ends no apply; one that stays so does, and one
// that refuses does at once.
func TestReach(t *testing.T) {
	for name, tc := range map[string]struct {
		silent time.Duration
		answer error
		most   time.Duration
	}{
		"for a while":  {silent: patienceSSH / 2, most: patienceSSH/2 + everySSH},
		"for good":     {silent: time.Hour, most: patienceSSH + everySSH},
		"it refuses":   {answer: &agentapi.Error{What: "no"}},
		"it is broken": {answer: errors.New("broken")},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &work{want: onMachines()}
				start := time.Now()
				err := w.reach(t.Context(), func() error {
					if time.Since(start) < tc.silent {
						return fmt.Errorf("node b: %w", agentapi.ErrUnreachable)
					}
					return tc.answer
				})
				if tc.silent > patienceSSH {
					tc.answer = agentapi.ErrUnreachable
				}
				if !errors.Is(err, tc.answer) {
					t.Errorf("got %v", err)
				}
				if waited := time.Since(start); waited > tc.most {
					t.Errorf("after %v", waited)
				}
			})
		})
	}
}

// TestWaitForgives: what was in trouble and recovers in time does not end the wait;
// without a leader only the deadline does, and it says so.
func TestWaitForgives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		running := agentapi.Status{Engine: agentapi.Engine{State: agentapi.EngineRunning}}
		b := &fakeAgent{status: running}
		p := &fakePlatform{agents: map[string]*fakeAgent{"a": {status: running}, "b": b, "c": {status: running}}}
		p.serve(t)
		w := &work{platform: p, want: threeNodes(), step: func(string, ...any) {}}
		ctx, cancel := context.WithTimeout(t.Context(), 4*patience)
		defer cancel()
		done := make(chan struct{}) // closed by the goroutine below
		go func() {
			defer close(done)
			for range 4 { // ill for half of its patience, again and again
				b.set(func(s *agentapi.Status) { s.Engine.State, s.Engine.LastExit = agentapi.EngineFailed, "killed" })
				time.Sleep(patience / 2)
				b.set(func(s *agentapi.Status) { s.Engine.State = agentapi.EngineRunning })
				time.Sleep(patience / 4)
			}
		}()
		start := time.Now()
		err := w.waitReady(ctx)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "the cluster has no leader yet") {
			t.Error(err)
		}
		if waited := time.Since(start); waited < 4*patience {
			t.Errorf("it gave up after %v", waited)
		}
		<-done
	})
}

// TestWaitBesideProblem: what does not keep an engine from running is no trouble of one that starts.
func TestWaitBesideProblem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		running := agentapi.Status{Engine: agentapi.Engine{State: agentapi.EngineRunning}}
		b := &fakeAgent{status: agentapi.Status{Engine: agentapi.Engine{State: agentapi.EngineStarting},
			Problems: []agentapi.Problem{{What: "the side disk is slow", Beside: true}}}}
		p := &fakePlatform{agents: map[string]*fakeAgent{"a": {status: running}, "b": b, "c": {status: running}}}
		p.serve(t)
		w := &work{platform: p, want: threeNodes(), step: func(string, ...any) {}}
		ctx, cancel := context.WithTimeout(t.Context(), 4*patience)
		defer cancel()
		if err := w.waitReady(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "node b: the engine is starting") {
			t.Error(err)
		}
	})
}

// TestWaitForWork: an agent that is at work is waited for, whatever was wrong before, and
// each of its operations is told once. What is wrong again after each of its tries ends
// the wait all the same.
func TestWaitForWork(t *testing.T) {
	running := agentapi.Status{Engine: agentapi.Engine{State: agentapi.EngineRunning}}
	op := func(text string) agentapi.Operation {
		return agentapi.Operation{Part: agentapi.PartDisks, Text: text}
	}
	wait := func(t *testing.T, bound time.Duration, b *fakeAgent) (steps []string, waited time.Duration, err error) {
		p := &fakePlatform{agents: map[string]*fakeAgent{"a": {status: running}, "b": b, "c": {status: running}}}
		p.serve(t)
		w := &work{platform: p, want: threeNodes(), step: func(format string, args ...any) { steps = append(steps, fmt.Sprintf(format, args...)) }}
		ctx, cancel := context.WithTimeout(t.Context(), bound)
		defer cancel()
		start := time.Now()
		err = w.waitReady(ctx)
		return steps, time.Since(start), err
	}
	wrong := []agentapi.Problem{{What: "no disk fits", Why: "there is none"}}

	t.Run("as long as it takes", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := &fakeAgent{status: agentapi.Status{Problems: wrong, Engine: agentapi.Engine{State: agentapi.EngineNone},
				Converging: &agentapi.Converging{Since: time.Now(), Doing: op("make ext4 on /dev/sdb")}}}
			done := make(chan struct{}) // closed by the goroutine below
			go func() {
				defer close(done)
				time.Sleep(2 * patience)
				b.set(func(s *agentapi.Status) {
					s.Converging = &agentapi.Converging{Since: s.Converging.Since, Done: []agentapi.Operation{op("make ext4 on /dev/sdb"), op("mount it")}, Doing: op("make the store")}
				})
			}()
			steps, waited, err := wait(t, 5*patience, b)
			<-done
			if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "node b: the agent is at work: disks: make the store") || waited < 5*patience {
				t.Errorf("after %v: %v", waited, err)
			}
			want := []string{"wait for a leader", "node b: disks: make ext4 on /dev/sdb", "node b: disks: mount it", "node b: disks: make the store"}
			if diff := cmp.Diff(want, steps); diff != "" {
				t.Error(diff)
			}
		})
	})
	t.Run("not for the same again and again", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := &fakeAgent{status: agentapi.Status{Engine: agentapi.Engine{State: agentapi.EngineNone}, Problems: wrong}}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{}) // closed by the goroutine below
			go func() {
				defer close(done)
				for ctx.Err() == nil {
					b.set(func(s *agentapi.Status) {
						s.Converging = &agentapi.Converging{Since: time.Now(), Doing: op("look for a disk")}
					})
					time.Sleep(patience / 3)
					b.set(func(s *agentapi.Status) { s.Converging = nil })
					time.Sleep(patience / 3)
				}
			}()
			steps, waited, err := wait(t, 10*patience, b)
			cancel()
			<-done
			if err == nil || !strings.HasPrefix(err.Error(), "node b: no disk fits: there is none") || waited > 2*patience {
				t.Errorf("after %v: %v", waited, err)
			}
			if diff := cmp.Diff([]string{"wait for a leader", "node b: disks: look for a disk"}, steps); diff != "" {
				t.Error(diff)
			}
		})
	})
}
