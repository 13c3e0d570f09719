// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package agent

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/supervise"
)

func twoStores() *agentapi.Spec {
	return &agentapi.Spec{Node: "a", Cluster: agentapi.Cluster{Name: "orders", ID: "c1"}, Stores: []agentapi.StoreSpec{{Path: "/d1"}, {Path: "/d2"}}}
}

// A spec for another node is refused, and so is one that takes a store from its place.
func TestCompatible(t *testing.T) {
	both := storesRecord{Stores: []storeRecord{{"/d1", "s1"}, {"/d2", "s2"}}}
	for _, tc := range []struct {
		name   string
		first  bool // the node has no spec yet
		stores storesRecord
		was    func(*agentapi.Spec) // the one in force
		change func(*agentapi.Spec)
		field  string // of the refusal, empty for none
		says   string
	}{
		{name: "the first spec", first: true},
		{name: "the same", stores: both},
		{name: "another log level", stores: both, change: func(s *agentapi.Spec) { s.Log.Level = "debug" }},
		{name: "a third store", stores: both, change: func(s *agentapi.Spec) { s.Stores = append(s.Stores, agentapi.StoreSpec{Path: "/d3"}) }},
		{name: "other stores before any was made", change: func(s *agentapi.Spec) { s.Stores = s.Stores[1:] }},
		{name: "another cluster", change: func(s *agentapi.Spec) { s.Cluster.ID = "c2" }, field: "cluster.id", says: `"c2": this node has "c1"`},
		{name: "another cluster's name", change: func(s *agentapi.Spec) { s.Cluster.Name = "bills" }, field: "cluster.name", says: "bills"},
		{name: "another node", change: func(s *agentapi.Spec) { s.Node = "b" }, field: "node", says: `"b": this node has "a"`},
		{name: "stores swapped", stores: both, change: func(s *agentapi.Spec) { s.Stores[0], s.Stores[1] = s.Stores[1], s.Stores[0] }, field: "stores.0.path", says: "the id s1 is at /d1"},
		{name: "a store moved", stores: both, change: func(s *agentapi.Spec) { s.Stores[1].Path = "/d9" }, field: "stores.1.path", says: "the id s2 is at /d2"},
		{name: "a store removed", stores: both, change: func(s *agentapi.Spec) { s.Stores = s.Stores[:1] }, field: "stores.1.path", says: "s2"},
		{name: "a store's disk left out", stores: both, was: func(s *agentapi.Spec) { s.Stores[1].Disk = &agentapi.Disk{Mount: "/d2"} }, field: "stores.1.disk", says: "/d2"},
		{name: "a disk for a store of before", stores: both, change: func(s *agentapi.Spec) { s.Stores[1].Disk = &agentapi.Disk{Mount: "/d2"} }},
		{name: "the spec was lost, the stores are known", first: true, stores: both, change: func(s *agentapi.Spec) { s.Stores[0].Path = "/d9" }, field: "stores.0.path", says: "s1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			current, spec := twoStores(), twoStores()
			if tc.first {
				current = nil
			}
			if tc.was != nil {
				tc.was(current)
			}
			if tc.change != nil {
				tc.change(spec)
			}
			err := compatible(current, spec, tc.stores)
			e, ok := errors.AsType[*agentapi.Error](err)
			switch {
			case tc.field == "" && err != nil:
				t.Error(err)
			case tc.field != "" && (!ok || e.Field != tc.field || !strings.Contains(e.Why, tc.says) || e.Next == ""):
				t.Errorf("%+v, want a refusal of %s that says %q", err, tc.field, tc.says)
			}
		})
	}
}

// The state of an engine that has no process.
func TestAbsent(t *testing.T) {
	for _, tc := range []struct {
		s    supervise.State
		want string
	}{
		{supervise.State{Wanted: true, Ready: true}, agentapi.EngineStarting},
		{supervise.State{Wanted: true, Ready: true, Failures: 1}, agentapi.EngineFailed},
		{supervise.State{Wanted: true}, agentapi.EngineFailed}, // its directories are not in place
		{supervise.State{Ready: true}, agentapi.EngineStopped},
		{supervise.State{Failures: 3}, agentapi.EngineStopped},
	} {
		if got := absent(tc.s); got != tc.want {
			t.Errorf("%+v: %s, want %s", tc.s, got, tc.want)
		}
	}
}

// A reload is for what an engine takes over while it runs.
func TestReloads(t *testing.T) {
	hot, cold := agentapi.Change{Attribute: "log.level"}, agentapi.Change{Attribute: "ports.http", Restart: true}
	for _, tc := range []struct {
		name    string
		current *agentapi.Spec
		changes []agentapi.Change
		want    bool
	}{
		{"nothing", twoStores(), nil, false},
		{"hot", twoStores(), []agentapi.Change{hot}, true},
		{"cold", twoStores(), []agentapi.Change{cold}, false},
		{"both", twoStores(), []agentapi.Change{cold, hot}, true},
		{"the first spec", nil, []agentapi.Change{hot}, false},
	} {
		if got := reloads(tc.current, tc.changes); got != tc.want {
			t.Errorf("%s: %v", tc.name, got)
		}
	}
}

// A problem that persists keeps the time at which it began; another one has its own.
func TestSince(t *testing.T) {
	at := func(what, why string, second int64) agentapi.Problem {
		return agentapi.Problem{What: what, Why: why, At: time.Unix(second, 0)}
	}
	old := []agentapi.Problem{at("a", "x", 1), at("b", "x", 2)}
	got := since(old, []agentapi.Problem{at("b", "x", 9), at("a", "y", 9)})
	if d := cmp.Diff([]agentapi.Problem{at("b", "x", 2), at("a", "y", 9)}, got); d != "" {
		t.Errorf("(-want +got): %s", d)
	}
}

func TestReadJSON(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		found      bool
		says       string
	}{
		{"good", `{"format": 1, "stores": []}`, true, ""},
		{"missing", "", false, ""},
		{"cut", `{"format": 1, "sto`, false, "put it aside"},
		{"empty", " ", false, "put it aside"},
		{"later", `{"format": 2}`, false, "has format 2, this binary knows 1"},
		{"no format", `{}`, false, "has format 0"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "stores.json")
			if tc.text != "" {
				if err := os.WriteFile(path, []byte(tc.text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			var rec storesRecord
			found, err := readJSON(path, &rec, &rec.Format)
			if found != tc.found || (err != nil) != (tc.says != "") {
				t.Fatalf("found %v, %v", found, err)
			}
			if e, ok := errors.AsType[*agentapi.Error](err); tc.says != "" && (!ok || !strings.Contains(e.Why+e.Next, tc.says) || !strings.Contains(e.Why, path)) {
				t.Errorf("%v, want %s and %q", err, path, tc.says)
			}
		})
	}
}

// A leaving supervisor has a process on its way out, which ends at a time, or never.
type leaving struct {
	supervisor
	gone time.Time // zero: never
}

func (l leaving) State() supervise.State {
	if !l.gone.IsZero() && !time.Now().Before(l.gone) {
		return supervise.State{Failures: 1}
	}
	return supervise.State{Process: &supervise.Info{}, Killed: true}
}

func (l leaving) Until(ctx context.Context, ok func(supervise.State) bool) error {
	for !ok(l.State()) {
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// A process that exits is not told to be held while the kernel takes its threads down.
func TestSettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, tc := range map[string]struct {
			after time.Duration
			held  bool
		}{
			"it exits":        {endBound / 2, false},
			"a disk holds it": {0, true},
		} {
			l := leaving{}
			if tc.after > 0 {
				l.gone = time.Now().Add(tc.after)
			}
			if s := settled(t.Context(), l); s.Killed != tc.held {
				t.Errorf("%s: %+v", name, s)
			}
		}
	})
}
