// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package rollout

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// simulated is a cluster whose engines take a while to come back. A leader that goes
// is followed by the first voter that runs. It checks that no restart ever left fewer
// than a majority of voters.
type simulated struct {
	t       *testing.T
	nodes   []Node
	back    time.Duration        // from a restart to an engine that serves
	never   string               // the node that does not come back
	refuses error                // of every restart
	silent  error                // of every observation
	until   map[string]time.Time // by node: down until
	done    []string             // restarts, in order
}

func (s *simulated) Observe(context.Context) ([]Node, error) {
	if s.silent != nil {
		return nil, s.silent
	}
	for i := range s.nodes {
		n := &s.nodes[i]
		if end, ok := s.until[n.Name]; ok && time.Now().After(end) && n.Name != s.never {
			n.Running, n.Restart = true, nil
			delete(s.until, n.Name)
		}
	}
	if !slices.ContainsFunc(s.nodes, func(n Node) bool { return n.leads() > 0 }) {
		if i := slices.IndexFunc(s.nodes, func(n Node) bool { return n.Voter && n.Running }); i >= 0 {
			s.nodes[i].Partitions = leads
		}
	}
	return slices.Clone(s.nodes), nil
}

func (s *simulated) Restart(_ context.Context, name string) error {
	if s.refuses != nil {
		return s.refuses
	}
	i := slices.IndexFunc(s.nodes, func(n Node) bool { return n.Name == name })
	s.nodes[i].Running, s.nodes[i].Partitions = false, follows
	s.until[name] = time.Now().Add(s.back)
	s.done = append(s.done, name)
	voters, run := 0, 0
	for _, n := range s.nodes {
		if n.Voter {
			voters++
			if n.Running {
				run++
			}
		}
	}
	if run <= voters/2 {
		s.t.Errorf("%d of %d voters run while %s restarts", run, voters, name)
	}
	return nil
}

// The one partition of these clusters, on its leader and on the others.
var leads, follows = []Partition{{Name: "default", Leader: true}}, []Partition{{Name: "default"}}

func cluster(t *testing.T) *simulated {
	return &simulated{t: t, back: 2 * time.Second, until: map[string]time.Time{}, nodes: []Node{
		{Name: "a", Voter: true, Running: true, Partitions: leads, Restart: []string{"x"}},
		{Name: "b", Voter: true, Running: true, Partitions: follows, Restart: []string{"x"}},
		{Name: "c", Voter: true, Running: true, Partitions: follows, Restart: []string{"x"}},
		{Name: "d", Running: true, Partitions: follows, Restart: []string{"x"}},
	}}
}

func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := cluster(t)
		var said []string
		if err := Run(t.Context(), s, Plan(s.nodes), Options{Step: func(line string) { said = append(said, line) }}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"d", "b", "c", "a"}, s.done); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff("node d: restart engine (x)", said[0]); diff != "" || len(said) != 4 {
			t.Error(diff, said)
		}
	})
}

// TestRunStops: the first restart that does not go well is the last one.
func TestRunStops(t *testing.T) {
	broken := errors.New("broken")
	for name, tc := range map[string]struct {
		change func(*simulated)
		done   []string // restarted well
		tried  []string
		why    string
		is     error
	}{
		"a node does not come back": {
			change: func(s *simulated) { s.never = "b" },
			done:   []string{"d"}, tried: []string{"d", "b"}, why: "it did not come back well: voter b does not run", is: context.DeadlineExceeded,
		},
		"a non-voter does not come back": {
			change: func(s *simulated) { s.never = "d" },
			tried:  []string{"d"}, why: "it did not come back well: the engine of d does not run", is: context.DeadlineExceeded,
		},
		"a voter is down before it begins": {
			change: func(s *simulated) { s.nodes[2].Running = false },
			why:    "it may not begin: voter c does not run", is: context.DeadlineExceeded,
		},
		"a restart is refused": {
			change: func(s *simulated) { s.refuses = broken },
			why:    "broken", is: broken,
		},
		"nothing can be observed": {
			change: func(s *simulated) { s.silent = broken },
			why:    "it may not begin: broken", is: broken,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := cluster(t)
				tc.change(s)
				err := Run(t.Context(), s, Plan(s.nodes), Options{GateTimeout: 5 * time.Second})
				i, ok := errors.AsType[*Incomplete](err)
				if !ok || !errors.Is(err, tc.is) {
					t.Fatal(err)
				}
				if diff := cmp.Diff(tc.why, i.Why); diff != "" {
					t.Error(diff)
				}
				if !slices.Equal(i.Done, tc.done) || !slices.Equal(s.done, tc.tried) {
					t.Errorf("done %v of %v", i.Done, s.done)
				}
			})
		})
	}
}

// TestRunGoesOn: an interrupted rollout is planned anew from what is there.
func TestRunGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := cluster(t)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		err := Run(ctx, s, Plan(s.nodes), Options{})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		time.Sleep(s.back) // what was restarting when it was interrupted
		nodes, err := s.Observe(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := Run(t.Context(), s, Plan(nodes), Options{}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"d", "b", "c", "a"}, s.done); diff != "" {
			t.Error(diff)
		}
	})
}
