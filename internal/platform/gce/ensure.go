// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package gce

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/googleapis/gax-go/v2"

	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
)

// rounds is how often the same plan may come again before that is an error: then what the API
// says it did, it did not do.
const rounds = 5

// patience is for how long rounds may find that something else is being done.
const patience = 10 * time.Minute

// ensure makes what is in the project what it should be, and returns it.
func (p *Platform) ensure(ctx context.Context, c platform.Cluster) (observed, error) {
	network, err := p.network(ctx, c)
	if err != nil {
		return observed{}, advised("the network is not known", err)
	}
	want := p.cfg.want(c, network)
	agree := func(ctx context.Context, node string) error { return p.disrupt(ctx, c, node) }
	return p.converge(ctx, c.ID, agree, func(have observed) (plan, error) { return planFor(want, have) })
}

// disrupt asks whether a node's machine may be stopped, once the others are what they should be.
func (p *Platform) disrupt(ctx context.Context, c platform.Cluster, node string) error {
	if p.cfg.Disrupt == nil {
		return nil
	}
	have, err := p.client.observe(ctx, p.cfg)
	if err != nil {
		return advised("the project cannot be looked at", err)
	}
	have = have.of(c.ID)
	c.Nodes = slices.DeleteFunc(slices.Clone(c.Nodes), func(n platform.Node) bool { return n.Name == node })
	machines, err := p.onMachines(ctx, c, have, p.told.line)
	if err != nil {
		return err
	}
	for _, i := range have.instances {
		if i.node() == node {
			machines[node] = platform.Machine{Name: node, Address: i.address}
		}
	}
	return p.cfg.Disrupt(ctx, node, machines)
}

// onMachines makes what belongs on the machines of c's nodes.
func (p *Platform) onMachines(ctx context.Context, c platform.Cluster, have observed, progress func(string)) (map[string]platform.Machine, error) {
	if len(c.Nodes) == 0 {
		return map[string]platform.Machine{}, nil
	}
	have.instances = slices.DeleteFunc(slices.Clone(have.instances), func(i instance) bool { return !named(c, i.node()) })
	keys, err := p.hostKeys(ctx, have.instances, true)
	if err != nil {
		return nil, err
	}
	way, err := p.reach(have.instances, keys)
	if err != nil {
		return nil, err
	}
	machines, err := way.Ensure(ctx, onGCE(c), progress)
	if err != nil {
		return nil, p.withSerial(ctx, err, way, have.instances)
	}
	return machines, nil
}

// converge observes, plans and acts until there is nothing left to do. agree is asked before
// each task that stops a machine.
func (p *Platform) converge(ctx context.Context, id string, agree func(ctx context.Context, node string) error, decide func(observed) (plan, error)) (observed, error) {
	give := time.Now().Add(patience)
	before, same := "", 0
	doubted := false // a refusal was looked at again
	for pause := p.client.first; ; pause = min(pause*2, 15*time.Second) {
		have, err := p.client.observe(ctx, p.cfg)
		if err != nil {
			return have, advised("the project cannot be looked at", err)
		}
		todo, err := decide(have)
		if err != nil && !doubted {
			// A look is several calls: a machine that goes between two of them still has its disks in
			// one, and is in none of the other. What cannot be done is believed of two looks.
			doubted = true
			if err := gax.Sleep(ctx, pause); err != nil {
				return have.of(id), err
			}
			continue
		}
		if err != nil || todo.empty() {
			return have.of(id), err
		}
		doubted = false
		failures := p.execute(ctx, todo, agree)
		var lasting, passing problems
		for _, err := range failures {
			if stale(err) {
				passing.add(err)
			} else {
				lasting.add(err)
			}
		}
		lines := strings.Join(todo.lines(), "\n")
		if same++; lines != before {
			before, same, pause = lines, 1, p.client.first
		}
		switch {
		case ctx.Err() != nil:
			return have.of(id), errors.Join(context.Cause(ctx), lasting.join(notAll))
		case len(lasting) > 0:
			return have.of(id), lasting.join(notAll)
		case same >= rounds && len(passing) == 0:
			return have.of(id), &platform.Error{What: notAll, Err: fmt.Errorf("it was done %d times and is still to be done: %s", same, strings.Join(todo.lines(), "; ")), Next: "See what else changes it, and apply again."}
		case same >= rounds && (time.Now().After(give) || !errors.Is(errors.Join(passing...), ErrNotReady)):
			return have.of(id), passing.join(notAll)
		case len(passing) > 0:
			if err := gax.Sleep(ctx, pause); err != nil {
				return have.of(id), err
			}
		}
	}
}

const notAll = "not all of it could be done"

// execute carries a plan out. A node that fails keeps none of the others back; but what stops machines
// does not begin when something failed, nor go on.
func (p *Platform) execute(ctx context.Context, todo plan, agree func(ctx context.Context, node string) error) problems {
	var mu sync.Mutex // guards failures
	var failures problems
	var wg sync.WaitGroup
	for _, t := range todo.parallel {
		wg.Go(func() {
			errs := p.perform(ctx, t)
			mu.Lock()
			defer mu.Unlock()
			failures = append(failures, errs...)
		})
	}
	wg.Wait()
	for _, t := range todo.serial {
		if len(failures) > 0 || ctx.Err() != nil {
			break
		}
		if err := agree(ctx, t.node); err != nil {
			failures.add(nodeError{t.node, &platform.Error{What: "its machine cannot be stopped now", Err: err, Next: "Mend that and apply again: what was made is kept."}})
			break
		}
		failures = append(failures, p.perform(ctx, t)...)
	}
	return failures
}

// perform carries the stages of a task out, until one fails.
func (p *Platform) perform(ctx context.Context, t task) problems {
	for _, stage := range t.stages {
		errs := make([]error, len(stage))
		var wg sync.WaitGroup
		for i, a := range stage {
			wg.Go(func() {
				if p.told.step("%s", a.line(t.node)); ctx.Err() == nil {
					errs[i] = p.client.act(ctx, p.cfg, a)
				} else {
					errs[i] = context.Cause(ctx)
				}
				if errs[i] != nil && t.node != "" {
					errs[i] = nodeError{t.node, advised(string(a.do)+" "+a.name, errs[i])}
				} else {
					errs[i] = advised(string(a.do)+" "+a.name, errs[i])
				}
			})
		}
		wg.Wait()
		errs = slices.DeleteFunc(errs, func(err error) bool { return err == nil })
		if len(errs) > 0 {
			return errs
		}
	}
	return nil
}

// network is the path of the network that the machines are in: as configured, or that of a subnetwork.
func (p *Platform) network(ctx context.Context, c platform.Cluster) (string, error) {
	if n := p.cfg.network(); n != "" {
		return n, nil
	}
	for _, n := range c.Nodes {
		if s := p.cfg.subnetwork(p.cfg.Nodes[n.Name]); s != "" {
			sub, err := p.client.getSubnetwork(ctx, s)
			return path(sub.GetNetwork(), p.cfg.Project), err
		}
	}
	return "", errNoNodes
}

// destroy removes all that is the cluster's. Every disk is marked before the first thing goes.
func (p *Platform) destroy(ctx context.Context, id string) error {
	if p.cfg.DeletionProtection {
		return &platform.Error{What: "the cluster is not destroyed", Err: errProtected, Next: "Set deletion_protection to false and apply, then destroy."}
	}
	begun := false
	_, err := p.converge(ctx, id, nil, func(have observed) (plan, error) {
		have = have.of(id)
		if !begun {
			if m := marks(have); !m.empty() {
				return m, nil
			}
			begun = true
		}
		return removal(have), nil
	})
	return err
}

var errProtected = errors.New("it is protected from deletion")
