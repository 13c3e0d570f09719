// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/api"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/config"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/status"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/supervise"
)

// Status implements agentapi.Backend.
func (a *Agent) Status(ctx context.Context) agentapi.Status {
	a.mu.Lock()
	spec, hash := a.mu.spec, a.mu.hash
	problems := append([]agentapi.Problem{}, a.mu.problems...)
	a.mu.Unlock()
	st := agentapi.Status{
		Agent:  agentapi.Agent{Version: a.opts.Version, PID: os.Getpid(), StartedAt: a.started},
		Spec:   spec,
		Engine: agentapi.Engine{State: agentapi.EngineNone, Wanted: wanted(a.sup.State())},
		Stores: []agentapi.StoreStatus{},
	}
	if spec == nil {
		st.Problems = problems
		return st
	}
	st.Node = spec.Node

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
	problems = append(problems, sharedDevices(spec, &st, a.started)...)
	for _, err := range slices.Concat(errs, sideErrs) {
		switch {
		case err == nil, errors.Is(err, os.ErrNotExist) && len(a.problemsNow()) > 0:
			// what is missing is told by the convergence
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
	sup := a.sup.State()
	e := agentapi.Engine{Wanted: wanted(sup), Restarts: sup.Restarts, LastExit: sup.LastExit, HTTPAddress: httpAddress(spec)}
	var problems []agentapi.Problem
	if sup.Err != nil {
		problems = append(problems, problem("the engine cannot be started or stopped", sup.Err, "The agent goes on trying."))
	}
	p := sup.Process
	if p == nil {
		e.State = absent(sup)
		return e, problems
	}
	e.PID, e.StartedAt = p.PID, p.StartedAt
	running := p.Spec
	if running == nil && p.ConfigHash != "" && p.ConfigHash != hash {
		e.RestartRequired = []agentapi.Change{{Attribute: "configuration", From: p.ConfigHash, To: hash, Restart: true}}
	}
	e.RestartRequired = append(e.RestartRequired, agentapi.RestartRequired(running, spec)...)
	if sup.Killed {
		e.State = agentapi.EngineHeld
		return e, append(problems, problem("the engine was killed and does not end", supervise.ErrHeld, "Look at the node's disks. No other engine is started before it has ended."))
	}
	// It listens where the configuration that it was started with says.
	address := e.HTTPAddress
	if running != nil {
		address = httpAddress(running)
	}
	e.State = agentapi.EngineStarting
	stores, err := status.Ask(ctx, address, askBound)
	switch {
	case err == nil && !ours(spec, stores):
		problems = append(problems, problem("another engine answers at "+address,
			fmt.Errorf("it is node %q of cluster %s", stores.Node, stores.ClusterID), "Stop it, or give this node another address or port."))
	case err == nil:
		e.State, e.Stores, e.Version, e.HTTPAddress = agentapi.EngineRunning, stores, stores.Version, address
		problems = append(problems, failoverProblems(stores)...)
	}
	return e, problems
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

func httpAddress(spec *agentapi.Spec) string {
	return net.JoinHostPort(spec.BindAddress, strconv.Itoa(spec.Ports.HTTP))
}
