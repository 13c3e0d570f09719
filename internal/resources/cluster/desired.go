// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cluster

import (
	"maps"
	"net"
	"slices"
	"strconv"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
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
	directory string
	binary    string
	ports     agentapi.Ports
	nodes     map[string]desiredNode
	stores    []desiredStore
	sideGB    int64
	mode      string
	engineLog agentapi.Log
	rules     agentapi.ServerRules
	settings  map[string]string
}

type desiredNode struct {
	voter bool
	log   agentapi.RaftLogStore
}

type desiredStore struct {
	sizeGB     int64
	fileSystem string
	attrs      []string
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

// platform is what the platform is asked to make.
func (d desired) platform(id, binary string) platform.Cluster {
	c := platform.Cluster{
		Name: d.name, ID: id, Ports: d.ports, Binary: binary,
		SideDisk: platform.Disk{SizeBytes: d.sideGB * gib, FileSystem: filesystemExt4},
	}
	for _, name := range d.names() {
		c.Nodes = append(c.Nodes, platform.Node{Name: name})
	}
	for _, s := range d.stores {
		c.Stores = append(c.Stores, platform.Disk{SizeBytes: s.sizeGB * gib, FileSystem: s.fileSystem})
	}
	return c
}

// spec is what the named node should be on the machines that the platform made.
// ok is false where a machine is missing.
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
	}
	for _, peer := range d.names() {
		pm, made := machines[peer]
		if !made {
			return nil, false
		}
		s.Servers = append(s.Servers, agentapi.Server{Name: peer, Address: net.JoinHostPort(pm.Address, strconv.Itoa(d.ports.Server)), Voter: d.nodes[peer].voter})
	}
	for i, st := range d.stores {
		s.Stores = append(s.Stores, agentapi.StoreSpec{Path: m.Stores[i].Path, Device: m.Stores[i].Device, Attrs: st.attrs})
	}
	if m.SideDisk.Path != "" {
		s.SideDisk = &agentapi.SideDisk{Path: m.SideDisk.Path, Device: m.SideDisk.Device}
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

// endpoints is the HTTP API of each node.
func (d desired) endpoints(machines map[string]platform.Machine) map[string]string {
	all := map[string]string{}
	for _, name := range d.names() {
		if m, ok := machines[name]; ok {
			all[name] = "http://" + net.JoinHostPort(m.Address, strconv.Itoa(d.ports.HTTP))
		}
	}
	return all
}
