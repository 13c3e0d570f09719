// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package agent

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/layout"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/units"
)

// convergence is one run of making the node what its spec says. What waits for it may
// give up; it goes on, in the one loop that does it.
type convergence struct {
	since time.Time
	// asked: a spec that was sent is what it is for. Only then file systems grow, so that
	// GET /v1/pending, and a plan with it, shows it before. Set before it is under way.
	asked bool
	// ended is closed by the loop once problems are set.
	ended    chan struct{}
	problems []agentapi.Problem
	// beside are problems that do not keep the engine from running; again says that
	// one of them is worth another try. Both are the loop's.
	beside []agentapi.Problem
	again  bool
	// sideAlone: what is not in place is the side disk alone, and the engine may start
	// with what an earlier convergence put in place. The loop's.
	sideAlone bool

	mu struct {
		sync.Mutex
		doing agentapi.Operation
		looks bool // doing changes nothing
		done  []agentapi.Operation
	}
}

// doing says what is done next.
func (c *convergence) doing(o agentapi.Operation) { c.next(o, false) }

// looking says what is looked at next: with it, nothing is done.
func (c *convergence) looking(part, text string) {
	c.next(agentapi.Operation{Part: part, Text: text}, true)
}

func (c *convergence) next(o agentapi.Operation, looks bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.doing != (agentapi.Operation{}) && !c.mu.looks {
		c.mu.done = append(c.mu.done, c.mu.doing)
	}
	c.mu.doing, c.mu.looks = o, looks
}

// status is the convergence as a person reads it.
func (c *convergence) status() *agentapi.Converging {
	c.mu.Lock()
	defer c.mu.Unlock()
	return &agentapi.Converging{Since: c.since, Doing: c.mu.doing, Done: slices.Clone(c.mu.done)}
}

// takeTurn waits until nobody else changes the node.
func (a *Agent) takeTurn(ctx context.Context) (give func(), err error) {
	timer := time.NewTimer(turnBound)
	defer timer.Stop()
	select {
	case <-a.turn:
		return func() { a.turn <- struct{}{} }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-timer.C:
		why := "an earlier request is under way"
		if c := a.underWay(); c != nil {
			if doing := c.status().Doing; doing.Text != "" {
				why += ": " + doing.String()
			}
		}
		return nil, &agentapi.Error{What: "the agent is busy", Why: why, Next: "Nothing was changed. Try again when GET /v1/status says that it is at rest."}
	}
}

// underWay is the convergence that is under way or asked for, nil where there is none.
func (a *Agent) underWay() *convergence {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.mu.now != nil {
		return a.mu.now
	}
	return a.mu.next
}

// converge asks for a convergence of the spec in force. asked: it was just sent.
func (a *Agent) converge(asked bool) *convergence {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.mu.next == nil {
		a.mu.next = &convergence{since: time.Now(), ended: make(chan struct{})}
	}
	a.mu.next.asked = a.mu.next.asked || asked
	select {
	case a.due <- struct{}{}:
	default:
	}
	return a.mu.next
}

// keepConverging does what is asked for, tries again while something keeps the node
// from its spec that may pass, and forgets sides that an engine has drained.
func (a *Agent) keepConverging(ctx context.Context) {
	looked := time.Now()
	for {
		if !a.convergeOnce(ctx) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-a.due:
		case <-time.After(againAfter):
			a.forgetSides(ctx)
		}
		if time.Since(looked) > renewAfter {
			a.renewCertificates(ctx)
			looked = time.Now()
		}
	}
}

// convergeOnce runs the convergence that is asked for, or one more while there are
// problems. It says no when ctx has ended.
func (a *Agent) convergeOnce(ctx context.Context) bool {
	select {
	case <-a.turn:
	case <-ctx.Done():
		return false
	}
	defer func() { a.turn <- struct{}{} }()
	a.mu.Lock()
	spec := a.mu.spec
	a.mu.Unlock()
	a.detachDead(spec)
	store, side := a.unmounted(spec)
	a.mu.Lock()
	c := a.mu.next
	if c == nil && a.dueLocked(store || side) {
		c = &convergence{since: time.Now(), ended: make(chan struct{})}
	}
	a.mu.next, a.mu.now = nil, c
	a.mu.Unlock()
	if c == nil {
		return true
	}
	c.problems = a.convergeLocked(ctx, c)
	c.doing(agentapi.Operation{}) // nothing any more
	a.mu.Lock()
	a.mu.now = nil
	a.mu.Unlock()
	close(c.ended)
	return ctx.Err() == nil
}

// convergeLocked makes the node what its spec says and returns what hindered
// it. The caller has the turn. Whatever happens, an engine that runs is left
// alone, and none is started before everything is in place, but for a side disk that
// was there before.
func (a *Agent) convergeLocked(ctx context.Context, c *convergence) []agentapi.Problem {
	a.mu.Lock()
	spec, stores, reload := a.mu.spec, a.mu.stores, a.mu.reload
	a.mu.Unlock()
	if store, _ := a.unmounted(spec); store { // systemd has stopped the engine with the mount, and does not start it with it
		a.sup.SetReady(false)
	}
	problems := a.partsLocked(ctx, c, spec, stores)
	whole := len(problems) == 0
	told := false
	if whole && reload {
		var err error
		if told, err = a.reload(ctx, spec); err != nil {
			c.beside = append(c.beside, problem("the engine was not told to reload", err, "The agent goes on trying; a restart does it, too."))
			told = false
		}
	}
	a.mu.Lock()
	a.endedLocked(c, !whole || c.again || reload && !told)
	for _, p := range c.beside {
		p.Beside = true
		problems = append(problems, p)
	}
	a.mu.problems = since(a.mu.problems, problems)
	problems = slices.Clone(a.mu.problems)
	changed := whole && (a.mu.changed || a.opts.Systemd && c.asked)
	a.mu.changed = a.mu.changed && !whole
	a.mu.reload = a.mu.reload && !told // what was sent has to be in place before it is taken over
	a.mu.Unlock()
	for _, p := range problems {
		if !p.At.Before(c.since) { // one that persists was logged when it began
			a.log.Error(p.What, "why", p.Why)
		}
	}
	a.sup.SetReady(whole || c.sideAlone)
	if changed {
		a.sup.Retry()
	}
	return problems
}

// partsLocked does the parts of a node in their order, each only where those before it
// are in place.
func (a *Agent) partsLocked(ctx context.Context, c *convergence, spec *agentapi.Spec, stores storesRecord) []agentapi.Problem {
	if problems := a.provisionLocked(ctx, c, spec); len(problems) > 0 {
		return problems
	}
	if problems := a.userLocked(ctx); len(problems) > 0 {
		return problems
	}
	at, err := a.place()
	if err == nil && a.opts.Systemd && at.uid < 0 {
		err = errors.New("there is no user " + units.DefaultUser + ", or no group of that name, in /etc/passwd and /etc/group, where a service of the machine's own has them")
	}
	if err != nil {
		return []agentapi.Problem{problem("the engine's user is not there", err, "The agent goes on trying.")}
	}
	mounts, problems := a.disksLocked(ctx, c, spec, stores, at)
	if len(problems) > 0 {
		return problems
	}
	ids, problems := a.directoriesLocked(spec, stores, at)
	if len(problems) > 0 {
		c.sideAlone = len(stores.Stores) > 0 && !slices.Contains(ids[:len(spec.Stores)], "")
		return problems
	}
	for _, o := range a.pendingCertificates(spec) {
		c.doing(o)
	}
	if problems = a.certificatesLocked(ctx, spec); len(problems) > 0 {
		return problems
	}
	a.ratesLocked(ctx, c, spec)
	next := storesRecord{Format: format, SideMounts: stores.SideMounts}.withSides(mayArm(stores.Sides, spec), spec)
	for i, st := range spec.Stores {
		next.Stores = append(next.Stores, storeRecord{st.Path, ids[i]})
	}
	if err := a.install(spec, next); err != nil {
		return []agentapi.Problem{problem("the engine's configuration is not in place", err, "The agent goes on trying.")}
	}
	return a.servicesLocked(ctx, c, spec, mounts)
}

// directoriesLocked makes the directories of the stores and the side, all at once: a
// disk that hangs does not keep the others back. ids are those of the stores, in their
// order, "" where one has a problem.
func (a *Agent) directoriesLocked(spec *agentapi.Spec, stores storesRecord, at place) (ids []string, problems []agentapi.Problem) {
	ws := wants(spec, stores)
	ids, errs := make([]string, len(ws)), make([]error, len(ws))
	var wg sync.WaitGroup
	for i, w := range ws {
		w.Owner = at.owner()
		wg.Go(func() {
			made := make(chan string, 1) // a late answer is not raced with
			errs[i] = a.disks.Do(w.Path, diskBound, func() error {
				id, err := layout.Apply(w)
				made <- id
				return err
			})
			if errs[i] == nil {
				ids[i] = <-made
			}
		})
	}
	wg.Wait()
	for i, w := range ws {
		if errs[i] != nil {
			problems = append(problems, problem("the directory "+w.Path+" is not ready", errs[i], "The agent goes on trying."))
		}
	}
	return ids, problems
}
