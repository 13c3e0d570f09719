// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cluster

import (
	"context"
	"errors"
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
	}{
		"no agent": {want: "node b: the host agent does not answer"},
		"an engine that ends each time": {
			b:    &agentapi.Status{Engine: agentapi.Engine{State: agentapi.EngineFailed, LastExit: "exit status 1: cannot bind"}},
			want: "node b: the engine does not stay up: exit status 1: cannot bind", engine: true,
		},
		"a node with a problem": {
			b:    &agentapi.Status{Engine: agentapi.Engine{State: agentapi.EngineNone}, Problems: []agentapi.Problem{{What: "the store cannot be made", Why: "no space", Next: "Make room."}}},
			want: "node b: the store cannot be made: no space. Make room.",
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
				start := time.Now()
				err := w.waitReady(t.Context())
				if err == nil || !strings.HasPrefix(err.Error(), tc.want) {
					t.Errorf("%v, want %s", err, tc.want)
				}
				if _, ok := errors.AsType[*observe.EngineError](err); ok != tc.engine {
					t.Errorf("an engine's error: %t", ok)
				}
				if waited := time.Since(start); waited < patience || waited > patience+time.Second {
					t.Errorf("it was waited for %v, patience is %v", waited, patience)
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
