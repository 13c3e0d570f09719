// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/diags"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/env"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/observe"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform/gce"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/resources/steps"
)

// ImportState implements resource.ResourceWithImportState: all of the state comes
// from the platform, the agents' specs and the engines' settings.
func (r *Resource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	id := req.ID
	if projectClusterRE.MatchString(id) {
		id = "gce:" + id
	}
	if id == "" && req.Identity != nil {
		resp.Diagnostics.Append(req.Identity.GetAttribute(ctx, path.Root("location"), &id)...)
	}
	where, err := env.ParseLocation(id)
	if err != nil {
		resp.Diagnostics.AddError("The cluster cannot be imported", err.Error())
		return
	}
	var f *found
	p, err := r.env.Open(where)
	if err == nil {
		f, err = find(ctx, p, where)
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
	set("location", where.String())
	switch {
	case where.Project != "":
		set("gce", f.gce)
	case where.Machines != nil:
		set("ssh", f.ssh)
	default:
		set("local", localObject{Directory: where.Directory})
	}
	set("nodes", f.nodes)
	set("ports", portsObject{Server: int64(d.ports.Server), HTTP: int64(d.ports.HTTP), HTTPS: new(int64(cmp.Or(d.ports.HTTPS, 8501)))})
	if t := d.tls; t != nil && (len(t.Hosts) > 0 || t.Rotation != "" || d.caRotation != "") {
		set("tls", tlsObject{Hosts: t.Hosts, CertificateRotation: own(t.Rotation, ""), CARotation: own(d.caRotation, "")})
	}
	if len(d.provision) > 0 {
		var done []steps.OnNode
		for _, s := range d.provision {
			done = append(done, steps.Of(s))
		}
		set("provision", done)
	}
	var stores []storeObject
	for i, s := range d.stores {
		stores = append(stores, storeObject{Disk: f.disk(i), FileSystem: s.fileSystem, Attrs: s.attrs})
	}
	set("stores", stores)
	set("side_disk", f.side())
	set("raft_logstore", logStoreOf(f.log))
	set("wal_failover", modeObject{Mode: d.mode})
	set("log", logObjectOf(d.engineLog))
	set("server", serverObject(d.rules))
	set("deletion_protection", f.cloud == nil || f.cloud.DeletionProtection) // machines on Compute Engine say it
	set("effective", types.MapValueMust(effectiveType.ElemType, nil))
	set("pending", []string{})
	set("endpoints", map[string]string{})
	set("ready_nodes", []string{})
	if len(d.settings) > 0 {
		set("settings", d.settings)
	}
	setIdentity(ctx, resp.Identity, where, &resp.Diagnostics)
}

// found is a cluster that nobody described: what configuration would mean it.
type found struct {
	id string
	desired
	log   agentapi.RaftLogStore // what most nodes have
	nodes map[string]nodeObject // with what differs from it
	ssh   sshObject
	gce   gceObject
}

// find describes the cluster of a platform. One agent with a spec has to answer.
func find(ctx context.Context, p platform.Platform, where env.Location) (*found, error) {
	name, id, ok, err := p.Adopt(ctx)
	switch {
	case err != nil:
		return nil, err
	case !ok:
		return nil, diags.Problem{What: "There is no cluster to import", Why: where.String() + " holds none", Next: "Name the place of a cluster: " + env.LocationForm + "."}
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
	if p := f.forgotten(where); p != nil {
		return nil, *p
	}
	if at, ok := p.(*gce.Platform); ok {
		if err := f.onCloud(ctx, at, where); err != nil {
			return nil, err
		}
	}
	f.at(where)
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
			Next: "Start an agent of the cluster, or apply a configuration of the same name in the same place: it takes the cluster over."}
	}
	f.ports, f.mode, f.engineLog, f.rules = spec.Ports, spec.WALFailover.Mode, spec.Log, spec.ServerRules
	f.tls, f.provision = spec.TLS, spec.Provision
	if pki := nodes[spec.Node].Status.PKI; pki != nil {
		f.caRotation, _, _ = strings.Cut(pki.CARotation, "+") // what follows was not asked for: rotation.Continue
	}
	f.log = mostCommon(logs)
	for _, s := range spec.Servers {
		log, known := logs[s.Name]
		if !known {
			log = f.log
		}
		node := desiredNode{voter: s.Voter, log: log, disks: make([]platform.Device, len(spec.Stores))}
		object := nodeObject{Voter: s.Voter, RaftLogStore: overlayOf(log, f.log)}
		if own := nodes[s.Name].Status.Spec; own != nil {
			for i, st := range own.Stores[:min(len(own.Stores), len(node.disks))] {
				node.disks[i] = deviceIn(st.Disk)
			}
			if own.SideDisk != nil {
				node.side = deviceIn(own.SideDisk.Disk)
			}
		}
		object.SideDisk = deviceOf(node.side.Match, node.side.Wipe)
		for i, d := range node.disks {
			o := deviceOf(d.Match, d.Wipe)
			if o == nil {
				continue
			}
			for len(object.Stores) < i { // those before it say nothing
				object.Stores = append(object.Stores, deviceObject{})
			}
			object.Stores = append(object.Stores, *o)
		}
		f.desired.nodes[s.Name], f.nodes[s.Name] = node, object
	}
	m := machines[spec.Node]
	f.sideGB = m.SideDisk.SizeBytes / gib
	if side := spec.SideDisk; side != nil && side.Disk != nil {
		f.sideGB = side.Disk.MinSizeBytes / gib
	}
	f.sideGB = max(f.sideGB, minSideGB)
	for i, st := range spec.Stores {
		s := desiredStore{fileSystem: filesystemExt4, attrs: st.Attrs}
		if i < len(m.Stores) {
			s.sizeGB = m.Stores[i].SizeBytes / gib
			s.fileSystem = cmp.Or(m.Stores[i].FileSystem, s.fileSystem)
		}
		if st.Disk != nil { // on a machine that was found, what was asked for is in the spec
			s.sizeGB, s.fileSystem = st.Disk.MinSizeBytes/gib, st.Disk.FileSystem
		}
		f.stores = append(f.stores, s)
	}
	return f, nil
}

// deviceIn is the device that a spec's disk is found by.
func deviceIn(d *agentapi.Disk) platform.Device {
	if d == nil {
		return platform.Device{}
	}
	return platform.Device{Match: d.Match, Wipe: d.Wipe}
}

// forgotten refuses a place that does not name the machine of every server: what a state does
// not have, no plan can add to it.
func (f *found) forgotten(where env.Location) *diags.Problem {
	var names []string
	for name := range f.nodes {
		if _, ok := where.Machines[name]; !ok && where.Machines != nil {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	slices.Sort(names)
	return &diags.Problem{What: "The place names only a part of the cluster",
		Why:  fmt.Sprintf("%s is a server of the cluster, and %s does not say where it is", strings.Join(names, ", "), where),
		Next: "Name the machines of all servers, one that does not answer too: " + env.LocationForm + "."}
}

// at puts what was found in a place: what most machines have in common is ssh, the rest
// is the nodes' own.
func (f *found) at(where env.Location) {
	f.location = where
	if where.Machines == nil {
		return
	}
	users, ports := map[string]string{}, map[string]int{}
	for name, m := range where.Machines {
		users[name], ports[name] = m.User, m.Port
	}
	user, port := mostCommon(users), mostCommon(ports)
	f.ssh = sshObject{User: &user, Port: int64(port)}
	for name, m := range where.Machines {
		n, ok := f.nodes[name]
		if !ok {
			continue // a machine that is no node: a plan says so
		}
		n.Address, n.ClusterAddress = &m.Address, own(m.Cluster(), m.Address)
		n.User, n.Port, n.HostKeys = own(m.User, user), own(int64(m.Port), int64(port)), m.HostKeys
		f.nodes[name] = n
	}
}

// mostCommon is what most nodes have, of equals the first by name.
func mostCommon[T comparable](of map[string]T) T {
	var best T
	most := 0
	for _, name := range slices.Sorted(maps.Keys(of)) {
		n := 0
		for _, v := range of {
			if v == of[name] {
				n++
			}
		}
		if n > most {
			best, most = of[name], n
		}
	}
	return best
}
