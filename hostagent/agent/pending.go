// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package agent

import (
	"context"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
)

// Pending implements agentapi.Backend. An agent that only makes directories has
// nothing to do that it has not done.
func (a *Agent) Pending(ctx context.Context) (agentapi.Pending, error) {
	p := agentapi.Pending{Operations: []agentapi.Operation{}}
	a.begun(ctx)
	give, err := a.takeTurn(ctx)
	if err != nil {
		return p, err
	}
	defer give()
	a.mu.Lock()
	spec, stores := a.mu.spec, a.mu.stores
	a.mu.Unlock()
	if spec == nil {
		return p, nil
	}
	ops, problems, err := a.operations(ctx, spec, stores)
	if err != nil && len(problems) == 0 {
		return p, err
	}
	steps, due := a.pendingProvision(spec)
	p.Operations = append(append(p.Operations, steps...), ops...)
	p.Problems = append(due, problems...)
	return p, nil
}

// begun waits, though not for long, for a convergence that is asked for: what that will
// have done needs no PUT.
func (a *Agent) begun(ctx context.Context) {
	a.mu.Lock()
	c := a.mu.next
	a.mu.Unlock()
	if !a.opts.Systemd || c == nil {
		return // an agent that only makes directories asks for none but with a spec
	}
	timer := time.NewTimer(answerBound)
	defer timer.Stop()
	select {
	case <-c.ended:
	case <-ctx.Done():
	case <-timer.C:
	}
}

// Preview says what an agent on this machine would do for spec, without one that runs:
// what an earlier one has recorded in opts.Dir counts, and nothing is changed. It refuses
// what an agent would refuse.
func Preview(ctx context.Context, opts Options, spec *agentapi.Spec) (agentapi.SpecResult, error) {
	spec = spec.WithDefaults()
	if err := spec.Validate(); err != nil {
		return agentapi.SpecResult{}, err
	}
	if err := checkSteps(spec, nil); err != nil {
		return agentapi.SpecResult{}, err
	}
	a := idle(opts)
	if err := a.load(); err != nil {
		return agentapi.SpecResult{}, err
	}
	return a.acceptLocked(ctx, spec, nil, true)
}
