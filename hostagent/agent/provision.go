// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/provision"
)

// A spec's steps are run once for each time that it is sent, until one fails. That one
// and those after it wait for the next time, and the problem stays: nobody but its
// author knows what a step does that is run for the second or the thousandth time, and
// retries, with their backoff, are what the author allows. What a restart of the agent
// interrupted is gone on with, as the package says that a step has to bear.
//
// A node that was in place once keeps its engine whatever becomes of later steps: they
// are a problem to look into, a replica that is down after a reboot would be a worse
// one. On a new node the engine is not started before its steps are done.

// provisionDir holds the record of provisioning steps.
const provisionDir = "provision"

// provisioning is where the steps of the spec in force stand.
type provisioning struct {
	// secrets came with the spec. They are nowhere else.
	secrets agentapi.Secrets
	// asked says that the spec was sent to this agent; ended, that nothing more is done
	// before it is sent again, with the problem that ended it.
	asked, ended bool
	problem      *agentapi.Problem
	status       []agentapi.StepStatus // what is on record
}

func (a *Agent) provisionHost(node string) *provision.Host {
	return provision.NewHost(filepath.Join(a.opts.Dir, provisionDir), node)
}

// provisionLocked runs the provisioning steps as far as they have to be run. The
// problems it returns keep the node from going on; others are noted in c.
func (a *Agent) provisionLocked(ctx context.Context, c *convergence, spec *agentapi.Spec) []agentapi.Problem {
	a.mu.Lock()
	at, placed := a.mu.steps, len(a.mu.stores.Stores) > 0
	a.mu.Unlock()
	if len(spec.Provision) == 0 && len(at.status) == 0 {
		return nil
	}
	again := false
	if !at.ended {
		at.problem, again = a.runSteps(ctx, c, spec, at)
		a.mu.Lock()
		a.mu.steps.ended, a.mu.steps.problem = !again, at.problem
		a.mu.Unlock()
	}
	switch {
	case at.problem == nil:
		return nil
	case !placed || ctx.Err() != nil:
		return []agentapi.Problem{*at.problem}
	}
	c.beside, c.again = append(c.beside, *at.problem), c.again || again
	return nil
}

// runSteps runs the steps once. again says that nothing was done, and that it is worth
// trying without being asked.
func (a *Agent) runSteps(ctx context.Context, c *convergence, spec *agentapi.Spec, at provisioning) (p *agentapi.Problem, again bool) {
	steps, err := provision.FromSpec(spec.Provision, at.secrets)
	if err != nil {
		return new(problem("the provisioning steps cannot be run", err, "Send the spec again.")), false
	}
	host, begun := a.provisionHost(spec.Node), false
	run := host.Resume
	if at.asked {
		run = host.Run
	}
	_, err = run(ctx, steps, func(e provision.Event) {
		begun = true
		switch e.Kind {
		case provision.EventStart:
			c.doing(operation(e.Decision, spec.Provision))
		case provision.EventRetry:
			c.doing(agentapi.Operation{Part: agentapi.PartProvision, Field: stepField(e.Decision.Step),
				Text: fmt.Sprintf("run step %s again in %v: attempt %d failed", e.Decision.Step, e.Wait, e.Attempt)})
		}
		a.log.Info("provisioning step", "step", e.Decision.Step, "event", string(e.Kind), "why", e.Decision.Why, "attempt", e.Attempt)
		a.readSteps(host, spec)
	})
	a.readSteps(host, spec)
	if err == nil {
		return nil, false
	}
	e, ok := errors.AsType[*provision.StepError](err)
	switch {
	case ctx.Err() != nil: // the agent's end; the next one goes on
		return new(problem("provisioning was interrupted", err, "The next agent goes on with it.")), true
	case !ok:
		return new(problem("the provisioning steps cannot be run", err, "See the error, and send the spec again.")), !begun && !errors.Is(err, provision.ErrCorrupt) && !errors.Is(err, provision.ErrVersion)
	case errors.Is(err, provision.ErrUnknownSecret):
		return new(problem("step "+e.Step+" lacks a secret", e.Err, "Apply again: secrets come with the spec, and are in the agent's memory alone.")), false
	case errors.Is(err, provision.ErrFailedBefore):
		return new(problem("step "+e.Step+" failed", e.Err, "Mend it, and apply again.")), false
	case e.Attempts > 1:
		e.Err = fmt.Errorf("%d attempts, the last: %w", e.Attempts, e.Err)
	}
	return new(problem("step "+e.Step+" failed", e.Err, "Mend it, and apply again: it is not run again before.")), false
}

// readSteps keeps what is on record for the status, in the order of the spec.
func (a *Agent) readSteps(host *provision.Host, spec *agentapi.Spec) {
	record, err := host.Record()
	if err != nil {
		a.log.Warn("the record of provisioning steps cannot be read", "error", err) // a run says so, too
		return
	}
	place := func(name string) int {
		i := slices.IndexFunc(spec.Provision, func(s agentapi.Step) bool { return s.Name == name })
		if i < 0 {
			return len(spec.Provision)
		}
		return i
	}
	var all []agentapi.StepStatus
	for _, name := range slices.Sorted(maps.Keys(record.Steps)) {
		e := record.Steps[name]
		all = append(all, agentapi.StepStatus{Name: name, State: e.State, Hash: e.Hash, At: e.At})
	}
	slices.SortStableFunc(all, func(x, y agentapi.StepStatus) int { return cmp.Compare(place(x.Name), place(y.Name)) })
	a.mu.Lock()
	defer a.mu.Unlock()
	a.mu.steps.status = all
}

// pendingProvision is what the next PUT of the spec would do about its steps. It looks
// at their files, and takes as long as those do, up to a bound.
func (a *Agent) pendingProvision(spec *agentapi.Spec) ([]agentapi.Operation, []agentapi.Problem) {
	a.mu.Lock()
	secrets := a.mu.steps.secrets
	a.mu.Unlock()
	return a.planSteps(spec, secrets)
}

func (a *Agent) planSteps(spec *agentapi.Spec, secrets agentapi.Secrets) ([]agentapi.Operation, []agentapi.Problem) {
	const what = "what the provisioning steps would do is not known"
	steps, err := provision.FromSpec(spec.Provision, secrets)
	if err != nil {
		return nil, []agentapi.Problem{problem(what, err, "Correct the steps.")}
	}
	made := make(chan provision.Plan, 1) // a late answer is not raced with
	err = a.disks.Do("the files of provisioning steps", diskBound, func() error {
		plan, err := a.provisionHost(spec.Node).Plan(steps)
		made <- plan
		return err
	})
	if err != nil {
		return nil, []agentapi.Problem{problem(what, err, "See the error.")}
	}
	return operations(<-made, spec.Provision), nil
}

// operations are the decisions of a plan that come to something.
func operations(plan provision.Plan, steps []agentapi.Step) []agentapi.Operation {
	var ops []agentapi.Operation
	for _, d := range plan {
		if d.Action != provision.Skip {
			ops = append(ops, operation(d, steps))
		}
	}
	return ops
}

func stepField(name string) string { return agentapi.PartProvision + "." + name }

// operation is one decision as a person reads it.
func operation(d provision.Decision, steps []agentapi.Step) agentapi.Operation {
	o := agentapi.Operation{Part: agentapi.PartProvision, Field: stepField(d.Step)}
	switch d.Action {
	case provision.Run:
		o.Text = fmt.Sprintf("run step %s: %s", d.Step, d.Why)
	case provision.Change:
		o.Text = fmt.Sprintf("step %s differs: %s", d.Step, differences(d, steps))
	case provision.Forget:
		o.Text = fmt.Sprintf("forget step %s: %s", d.Step, d.Why)
	default:
		o.Text = fmt.Sprintf("run step %s again: %s", d.Step, d.Why)
		if len(d.Changes) > 0 {
			o.Text += "; " + differences(d, steps)
		}
	}
	return o
}

// differences names the attributes as the spec does, and both values.
func differences(d provision.Decision, steps []agentapi.Step) string {
	group := "shell."
	if slices.ContainsFunc(steps, func(s agentapi.Step) bool { return s.Name == d.Step && s.File != nil }) {
		group = "file."
	}
	var words []string
	for _, c := range d.Changes {
		name := c.Attribute
		if name != "kind" {
			name = group + name
		}
		words = append(words, fmt.Sprintf("%s %s → %s", name, cmp.Or(c.From, "none"), cmp.Or(c.To, "none")))
	}
	return strings.Join(words, ", ")
}

// checkSteps refuses steps that make no sense.
func checkSteps(spec *agentapi.Spec, secrets agentapi.Secrets) error {
	steps, err := provision.FromSpec(spec.Provision, secrets)
	if err != nil {
		return err
	}
	return provision.Validate(steps)
}
