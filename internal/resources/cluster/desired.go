// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cluster

import (
	"maps"
	"net"
	"slices"
	"strconv"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/env"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform/gce"
)

const (
	modeDisabled    = agentapi.DisabledMode
	modeSideDisk    = agentapi.SideDiskMode
	modeAmongStores = agentapi.AmongStoresMode
)

// gib is the unit of the configuration's sizes.
const gib = 1 << 30

// desired is what a configuration means: every default filled in, per node what
// holds for that node.
type desired struct {
	name      string
	location  env.Location
	binary    string
	ports     agentapi.Ports
	nodes     map[string]desiredNode
	stores    []desiredStore
	sideGB    int64
	mode      string
	engineLog agentapi.Log
	rules     agentapi.ServerRules
	settings  map[string]string
	// tls, where set, has every node get certificates; caRotation is the word that the
	// cluster's newest CA is asked for with.
	tls        *agentapi.TLS
	caRotation string
	provision  []agentapi.Step
	// cloud, where set, is what machines on Compute Engine are made of.
	cloud *gce.Machines
}

type desiredNode struct {
	voter bool
	log   agentapi.RaftLogStore
	// disks, in the order of stores, and side say which devices of a machine over SSH
	// they are.
	disks []platform.Device
	side  platform.Device
}

type desiredStore struct {
	sizeGB     int64
	fileSystem string
	attrs      []string
}

// on is the disk that was asked for last as it is asked for now; nil where nobody has to
// find one. device is the configuration's; nil where the platform attaches the disk and knows
// its name.
func (s desiredStore) on(last *agentapi.Disk, device *platform.Device) *agentapi.Disk {
	if last == nil {
		return nil
	}
	next := *last
	next.FileSystem, next.MinSizeBytes = s.fileSystem, s.sizeGB*gib
	if device != nil {
		next.Match, next.Wipe = device.Match, device.Wipe
	}
	return &next
}

// said is a device as the configuration says it.
func (d desired) said(device platform.Device) *platform.Device {
	if d.cloud != nil {
		return nil
	}
	return &device
}

// sideStore is the side disk in the terms of a store's.
func (d desired) sideStore() desiredStore {
	return desiredStore{sizeGB: d.sideGB, fileSystem: filesystemExt4}
}

// device is the device of the store of that number.
func (n desiredNode) device(i int) platform.Device {
	if i < len(n.disks) {
		return n.disks[i]
	}
	return platform.Device{}
}

func (d desired) names() []string { return slices.Sorted(maps.Keys(d.nodes)) }

func (d desired) voters() int {
	n := 0
	for _, node := range d.nodes {
		if node.voter {
			n++
		}
	}
	return n
}

// platform is what the platform is asked to make. effective is what is known of the nodes.
func (d desired) platform(id, binary string, effective map[string]effectiveNode) platform.Cluster {
	c := platform.Cluster{
		Name: d.name, ID: id, Ports: d.ports, Binary: binary,
		SideDisk: platform.Disk{SizeBytes: d.sideGB * gib, FileSystem: filesystemExt4},
	}
	for _, name := range d.names() {
		n := d.nodes[name]
		c.Nodes = append(c.Nodes, platform.Node{Name: name, Stores: n.disks, SideDisk: n.side, Known: len(effective[name].Stores) > 0})
	}
	for _, s := range d.stores {
		c.Stores = append(c.Stores, platform.Disk{SizeBytes: s.sizeGB * gib, FileSystem: s.fileSystem})
	}
	return c
}

// spec is what the named node should be on the machines that the platform made, or that it
// made for another configuration. ok is false where a machine is missing.
func (d desired) spec(id, name string, machines map[string]platform.Machine) (s *agentapi.Spec, ok bool) {
	node, ok := d.nodes[name]
	m, made := machines[name]
	if !ok || !made || len(m.Stores) < len(d.stores) {
		return nil, false
	}
	s = &agentapi.Spec{
		Cluster:      agentapi.Cluster{Name: d.name, ID: id},
		Node:         name,
		BindAddress:  m.Address,
		Ports:        d.ports,
		RaftLogStore: node.log,
		WALFailover:  agentapi.WALFailover{Mode: d.mode},
		Log:          d.engineLog,
		ServerRules:  d.rules,
		TLS:          d.tls,
		Provision:    d.provision,
	}
	for _, peer := range d.names() {
		pm, made := machines[peer]
		if !made {
			return nil, false
		}
		s.Servers = append(s.Servers, agentapi.Server{Name: peer, Address: net.JoinHostPort(pm.Address, strconv.Itoa(d.ports.Server)), Voter: d.nodes[peer].voter})
	}
	for i, st := range d.stores {
		s.Stores = append(s.Stores, agentapi.StoreSpec{Path: m.Stores[i].Path, Device: m.Stores[i].Device, Disk: st.on(m.Stores[i].Disk, d.said(node.device(i))), Attrs: st.attrs})
	}
	if m.SideDisk.Path != "" {
		s.SideDisk = &agentapi.SideDisk{Path: m.SideDisk.Path, Device: m.SideDisk.Device, Disk: d.sideStore().on(m.SideDisk.Disk, d.said(node.side))}
	}
	return s.WithDefaults(), true
}

// specs are the specs of all nodes, but for those that spec cannot tell.
func (d desired) specs(id string, machines map[string]platform.Machine) map[string]*agentapi.Spec {
	all := map[string]*agentapi.Spec{}
	for _, name := range d.names() {
		if s, ok := d.spec(id, name, machines); ok {
			all[name] = s
		}
	}
	return all
}

// endpoints is the HTTP API of each node: HTTPS where there are certificates.
func (d desired) endpoints(machines map[string]platform.Machine) map[string]string {
	all := map[string]string{}
	scheme, port := "http://", d.ports.HTTP
	if d.tls != nil {
		scheme, port = "https://", d.ports.HTTPS
	}
	for _, name := range d.names() {
		if m, ok := machines[name]; ok {
			all[name] = scheme + net.JoinHostPort(m.Address, strconv.Itoa(port))
		}
	}
	return all
}
