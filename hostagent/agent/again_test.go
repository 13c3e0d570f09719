// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package agent

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/api"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/mountinfo"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/supervise"
)

// heard is a supervisor that writes down what it is asked for.
type heard struct {
	state  supervise.State
	said   []string
	hangup error
}

func (h *heard) Run(context.Context)    {}
func (h *heard) State() supervise.State { return h.state }
func (h *heard) Until(context.Context, func(supervise.State) bool) error {
	return nil
}
func (h *heard) SetReady(ready bool) {
	h.state.Ready = ready
	h.said = append(h.said, "ready "+strconv.FormatBool(ready))
}
func (h *heard) Retry()                     { h.said = append(h.said, "retry") }
func (h *heard) Start() error               { return nil }
func (h *heard) Stop(context.Context) error { return nil }
func (h *heard) Restart() error             { return nil }
func (h *heard) Hangup() error              { h.said = append(h.said, "hangup"); return h.hangup }

// What a running engine is to take over it is told once everything is in place, and once
// it answers: a signal before that would end it. Seen to fail with Hangup sent at once,
// and with reload forgotten by a convergence that could not install anything.
func TestReload(t *testing.T) {
	dir := t.TempDir()
	a := idle(Options{Dir: dir, Logger: hclog.NewNullLogger()})
	sup := &heard{state: supervise.State{Process: &supervise.Info{}}}
	a.sup = sup
	answers := false
	engine := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if !answers {
			http.Error(w, "it starts", http.StatusServiceUnavailable)
			return
		}
		if err := json.NewEncoder(w).Encode(api.NodeStores{}); err != nil {
			t.Error(err)
		}
	}))
	defer engine.Close()
	_, port, err := net.SplitHostPort(engine.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	spec := machineSpec()
	spec.SideDisk, spec.WALFailover = nil, agentapi.WALFailover{Mode: agentapi.DisabledMode}
	spec.Stores = []agentapi.StoreSpec{{Path: filepath.Join(dir, "missing", "data")}}
	if spec.Ports.HTTP, err = strconv.Atoi(port); err != nil {
		t.Fatal(err)
	}
	a.mu.spec, a.mu.reload, a.mu.changed = spec, true, true
	step := func(name string, reload bool, want ...string) {
		t.Helper()
		sup.said = nil
		a.converge(true)
		if !a.convergeOnce(t.Context()) {
			t.Fatal("the loop ends")
		}
		if diff := gocmp.Diff(want, sup.said); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if a.mu.reload != reload {
			t.Errorf("%s: reload is %v", name, a.mu.reload)
		}
	}
	wrong := *spec
	wrong.Stores = []agentapi.StoreSpec{{Path: "/proc/holdfast"}}
	a.mu.spec = &wrong
	step("it cannot be installed", true, "ready false")
	a.mu.spec = spec
	step("the engine starts", true, "ready true", "retry")
	if !a.mu.again {
		t.Error("nobody tries again")
	}
	answers, sup.hangup = true, errors.New("no such signal")
	step("it cannot be told", true, "hangup", "ready true")
	if p := a.problemsNow(); len(p) != 1 || p[0].What != "the engine was not told to reload" {
		t.Errorf("%+v", p)
	}
	sup.hangup = nil
	step("it answers", false, "hangup", "ready true")
	if len(a.problemsNow()) > 0 || a.mu.again {
		t.Errorf("%+v", a.problemsNow())
	}
	step("once", false, "ready true")
}

// A mount that is not there any more is one that the machine has lost.
func TestMissing(t *testing.T) {
	mount := func(id int, point string) mountinfo.Mount {
		return mountinfo.Mount{ID: id, Parent: min(id-1, 1), Minor: uint32(id), Root: "/", Point: point}
	}
	root, data, side := mount(1, "/"), mount(2, "/srv/holdfast/data1"), mount(3, "/srv/holdfast/side")
	for _, tc := range []struct {
		table       mountinfo.Table
		store, side bool
	}{
		{mountinfo.Table{root, data, side}, false, false}, {mountinfo.Table{root, data}, false, true},
		{mountinfo.Table{root, side}, true, false}, {mountinfo.Table{root}, true, true},
	} {
		if store, side := missing(tc.table, machineSpec()); store != tc.store || side != tc.side {
			t.Errorf("%+v: %v, %v", tc.table, store, side)
		}
	}
	plain := machineSpec()
	plain.Stores, plain.SideDisk = []agentapi.StoreSpec{{Path: "/srv/a"}}, nil
	if store, side := missing(mountinfo.Table{root}, plain); store || side {
		t.Error("a directory on no disk of the spec")
	}
}

// A machine that cannot be what it should be is looked at less and less often; what was
// sent is tried at once.
func TestPause(t *testing.T) {
	var got []time.Duration
	for n := range 7 {
		got = append(got, pause(n)/time.Second)
	}
	if diff := gocmp.Diff([]time.Duration{0, 0, 5, 10, 20, 30, 30}, got); diff != "" {
		t.Error(diff)
	}
	a := idle(Options{Systemd: true, Logger: hclog.NewNullLogger()})
	a.sup = &heard{state: supervise.State{Ready: true}}
	a.mu.spec = machineSpec()
	due := func(name string, unmounted, want bool) {
		t.Helper()
		if got := a.dueLocked(unmounted); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
	due("nothing to do", false, false)
	due("a mount went away", true, true)
	for range 3 {
		a.endedLocked(&convergence{}, true)
	}
	due("it rests", false, false)
	due("it rests, and the mount is away still", true, false)
	a.mu.ended = a.mu.ended.Add(-10 * time.Second)
	due("it has rested", false, true)
	a.endedLocked(&convergence{asked: true}, true)
	due("a spec was sent", false, true)
	a.endedLocked(&convergence{}, false)
	due("it is what it should be", false, false)
}

// An engine that once had everything starts without its side; one that never had waits for it.
//
// Seen to fail with an engine that everything has to be in place for.
func TestSideAlone(t *testing.T) {
	for name, tc := range map[string]struct {
		known       bool
		store, side string
		want        string
	}{
		"a new node without its side":             {side: "/proc/holdfast", want: "ready false"},
		"a node that was whole, without its side": {known: true, side: "/proc/holdfast", want: "ready true"},
		"a node that was whole, without anything": {known: true, store: "/proc/holdfast", side: "/proc/holdfast", want: "ready false"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			a := idle(Options{Dir: dir, Logger: hclog.NewNullLogger()})
			sup := &heard{}
			a.sup = sup
			spec := machineSpec()
			spec.SideDisk = &agentapi.SideDisk{Path: tc.side}
			spec.Stores = []agentapi.StoreSpec{{Path: cmp.Or(tc.store, filepath.Join(dir, "data"))}}
			a.mu.spec = spec
			if tc.known {
				// A convergence that comes to its end records the stores that it made.
				whole := *spec
				whole.SideDisk, whole.WALFailover = nil, agentapi.WALFailover{Mode: agentapi.DisabledMode}
				whole.Stores = []agentapi.StoreSpec{{Path: filepath.Join(dir, "data")}}
				a.mu.spec = &whole
				a.converge(true)
				a.convergeOnce(t.Context())
				a.mu.spec, sup.said = spec, nil
			}
			a.converge(true)
			a.convergeOnce(t.Context())
			if diff := gocmp.Diff([]string{tc.want}, sup.said); diff != "" {
				t.Error(diff, a.problemsNow())
			}
			if p := a.problemsNow(); len(p) == 0 || p[0].Beside {
				t.Errorf("nobody is told: %+v", p)
			}
			if !a.mu.again {
				t.Error("nobody tries again")
			}
		})
	}
}
