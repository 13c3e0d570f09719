// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cluster

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/rollout"
)

// spare waits until the cluster can do without a node, whose machine is about to be stopped. First it makes
// nodes again of the others, where their machines are new: of machines that are replaced, each has to be back
// before the next goes.
func (w *work) spare(ctx context.Context, node string, machines map[string]platform.Machine) error {
	others := slices.DeleteFunc(w.want.names(), func(n string) bool { return n == node })
	if !slices.ContainsFunc(others, func(n string) bool { return w.want.nodes[n].voter }) {
		return nil // it alone is the cluster
	}
	w.step("node %s: its machine will be stopped; the others have to serve without it", node)
	each := func(do func(name string) error) error {
		errs := make([]error, len(others))
		var wg sync.WaitGroup
		for i, name := range others {
			wg.Go(func() { errs[i] = do(name) })
		}
		wg.Wait()
		return errors.Join(errs...)
	}
	err := each(func(name string) error { return w.atRest(ctx, name, w.platform.Node(name).Agent()) })
	if err == nil {
		err = w.certify(ctx)
	}
	if err == nil {
		err = each(func(name string) error {
			if !w.isNew(ctx, name) {
				return nil // what else is configured anew comes later
			}
			return w.putSpec(ctx, name, machines)
		})
	}
	if err == nil {
		err = each(func(name string) error { return w.atRest(ctx, name, w.platform.Node(name).Agent()) })
	}
	if err != nil {
		return err
	}
	return rollout.Spare(ctx, w, node, rollout.Options{Every: w.every(), GateTimeout: w.gateTimeout()})
}

// isNew tells whether a node's agent has no spec yet.
func (w *work) isNew(ctx context.Context, name string) bool {
	var spec *agentapi.Spec
	err := w.reach(ctx, func() error {
		st, err := w.platform.Node(name).Agent().Status(ctx)
		spec = st.Spec
		return err
	})
	return err == nil && spec == nil
}
