// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/api"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/config"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/status"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/supervise"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/units"
)

// Status implements agentapi.Backend.
func (a *Agent) Status(ctx context.Context) agentapi.Status {
	a.mu.Lock()
	spec, hash := a.mu.spec, a.mu.hash
	problems := append([]agentapi.Problem{}, a.mu.problems...)
	steps := a.mu.steps.status // replaced, never changed
	a.mu.Unlock()
	st := agentapi.Status{
		Provision: steps,
		Agent:     agentapi.Agent{Version: a.opts.Version, PID: os.Getpid(), StartedAt: a.started},
		Spec:      spec,
		Engine:    agentapi.Engine{State: agentapi.EngineNone, Wanted: wanted(a.sup.State())},
		Stores:    []agentapi.StoreStatus{},
	}
	st.PKI = a.knownPKI()
	if spec == nil {
		st.Problems = problems
		return st
	}
	st.Node = spec.Node
	if c := a.underWay(); c != nil {
		st.Converging = c.status()
	}

	var paths []string
	for _, s := range spec.Stores {
		paths = append(paths, s.Path)
	}
	var wg sync.WaitGroup
	var errs, sideErrs []error
	wg.Go(func() { st.Stores, errs = a.dirs.Look(paths) })
	if spec.SideDisk != nil {
		wg.Go(func() {
			var sides []agentapi.StoreStatus
			sides, sideErrs = a.side.Look([]string{spec.SideDisk.Path})
			st.Side = &sides[0]
		})
	}
	var more []agentapi.Problem
	wg.Go(func() { st.Engine, more = a.engine(ctx, spec, hash) })
	wg.Wait()
	problems = append(problems, more...)
	st.Rates, more = a.ratesNow(spec)
	problems = append(problems, more...)
	problems = append(problems, sharedDevices(spec, &st, a.started)...)
	problems = append(problems, endingCA(st.PKI, time.Now())...)
	for _, err := range slices.Concat(errs, sideErrs) {
		switch {
		case err == nil, errors.Is(err, os.ErrNotExist) && (st.Converging != nil || len(a.problemsNow()) > 0):
			// what is missing is being made, or told by the convergence
		case errors.Is(err, status.ErrNoAnswer):
			problems = append(problems, problem("a disk does not answer", err, "Look at the disk; what is shown of it is the last that was seen."))
		default:
			problems = append(problems, problem("a directory cannot be looked at", err, "See the error."))
		}
	}
	st.Problems = problems
	return st
}

func (a *Agent) problemsNow() []agentapi.Problem {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.mu.problems
}

func wanted(s supervise.State) string {
	if s.Wanted {
		return agentapi.EngineRunning
	}
	return agentapi.EngineStopped
}

// engine observes the engine's process and asks its API.
func (a *Agent) engine(ctx context.Context, spec *agentapi.Spec, hash string) (agentapi.Engine, []agentapi.Problem) {
	sup := settled(ctx, a.sup)
	e := agentapi.Engine{Wanted: wanted(sup), Restarts: sup.Restarts, LastExit: sup.LastExit, HTTPAddress: httpAddress(spec)}
	var problems []agentapi.Problem
	if sup.Err != nil {
		problems = append(problems, passing(problem("the engine cannot be started or stopped", sup.Err, "The agent goes on trying.")))
	}
	p := sup.Process
	if p == nil {
		e.State = absent(sup)
		if sup.Idle {
			problems = append(problems, problem("the engine does not run", errors.New("systemd has stopped it, which nobody asked the agent for: somebody did by hand, or a mount that it needs went away"),
				"See journalctl -u "+units.EngineUnit+"; an apply, or a start of the agent, starts it."))
		}
		return e, problems
	}
	e.PID, e.StartedAt = p.PID, p.StartedAt
	run := a.runs(p)
	e.State = agentapi.EngineHeld
	if !sup.Killed {
		e.State = agentapi.EngineStarting
		stores, address, err := a.ask(ctx, run, spec)
		switch {
		case err == nil && !ours(spec, stores):
			problems = append(problems, problem("another engine answers at "+address,
				fmt.Errorf("it is node %q of cluster %s", stores.Node, stores.ClusterID), "Stop it, or give this node another address or port."))
		case err == nil:
			e.State, e.Stores, e.Version, e.HTTPAddress = agentapi.EngineRunning, stores, stores.Version, address
			problems = append(problems, failoverProblems(stores)...)
			run = a.learn(run, stores.ConfigHash)
		}
	} else {
		problems = append(problems, problem("the engine was killed and does not end", supervise.ErrHeld, "Look at the node's disks. No other engine is started before it has ended."))
	}
	e.RestartRequired = a.restartRequired(run, spec, hash)
	return e, problems
}

// endBound is for how long a process that has to end may take until it counts as held.
const endBound = 200 * time.Millisecond

// settled is the supervisor's state, looked at again where a process is on its way out: one
// that exits by itself looks for a moment as one that was killed and is held, for the
// kernel ends its threads by SIGKILL.
func settled(ctx context.Context, sup supervisor) supervise.State {
	if s := sup.State(); !s.Killed {
		return s
	}
	ctx, cancel := context.WithTimeout(ctx, endBound)
	defer cancel()
	_ = sup.Until(ctx, func(s supervise.State) bool { return !s.Killed }) // what it is then, is told below
	return sup.State()
}

func ours(spec *agentapi.Spec, s *api.NodeStores) bool {
	return s.Node == spec.Node && s.ClusterID == spec.Cluster.ID && s.NodeID == config.NodeID(spec.Cluster.ID, spec.Node)
}

// absent is the state of an engine that has no process.
func absent(s supervise.State) string {
	switch {
	case !s.Wanted:
		return agentapi.EngineStopped
	case s.Failures > 0 || !s.Ready:
		return agentapi.EngineFailed
	default:
		return agentapi.EngineStarting
	}
}

// httpAddress is where the engine answers its agent: in the clear, and with TLS on
// loopback alone.
func httpAddress(spec *agentapi.Spec) string { return config.HTTPAddress(spec) }
