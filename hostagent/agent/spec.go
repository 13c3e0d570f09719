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
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/store"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/atomicfile"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/config"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/layout"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/logs"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/units"
)

// PutSpec implements agentapi.Backend. What it does to the machine goes on after an
// answer that says so.
func (a *Agent) PutSpec(ctx context.Context, spec *agentapi.Spec, secrets agentapi.Secrets, dryRun bool) (agentapi.SpecResult, error) {
	spec = spec.WithDefaults()
	if err := spec.Validate(); err != nil {
		return agentapi.SpecResult{}, err
	}
	if err := checkSteps(spec, secrets); err != nil {
		return agentapi.SpecResult{}, err
	}
	give, err := a.takeTurn(ctx)
	if err != nil {
		return agentapi.SpecResult{}, err
	}
	res, err := a.acceptLocked(ctx, spec, secrets, dryRun)
	give()
	if err != nil || dryRun {
		return res, err
	}
	c := a.converge(true)
	answer := time.NewTimer(answerBound)
	defer answer.Stop()
	select {
	case <-c.ended:
		res.Problems, res.Operations = c.problems, c.status().Done
	case <-answer.C:
		res.Converging = true
	case <-ctx.Done():
		return res, ctx.Err()
	}
	return res, nil
}

// acceptLocked makes spec the one in force, unless it is refused. The caller has the turn.
func (a *Agent) acceptLocked(ctx context.Context, spec *agentapi.Spec, secrets agentapi.Secrets, dryRun bool) (agentapi.SpecResult, error) {
	a.mu.Lock()
	current, stores := a.mu.spec, a.mu.stores
	a.mu.Unlock()
	if err := compatible(current, spec, stores); err != nil {
		return agentapi.SpecResult{}, err
	}
	if err := a.mayHave(spec); err != nil {
		return agentapi.SpecResult{}, err
	}
	if err := a.foreign(); err != nil {
		return agentapi.SpecResult{}, err
	}
	// A directory or a disk that is somebody else's refuses the spec; a disk that does
	// not answer does not: that is a problem of the node, not of the spec.
	ops, problems, err := a.operations(ctx, spec, stores)
	if err != nil {
		return agentapi.SpecResult{}, err
	}
	for _, w := range wants(spec, stores) {
		if w.Mount != "" {
			continue // seen with the disk, whether it is mounted already or not
		}
		err := a.disks.Do(w.Path, diskBound, func() error { return check(w) })
		if e, ok := errors.AsType[*agentapi.Error](err); ok {
			return agentapi.SpecResult{}, e
		}
	}
	res := agentapi.SpecResult{DryRun: dryRun, Changes: agentapi.Diff(current, spec)}
	if dryRun {
		res.Operations, res.Problems = a.planSteps(spec, secrets)
		res.Operations, res.Problems = append(res.Operations, ops...), append(res.Problems, problems...)
		return res, nil
	}
	if len(res.Changes) > 0 {
		if err := atomicfile.WriteJSON(filepath.Join(a.opts.Dir, specFile), specRecord{format, spec}); err != nil {
			return agentapi.SpecResult{}, fmt.Errorf("keep the spec: %w", err)
		}
		a.log.Info("new spec", "changes", attributes(res.Changes))
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.mu.spec = spec
	a.mu.rates.tried = false
	a.mu.steps = provisioning{secrets: secrets, asked: true, status: a.mu.steps.status}
	if len(res.Changes) > 0 {
		a.mu.problems = nil // of another spec
		a.mu.changed = true
		a.mu.reload = a.mu.reload || reloads(current, res.Changes)
	}
	return res, nil
}

// mayHave refuses what this kind of agent cannot do.
func (a *Agent) mayHave(spec *agentapi.Spec) error {
	for _, w := range wants(spec, storesRecord{}) {
		if w.Mount != "" && !a.opts.Systemd {
			return &agentapi.Error{What: "the node spec is refused", Why: w.Field + ".disk: this agent is not the one of a whole machine, and mounts nothing",
				Next: "Leave disk out, or install the agent with `holdfast agent install`.", Field: w.Field + ".disk"}
		}
		if !a.opts.Systemd {
			continue // its stores may lie in the node's directory
		}
		for field, path := range map[string]string{w.Field + ".path": w.Path, w.Field + ".disk.mount": w.Mount} {
			for _, dir := range []string{a.opts.Dir, filepath.Dir(units.DefaultConfig)} {
				if path != "" && (within(path, dir) || within(dir, path)) {
					return &agentapi.Error{What: "the node spec is refused", Why: fmt.Sprintf("%s = %q: the agent keeps its own files in %s", field, path, dir),
						Next: "Give another directory, /srv/holdfast/data1/store for example.", Field: field}
				}
			}
		}
	}
	return nil
}

// within reports whether path is dir or lies below it. Both are clean and absolute.
func within(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
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
			if current != nil && i < len(current.Stores) && current.Stores[i].Disk != nil && spec.Stores[i].Disk == nil {
				field := fmt.Sprintf("stores.%d.disk", i)
				return &agentapi.Error{What: what, Why: fmt.Sprintf("%s is left out: the store %s lies on a disk that the agent mounts, at %s", field, rec.ID, current.Stores[i].Disk.Mount),
					Next: "Keep the disk: without its mount the engine would not start again.", Field: field}
			}
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

// sideField is the attribute of a node's side disk.
const sideField = "side_disk"

// wants lists the directories of a spec.
func wants(spec *agentapi.Spec, stores storesRecord) []layout.Want {
	var ws []layout.Want
	mount := func(d *agentapi.Disk) string {
		if d == nil {
			return ""
		}
		return d.Mount
	}
	for i, st := range spec.Stores {
		ws = append(ws, layout.Want{
			Field: fmt.Sprintf("stores.%d", i), Path: st.Path, Device: st.Device, Mount: mount(st.Disk),
			Store: &store.Identity{
				Cluster: spec.Cluster.Name, ClusterID: spec.Cluster.ID,
				Node: spec.Node, NodeID: config.NodeID(spec.Cluster.ID, spec.Node), StoreID: stores.id(st.Path),
			},
		})
	}
	if spec.SideDisk != nil {
		ws = append(ws, layout.Want{Field: sideField, Path: spec.SideDisk.Path, Device: spec.SideDisk.Device, Mount: mount(spec.SideDisk.Disk)})
	}
	return ws
}

// foreign refuses to take an engine.json for the agent's own that is not: on a whole
// machine it lies where an engine has it that somebody runs by hand.
func (a *Agent) foreign() error {
	if !a.opts.Systemd {
		return nil
	}
	a.mu.Lock()
	known := len(a.mu.stores.Stores) > 0 && len(a.mu.configs.Configs) > 0
	a.mu.Unlock()
	return place{dir: filepath.Dir(units.DefaultConfig)}.foreign(known)
}

// install puts the records and the engine's configuration in place: the ids, and
// the sides that logs may be armed on, before the configuration that an engine
// starts from.
func (a *Agent) install(spec *agentapi.Spec, stores storesRecord) error {
	at, err := a.place()
	if err != nil {
		return err
	}
	if err := a.foreign(); err != nil { // before there is a record of ours
		return err
	}
	if err := atomicfile.WriteJSON(filepath.Join(a.opts.Dir, storesFile), stores); err != nil {
		return err
	}
	file := config.FromSpec(withPrevious(spec, stores.Sides), stores.ids(), at.certs())
	c, err := file.Config()
	if err != nil {
		return err
	}
	if file.LogConfigFile, err = a.installLogs(at, spec.Log.Buffering); err != nil {
		return err
	}
	a.mu.Lock()
	configs := a.mu.configs
	a.mu.Unlock()
	if a.opts.Systemd { // before an engine may run with it
		configs = configs.with(c.Hash(), spec)
		if err := atomicfile.WriteJSON(filepath.Join(a.opts.Dir, configsFile), configs); err != nil {
			return err
		}
	}
	if err := at.writeJSON(engineFile, file); err != nil {
		return err
	}
	a.mu.Lock()
	a.mu.stores, a.mu.written, a.mu.hash, a.mu.configs = stores, spec, c.Hash(), configs
	a.mu.Unlock()
	return nil
}

// installLogs writes logs.yaml where the spec has something to say in it, and returns
// its path. One of before is left where it is: an engine that runs may read it yet. On
// a whole machine the file is one of the services, which make it and take it away.
func (a *Agent) installLogs(at place, b *agentapi.Buffering) (string, error) {
	if b == nil {
		return "", nil
	}
	path := filepath.Join(at.dir, logsFile)
	if a.opts.Systemd {
		return path, nil
	}
	text, err := logs.FromSpec(b, filepath.Join(at.dir, logsDir))
	if err != nil {
		return "", err
	}
	return path, vfs.WriteFileAtomic(vfs.OS{}, path, text)
}

// problem makes of an error what a person reads.
func problem(what string, err error, next string) agentapi.Problem {
	if e, ok := errors.AsType[*agentapi.Error](err); ok {
		return agentapi.Problem{What: e.What, Why: e.Why, Next: e.Next, At: time.Now()}
	}
	return agentapi.Problem{What: what, Why: err.Error(), Next: next, At: time.Now()}
}

// passing is a problem that the agent tries again within seconds.
func passing(p agentapi.Problem) agentapi.Problem {
	p.Passing = true
	return p
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
