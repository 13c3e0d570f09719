// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package agent

import (
	"context"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/supervise"
)

// Start implements agentapi.Backend.
func (a *Agent) Start(ctx context.Context) error {
	if err := a.needSpec(); err != nil {
		return err
	}
	if err := a.sup.Start(); err != nil {
		return err
	}
	if err := a.up(ctx, 0); err != nil {
		return err
	}
	a.forgetSides(ctx)
	return nil
}

// Restart implements agentapi.Backend.
func (a *Agent) Restart(ctx context.Context) error {
	if err := a.needSpec(); err != nil {
		return err
	}
	before := 0
	if p := a.sup.State().Process; p != nil {
		before = p.PID
	}
	if err := a.sup.Restart(); err != nil {
		return err
	}
	if err := a.up(ctx, before); err != nil {
		return err
	}
	a.forgetSides(ctx)
	return nil
}

// Stop implements agentapi.Backend.
func (a *Agent) Stop(ctx context.Context) error {
	if err := a.sup.Stop(ctx); err != nil {
		return &agentapi.Error{What: "the engine was not stopped yet", Why: err.Error(), Next: "It is remembered: no engine is started after this one. Look at the node's disks."}
	}
	return nil
}

func (a *Agent) needSpec() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.mu.spec == nil {
		return &agentapi.Error{What: "there is no engine to start", Why: "the node has no spec yet", Next: "Send one with PUT /v1/spec."}
	}
	return nil
}

// up waits until another engine than the one before answers, or until it is
// plain that it will not: then the status says why, and that is no error of
// the request.
func (a *Agent) up(ctx context.Context, before int) error {
	ctx, cancel := context.WithTimeout(ctx, startBound+stopBound)
	defer cancel()
	err := a.sup.Until(ctx, func(s supervise.State) bool {
		return s.Process != nil && s.Process.PID != before || s.Process == nil && (!s.Ready || s.Failures > 0 || !s.Wanted)
	})
	if err != nil {
		if a.sup.State().Killed {
			return &agentapi.Error{What: "the engine was not restarted yet", Why: supervise.ErrHeld.Error(), Next: "A new one is started as soon as it has ended. Look at the node's disks."}
		}
		return &agentapi.Error{What: "the engine was not started yet", Why: err.Error(), Next: "The agent goes on; GET /v1/status shows how far it is."}
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		a.mu.Lock()
		spec, hash := a.mu.spec, a.mu.hash
		a.mu.Unlock()
		if e, _ := a.engine(ctx, spec, hash); e.State != agentapi.EngineStarting {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil // the status says that it is starting
		}
	}
}
