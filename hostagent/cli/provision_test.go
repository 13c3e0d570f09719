// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
)

// Each operation is told once, in its order; it is over when the engine runs and nothing
// is wrong, or is wrong for long.
func TestFollowing(t *testing.T) {
	var said []string
	f := following{say: func(s string) { said = append(said, s) }, problems: map[string]bool{}}
	at := time.Unix(1000, 0)
	op := func(text string) agentapi.Operation { return agentapi.Operation{Part: agentapi.PartDisks, Text: text} }
	doing := func(since int64, done ...string) agentapi.Status {
		c := &agentapi.Converging{Since: time.Unix(since, 0)}
		for _, d := range done[:len(done)-1] {
			c.Done = append(c.Done, op(d))
		}
		c.Doing = op(done[len(done)-1])
		return agentapi.Status{Converging: c, Engine: agentapi.Engine{State: agentapi.EngineStarting}}
	}
	rest := func(state string, problems ...string) agentapi.Status {
		st := agentapi.Status{Engine: agentapi.Engine{State: state, LastExit: "pid 7 exited with code 78"}}
		for _, p := range problems {
			st.Problems = append(st.Problems, agentapi.Problem{What: p, Why: "w", Next: "n"})
		}
		return st
	}
	for i, tc := range []struct {
		st    agentapi.Status
		after time.Duration
		done  bool
		err   string
	}{
		{doing(1, "look"), 0, false, ""},
		{doing(1, "look", "make", "mount"), 1, false, ""},
		{rest(agentapi.EngineFailed, "p"), 2, false, ""},
		{doing(2, "look"), 3, false, ""},
		{rest(agentapi.EngineStarting, "p"), 4, false, ""},
		{rest(agentapi.EngineRunning, "side not armed"), 5, false, ""},
		{rest(agentapi.EngineRunning, "side not armed"), 6, false, ""},
		{rest(agentapi.EngineRunning, "side not armed"), 6 + settleBound, true, "the engine runs, but"},
		{rest(agentapi.EngineRunning), 7, true, ""},
		{rest(agentapi.EngineStopped), 8, true, "somebody stopped it"},
	} {
		done, err := f.see(tc.st, at.Add(tc.after))
		if done != tc.done || (err != nil) != (tc.err != "") || err != nil && !strings.Contains(err.Error(), tc.err) {
			t.Errorf("%d: %v %v", i, done, err)
		}
	}
	want := []string{"… disks: look", "disks: look", "disks: make", "… disks: mount", "problem: p: w", "… disks: look", "problem: side not armed: w"}
	if diff := cmp.Diff(want, said); diff != "" {
		t.Error(diff)
	}
	if err := unfinished(rest(agentapi.EngineFailed, "p"), "late"); err.Error() != "late: the engine is failed; pid 7 exited with code 78; p: w. n" {
		t.Errorf("%v", err)
	}
}
