// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/store"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/atomicfile"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/config"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/layout"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/logs"
)

// PutSpec implements agentapi.Backend.
func (a *Agent) PutSpec(_ context.Context, spec *agentapi.Spec, dryRun bool) (agentapi.SpecResult, error) {
	spec = spec.WithDefaults()
	if err := spec.Validate(); err != nil {
		return agentapi.SpecResult{}, err
	}
	a.apply.Lock()
	defer a.apply.Unlock()
	a.mu.Lock()
	current, stores := a.mu.spec, a.mu.stores
	a.mu.Unlock()
	if err := compatible(current, spec, stores); err != nil {
		return agentapi.SpecResult{}, err
	}
	// A directory that is somebody else's refuses the spec; a disk that does
	// not answer does not: that is a problem of the node, not of the spec.
	for _, w := range wants(spec, stores) {
		err := a.disks.Do(w.Path, diskBound, func() error { return check(w) })
		if e, ok := errors.AsType[*agentapi.Error](err); ok {
			return agentapi.SpecResult{}, e
		}
	}
	res := agentapi.SpecResult{DryRun: dryRun, Changes: agentapi.Diff(current, spec)}
	if dryRun {
		return res, nil
	}
	if len(res.Changes) > 0 {
		if err := atomicfile.WriteJSON(filepath.Join(a.opts.Dir, specFile), specRecord{format, spec}); err != nil {
			return agentapi.SpecResult{}, fmt.Errorf("keep the spec: %w", err)
		}
		a.log.Info("new spec", "changes", attributes(res.Changes))
	}
	a.mu.Lock()
	a.mu.spec = spec
	a.mu.Unlock()
	res.Problems = a.convergeLocked()
	if len(res.Changes) > 0 {
		a.sup.Retry()
	}
	if reloads(current, res.Changes) {
		if err := a.sup.Hangup(); err != nil {
			res.Problems = append(res.Problems, problem("the engine was not told to reload", err, "Restart it."))
		}
	}
	return res, nil
}

// reloads reports whether a running engine has something to take over.
func reloads(current *agentapi.Spec, changes []agentapi.Change) bool {
	return current != nil && slices.ContainsFunc(changes, func(c agentapi.Change) bool { return !c.Restart })
}

func attributes(changes []agentapi.Change) string {
	var names []string
	for _, c := range changes {
		names = append(names, c.Attribute)
	}
	return strings.Join(names, ", ")
}

func check(w layout.Want) error {
	f, err := layout.Look(w)
	if err != nil {
		return err
	}
	_, err = layout.Decide(w, f)
	return err
}

// compatible refuses a spec that would make this node another one, or would
// move a store away from its log.
func compatible(current, spec *agentapi.Spec, stores storesRecord) error {
	const what = "the node spec is refused"
	if current != nil {
		for _, f := range []struct{ field, is, want string }{
			{"cluster.id", current.Cluster.ID, spec.Cluster.ID},
			{"cluster.name", current.Cluster.Name, spec.Cluster.Name},
			{"node", current.Node, spec.Node},
		} {
			if f.is != f.want {
				return &agentapi.Error{What: what, Why: fmt.Sprintf("%s = %q: this node has %q", f.field, f.want, f.is),
					Next: "Send it to the node that it is for. A node never changes its cluster or its name.", Field: f.field}
			}
		}
	}
	for i, rec := range stores.Stores {
		if i < len(spec.Stores) && spec.Stores[i].Path == rec.Path {
			continue
		}
		got := ""
		if i < len(spec.Stores) {
			got = spec.Stores[i].Path
		}
		field := fmt.Sprintf("stores.%d.path", i)
		return &agentapi.Error{What: what, Why: fmt.Sprintf("%s = %q: the store with the id %s is at %s", field, got, rec.ID, rec.Path),
			Next: "Keep the stores that there are, in their order, and add new ones behind them; moving and removing stores is not built yet.", Field: field}
	}
	return nil
}

// wants lists the directories of a spec.
func wants(spec *agentapi.Spec, stores storesRecord) []layout.Want {
	var ws []layout.Want
	for i, st := range spec.Stores {
		ws = append(ws, layout.Want{
			Field: fmt.Sprintf("stores.%d", i), Path: st.Path, Device: st.Device,
			Store: &store.Identity{
				Cluster: spec.Cluster.Name, ClusterID: spec.Cluster.ID,
				Node: spec.Node, NodeID: config.NodeID(spec.Cluster.ID, spec.Node), StoreID: stores.id(st.Path),
			},
		})
	}
	if spec.SideDisk != nil {
		ws = append(ws, layout.Want{Field: "side_disk", Path: spec.SideDisk.Path, Device: spec.SideDisk.Device})
	}
	return ws
}

// keepConverging tries again while something keeps the node from its spec, and
// forgets sides that an engine has drained.
func (a *Agent) keepConverging(ctx context.Context) {
	for {
		a.apply.Lock()
		a.mu.Lock()
		due := a.mu.spec != nil && (len(a.mu.problems) > 0 || !a.sup.State().Ready)
		a.mu.Unlock()
		if due {
			a.convergeLocked()
		}
		a.apply.Unlock()
		a.forgetSides(ctx)
		select {
		case <-ctx.Done():
			return
		case <-time.After(againAfter):
		}
	}
}

// convergeLocked makes the node what its spec says and returns what hindered
// it. The caller holds apply. Whatever happens, an engine that runs is left
// alone, and none is started before everything is in place.
func (a *Agent) convergeLocked() []agentapi.Problem {
	a.mu.Lock()
	spec, stores := a.mu.spec, a.mu.stores
	a.mu.Unlock()
	var problems []agentapi.Problem
	ws := wants(spec, stores)
	ids, errs := make([]string, len(ws)), make([]error, len(ws))
	var wg sync.WaitGroup
	for i, w := range ws {
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
	if len(problems) == 0 {
		next := storesRecord{Format: format, Sides: mayArm(stores.Sides, spec)}
		for i, st := range spec.Stores {
			next.Stores = append(next.Stores, storeRecord{st.Path, ids[i]})
		}
		if err := a.install(spec, next); err != nil {
			problems = append(problems, problem("the engine's configuration is not in place", err, "The agent goes on trying."))
		}
	}
	a.mu.Lock()
	a.mu.problems = since(a.mu.problems, problems)
	problems = slices.Clone(a.mu.problems)
	a.mu.Unlock()
	for _, p := range problems {
		a.log.Error(p.What, "why", p.Why)
	}
	a.sup.SetReady(len(problems) == 0)
	return problems
}

// install puts the records and the engine's configuration in place: the ids, and
// the sides that logs may be armed on, before the configuration that an engine
// starts from.
func (a *Agent) install(spec *agentapi.Spec, stores storesRecord) error {
	if err := atomicfile.WriteJSON(filepath.Join(a.opts.Dir, storesFile), stores); err != nil {
		return err
	}
	file := config.FromSpec(withPrevious(spec, stores.Sides), stores.ids())
	c, err := file.Config()
	if err != nil {
		return err
	}
	if file.LogConfigFile, err = a.installLogs(spec.Log.Buffering); err != nil {
		return err
	}
	if err := atomicfile.WriteJSON(filepath.Join(a.opts.Dir, engineFile), file); err != nil {
		return err
	}
	a.mu.Lock()
	a.mu.stores, a.mu.written, a.mu.hash = stores, spec, c.Hash()
	a.mu.Unlock()
	return nil
}

// installLogs writes logs.yaml where the spec has something to say in it, and returns
// its path. One of before is left where it is: an engine that runs may read it yet.
func (a *Agent) installLogs(b *agentapi.Buffering) (string, error) {
	if b == nil {
		return "", nil
	}
	text, err := logs.FromSpec(b, filepath.Join(a.opts.Dir, logsDir))
	if err != nil {
		return "", err
	}
	path := filepath.Join(a.opts.Dir, logsFile)
	return path, vfs.WriteFileAtomic(vfs.OS{}, path, text)
}

// problem makes of an error what a person reads.
func problem(what string, err error, next string) agentapi.Problem {
	if e, ok := errors.AsType[*agentapi.Error](err); ok {
		return agentapi.Problem{What: e.What, Why: e.Why, Next: e.Next, At: time.Now()}
	}
	return agentapi.Problem{What: what, Why: err.Error(), Next: next, At: time.Now()}
}

// since keeps the time at which a problem that persists began.
func since(old, problems []agentapi.Problem) []agentapi.Problem {
	for i, p := range problems {
		for _, o := range old {
			if o.What == p.What && o.Why == p.Why {
				problems[i].At = o.At
			}
		}
	}
	return problems
}
