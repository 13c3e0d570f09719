// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package agent

import (
	"context"
	"path/filepath"
	"slices"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/api"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/status"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/units"
)

// A log that is armed on a side may have acknowledged writes there that are
// nowhere else, until the next engine drains it. Nobody is asked for the
// previous side: the agent records each one before an engine may be started that
// arms it, names it as prev_path to every engine whose configuration has another,
// and forgets it once such an engine has started, which it does not do before
// its logs are drained.
//
//	spec in force     record      engine.json
//	path=/side        /side       path=/side
//	disabled          /side       disabled,prev_path=/side
//	  … an engine has started with it
//	disabled                      disabled
//
// The stores of a node that fail over among themselves need no record: they are
// in every configuration, and an engine looks for its logs on all of them.

// mayArm adds the side that an engine of the spec arms to those on record.
func mayArm(recorded []string, spec *agentapi.Spec) []string {
	sides := slices.Clone(recorded)
	for _, dir := range ownSides(spec) {
		if !slices.Contains(sides, dir) {
			sides = append(sides, dir)
		}
	}
	return sides
}

// withSides is the record with other sides, and what is known of where they lie.
func (r storesRecord) withSides(sides []string, spec *agentapi.Spec) storesRecord {
	mounts := map[string]string{}
	for _, dir := range sides {
		switch side := spec.SideDisk; {
		case side != nil && side.Path == dir && side.Disk != nil:
			mounts[dir] = side.Disk.Mount
		case side != nil && side.Path == dir:
		case r.SideMounts[dir] != "":
			mounts[dir] = r.SideMounts[dir]
		}
	}
	r.Sides, r.SideMounts = sides, mounts
	return r
}

// previous are the recorded sides that a spec does not use any more. Until an engine has
// drained them, their mounts stay, and an engine may write there.
func (r storesRecord) previous(spec *agentapi.Spec) []units.Previous {
	var all []units.Previous
	for _, dir := range r.Sides {
		if !slices.Contains(spec.Sides(), dir) {
			all = append(all, units.Previous{Path: dir, Mount: r.SideMounts[dir]})
		}
	}
	return all
}

// ownSides are the sides of a spec that are no stores.
func ownSides(spec *agentapi.Spec) []string {
	if spec.WALFailover.Mode == agentapi.AmongStoresMode {
		return nil
	}
	return spec.Sides()
}

// withPrevious is the spec with the recorded sides that it does not use itself
// among its previous ones.
func withPrevious(spec *agentapi.Spec, recorded []string) *agentapi.Spec {
	s := *spec
	s.WALFailover.PrevPaths = nil
	for _, dir := range slices.Concat(spec.WALFailover.PrevPaths, recorded) {
		if !slices.Contains(spec.Sides(), dir) && !slices.Contains(s.WALFailover.PrevPaths, dir) {
			s.WALFailover.PrevPaths = append(s.WALFailover.PrevPaths, dir)
		}
	}
	return &s
}

// drained reports whether an engine of this configuration answers and none of
// its logs is armed on a side that the spec does not use.
func drained(spec *agentapi.Spec, hash string, engine *api.NodeStores) bool {
	if engine.ConfigHash != hash || !ours(spec, engine) || len(engine.Stores) != len(spec.Stores) {
		return false
	}
	for _, s := range engine.Stores {
		for _, side := range s.Failover.Sides {
			if side.Armed && !slices.Contains(spec.Sides(), side.Path) {
				return false
			}
		}
	}
	return true
}

// forgetSides takes the sides from the record that the engine which runs has
// drained. Where it fails, the record says too much, which costs nothing, and it
// is tried again.
func (a *Agent) forgetSides(ctx context.Context) {
	give, err := a.takeTurn(ctx) // no other spec, and so no engine of another configuration, meanwhile
	if err != nil {
		return // it is tried again
	}
	defer give()
	a.mu.Lock()
	spec, written, stores, hash := a.mu.spec, a.mu.written, a.mu.stores, a.mu.hash
	a.mu.Unlock()
	if spec == nil || spec != written { // what is in force is not in place yet
		return
	}
	next := stores.withSides(ownSides(spec), spec)
	if !slices.ContainsFunc(stores.Sides, func(dir string) bool { return !slices.Contains(next.Sides, dir) }) {
		return
	}
	engine, err := status.Ask(ctx, httpAddress(spec), askBound)
	if err != nil || !drained(spec, hash, engine) {
		return
	}
	if err := a.install(spec, next); err != nil {
		a.log.Warn("what is known of earlier side directories could not be recorded", "file", filepath.Join(a.opts.Dir, storesFile), "error", err)
		return
	}
	if a.opts.Systemd { // its mount and the engine's right to write there are not needed any more
		a.converge(false)
	}
	a.log.Info("the log has left its earlier side directories", "were", stores.Sides, "are", next.Sides)
}
