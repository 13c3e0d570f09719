// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package rotation

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
)

// Agent is what is needed of a node's agent; *agentapi.Client is one. An agent that does
// not answer says agentapi.ErrUnreachable.
type Agent interface {
	PKI(ctx context.Context) (agentapi.PKI, error)
	MakeCA(ctx context.Context, ca agentapi.NewCA) (agentapi.PKI, error)
	ExportPKI(ctx context.Context, to ...string) (agentapi.PKIBundle, error)
	ImportPKI(ctx context.Context, b agentapi.PKIBundle) (agentapi.PKI, error)
	IssueCertificate(ctx context.Context) (agentapi.PKI, error)
	ForgetCAs(ctx context.Context) (agentapi.PKI, error)
}

// How long an engine is waited for, and the time between two questions: more each time, as a
// question may be a command on a machine far away. It is told at once of new files, and looks every
// ten seconds by itself.
const (
	awaitBound = 40 * time.Second
	awaitFirst = 200 * time.Millisecond
	awaitMost  = 2 * time.Second
)

// Run brings the nodes to want, one step at a time; step, which may be nil, is told of
// each once it is done, as the Step that is the format's one argument. nodes are all servers of the cluster. Called again after an
// error or an end at any point, it goes on.
func Run(ctx context.Context, nodes map[string]Agent, want Want, step func(format string, args ...any)) error {
	var last Step
	touched := map[string]bool{}
	for {
		said, silent, err := Ask(ctx, nodes)
		if err != nil {
			return err
		}
		want.Silent = silent
		steps, err := Plan(said, want)
		if len(steps) == 0 && err == nil {
			return awaitAll(ctx, nodes, touched)
		}
		if len(steps) == 0 {
			return err
		}
		s := steps[0]
		if s == last {
			return fmt.Errorf("%v: the agent did it, and does not show it", s)
		}
		if err := take(ctx, nodes, said, want, s); err != nil {
			return fmt.Errorf("%v: %w", s, err)
		}
		if step != nil {
			step("%v", s)
		}
		last, touched[s.Node] = s, true
	}
}

// awaitAll waits for the engines of nodes that something was done on.
func awaitAll(ctx context.Context, nodes map[string]Agent, touched map[string]bool) error {
	for _, n := range slices.Sorted(maps.Keys(touched)) {
		if err := await(ctx, nodes[n]); err != nil {
			return fmt.Errorf("%v: %w", Step{Do: Await, Node: n}, err)
		}
	}
	return nil
}

// Ask returns what each node says, and the names of those that do not answer, sorted.
func Ask(ctx context.Context, nodes map[string]Agent) (said map[string]agentapi.PKI, silent []string, err error) {
	names := slices.Sorted(maps.Keys(nodes))
	answers, errs := make([]agentapi.PKI, len(names)), make([]error, len(names))
	var wg sync.WaitGroup
	for i, n := range names {
		wg.Go(func() { answers[i], errs[i] = nodes[n].PKI(ctx) })
	}
	wg.Wait()
	if ctx.Err() != nil {
		return nil, nil, ctx.Err()
	}
	said = map[string]agentapi.PKI{}
	for i, n := range names {
		switch {
		case errors.Is(errs[i], agentapi.ErrUnreachable):
			silent = append(silent, n)
		case errs[i] != nil:
			err = errors.Join(err, fmt.Errorf("%s: %w", n, errs[i]))
		default:
			said[n] = answers[i]
		}
	}
	if len(said) == 0 && err == nil && len(silent) > 0 {
		err = fmt.Errorf("%w: %s: %w", ErrSilent, strings.Join(silent, ", "), errors.Join(errs...))
	}
	return said, silent, err
}

func take(ctx context.Context, nodes map[string]Agent, said map[string]agentapi.PKI, want Want, s Step) error {
	n := nodes[s.Node]
	var err error
	switch s.Do {
	case Make:
		_, err = n.MakeCA(ctx, agentapi.NewCA{Cluster: want.Cluster, Node: s.Node, Rotation: s.Rotation})
	case Import:
		var b agentapi.PKIBundle
		if b, err = nodes[s.From].ExportPKI(ctx, said[s.Node].Recipient); err != nil {
			return fmt.Errorf("%s does not hand it over: %w", s.From, err)
		}
		b.Node = s.Node
		_, err = n.ImportPKI(ctx, b)
	case Await:
		err = await(ctx, n)
	case Issue:
		_, err = n.IssueCertificate(ctx)
	case Forget:
		_, err = n.ForgetCAs(ctx)
	}
	return err
}

// await waits until the node's engine uses what the node holds.
func await(ctx context.Context, n Agent) error {
	bounded, cancel := context.WithTimeout(ctx, awaitBound)
	defer cancel()
	next := awaitFirst
	behind := "it was not asked"
	for {
		p, err := n.PKI(bounded)
		switch {
		case err == nil && p.Behind == "":
			return nil
		case err == nil:
			behind = p.Behind
		case bounded.Err() == nil:
			return err
		}
		select {
		case <-time.After(next):
			next = min(2*next, awaitMost)
		case <-bounded.Done():
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("after %v: %s. Nothing is done that could cut it off; look at the engine, then go on", awaitBound, behind)
		}
	}
}
