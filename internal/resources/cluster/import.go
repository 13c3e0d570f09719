// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/diags"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/observe"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
)

const localPrefix = "local:"

// location is the id that a cluster is imported by.
func location(directory string) string { return localPrefix + directory }

// parseLocation is the opposite; the directory is made absolute.
func parseLocation(id string) (string, error) {
	directory, ok := strings.CutPrefix(id, localPrefix)
	if !ok || directory == "" {
		return "", fmt.Errorf("%q is not the location of a cluster: write local:DIRECTORY, local:/srv/holdfast for example", id)
	}
	return filepath.Abs(directory)
}

// ImportState implements resource.ResourceWithImportState: all of the state comes
// from the platform, the agents' specs and the engines' settings.
func (r *Resource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	id := req.ID
	if id == "" && req.Identity != nil {
		resp.Diagnostics.Append(req.Identity.GetAttribute(ctx, path.Root("location"), &id)...)
	}
	directory, err := parseLocation(id)
	if err != nil {
		resp.Diagnostics.AddError("The cluster cannot be imported", err.Error())
		return
	}
	var f *found
	p, err := r.env.Local(directory)
	if err == nil {
		f, err = find(ctx, p, directory)
	}
	if err != nil {
		resp.Diagnostics.Append(diags.FromError("The cluster cannot be imported", err, "Nothing was changed.").Diagnostic())
		return
	}
	set := func(name string, v any) {
		resp.Diagnostics.Append(resp.State.SetAttribute(ctx, path.Root(name), v)...)
	}
	d := f.desired
	set("id", f.id)
	set("name", d.name)
	set("local", localObject{Directory: directory})
	set("nodes", f.nodes)
	set("ports", portsObject{Server: int64(d.ports.Server), HTTP: int64(d.ports.HTTP)})
	var stores []storeObject
	for _, s := range d.stores {
		stores = append(stores, storeObject{Disk: diskObject{SizeGB: s.sizeGB}, FileSystem: s.fileSystem, Attrs: s.attrs})
	}
	set("stores", stores)
	set("side_disk", diskObject{SizeGB: d.sideGB})
	set("raft_logstore", logStoreOf(f.log))
	set("wal_failover", modeObject{Mode: d.mode})
	set("log", logObjectOf(d.engineLog))
	set("server", serverObject(d.rules))
	set("deletion_protection", true)
	set("effective", types.MapValueMust(effectiveType.ElemType, nil))
	set("endpoints", map[string]string{})
	set("ready_nodes", []string{})
	if len(d.settings) > 0 {
		set("settings", d.settings)
	}
	setIdentity(ctx, resp.Identity, directory, &resp.Diagnostics)
}

// found is a cluster that nobody described: what configuration would mean it.
type found struct {
	id string
	desired
	log   agentapi.RaftLogStore // what most nodes have
	nodes map[string]nodeObject // with what differs from it
}

// find describes the cluster of a platform. One agent with a spec has to answer.
func find(ctx context.Context, p platform.Platform, directory string) (*found, error) {
	name, id, ok, err := p.Adopt(ctx)
	switch {
	case err != nil:
		return nil, err
	case !ok:
		return nil, diags.Problem{What: "There is no cluster to import", Why: directory + " holds none", Next: "Name the directory of a cluster: local:DIRECTORY."}
	}
	machines, err := p.Observe(ctx)
	if err != nil {
		return nil, err
	}
	nodes := observe.Agents(ctx, p, slices.Sorted(maps.Keys(machines)))
	f, err := describe(name, id, machines, nodes)
	if err != nil {
		return nil, err
	}
	f.directory = directory
	if f.settings, err = nodes.Settings(ctx, p); err != nil && !errors.Is(err, observe.ErrNoEngine) {
		return nil, err
	}
	return f, nil
}

// describe is find without its questions.
func describe(name, id string, machines map[string]platform.Machine, nodes observe.Nodes) (*found, error) {
	f := &found{id: id, desired: desired{name: name, nodes: map[string]desiredNode{}}, nodes: map[string]nodeObject{}}
	var spec *agentapi.Spec
	var errs []error
	logs := map[string]agentapi.RaftLogStore{}
	for _, n := range nodes.Names() {
		st := nodes[n].Status
		switch {
		case !nodes[n].Reachable():
			errs = append(errs, fmt.Errorf("node %s: %w", n, nodes[n].Err))
		case st.Spec == nil:
			errs = append(errs, fmt.Errorf("node %s: its agent has no spec", n))
		default:
			logs[n] = st.Spec.RaftLogStore
			spec = cmp.Or(spec, st.Spec)
		}
	}
	if spec == nil {
		return nil, diags.Problem{What: "The cluster cannot be imported", Why: "no agent told what its node should be: " + errors.Join(errs...).Error(),
			Next: "Start an agent of the cluster, or apply a configuration of the same name and directory: it takes the cluster over."}
	}
	f.ports, f.mode, f.engineLog, f.rules = spec.Ports, spec.WALFailover.Mode, spec.Log, spec.ServerRules
	f.log = mostCommon(logs)
	for _, s := range spec.Servers {
		log, known := logs[s.Name]
		if !known {
			log = f.log
		}
		f.desired.nodes[s.Name] = desiredNode{voter: s.Voter, log: log}
		f.nodes[s.Name] = nodeObject{Voter: s.Voter, RaftLogStore: overlayOf(log, f.log)}
	}
	m := machines[spec.Node]
	f.sideGB = max(m.SideDisk.SizeBytes/gib, minSideGB)
	for i, st := range spec.Stores {
		s := desiredStore{fileSystem: filesystemExt4, attrs: st.Attrs}
		if i < len(m.Stores) {
			s.sizeGB = m.Stores[i].SizeBytes / gib
			s.fileSystem = cmp.Or(m.Stores[i].FileSystem, s.fileSystem)
		}
		f.stores = append(f.stores, s)
	}
	return f, nil
}

// mostCommon is the log store that most nodes have, of equals the first by name.
func mostCommon(logs map[string]agentapi.RaftLogStore) agentapi.RaftLogStore {
	var best agentapi.RaftLogStore
	most := 0
	for _, name := range slices.Sorted(maps.Keys(logs)) {
		n := 0
		for _, l := range logs {
			if l == logs[name] {
				n++
			}
		}
		if n > most {
			best, most = logs[name], n
		}
	}
	return best
}
