// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package gce

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
)

// Found is a cluster as the project shows it, with nothing but its name known: what an import begins with. File
// systems and the port of the plain API are not among it: the agents know them. Nor are
// Scopes and what the provider does.
type Found struct {
	Machines Machines
	Cluster  platform.Cluster
}

// Find returns the cluster that is in the place; nil where there is none, or one whose
// destruction was begun.
func (p *Platform) Find(ctx context.Context) (*Found, error) {
	have, err := p.client.observe(ctx, p.cfg)
	if err != nil {
		return nil, advised("the project cannot be looked at", err)
	}
	id, err := whose(p.cfg.Cluster, have)
	if err != nil || id == "" || have.destroying() {
		return nil, err
	}
	f := read(p.cfg, id, have.of(id))
	return &f, nil
}

// read is what the resources of a cluster say of how it was configured. Where nodes differ in what is
// the same for all, the first one counts, and a plan shows the others.
func read(cfg Config, id string, have observed) Found {
	cfg = Config{Place: Place{Project: cfg.Project, Cluster: cfg.Cluster}, Machines: Machines{Nodes: map[string]Node{}}}
	f := Found{Cluster: platform.Cluster{Name: cfg.Cluster, ID: id}}
	for _, d := range have.disks {
		cfg.Nodes[d.node()] = Node{Zone: d.zone} // a node whose machine is gone is one still
	}
	slices.SortFunc(have.instances, func(a, b instance) int { return strings.Compare(a.node(), b.node()) })
	for k, i := range have.instances {
		cfg.Nodes[i.node()] = Node{Zone: i.zone, Subnetwork: i.subnetwork, MachineType: i.machineType, Image: i.image, Address: i.address}
		if k > 0 {
			continue
		}
		cfg.Network, cfg.MachineType, cfg.Image = i.network, i.machineType, i.image
		cfg.ServiceAccount, cfg.External, cfg.DeletionProtection = i.account, i.public, i.protected
		cfg.Labels = maps.Clone(i.labels)
		maps.DeleteFunc(cfg.Labels, func(k, _ string) bool { return strings.HasPrefix(k, "holdfast-") || googles(k) })
		cfg.Tags = slices.DeleteFunc(slices.Clone(i.tags), func(t string) bool { return t == tagOf(cfg.Cluster) })
		cfg.User, cfg.PublicKey, _ = strings.Cut(i.metadata[metaKeys], ":")
	}
	cfg.readDisks(have.disks, &f.Cluster)
	cfg.readRules(have.firewalls, &f.Cluster)
	for _, name := range cfg.names() {
		f.Cluster.Nodes = append(f.Cluster.Nodes, platform.Node{Name: name})
	}
	f.Machines = cfg.Machines
	return f
}

// readDisks reads the kinds and sizes of disks, the largest of each role.
func (c *Config) readDisks(disks []disk, into *platform.Cluster) {
	byRole := map[string]disk{}
	for _, d := range disks {
		if was, ok := byRole[d.role()]; !ok || d.sizeGB > was.sizeGB {
			byRole[d.role()] = d
		}
	}
	for i := 0; ; i++ {
		d, ok := byRole[dataRole(i)]
		if !ok {
			break
		}
		c.Stores = append(c.Stores, d.kind)
		into.Stores = append(into.Stores, platform.Disk{SizeBytes: d.sizeGB * gib})
	}
	c.SideDisk, into.SideDisk.SizeBytes = byRole[sideRole].kind, byRole[sideRole].sizeGB*gib
	if boot := byRole[bootRole].kind.Type; boot != c.boot(c.MachineType) { // else it was not asked for
		c.BootDisk = boot
	}
}

func (c *Config) readRules(rules []firewall, into *platform.Cluster) {
	for _, f := range rules {
		if !f.between {
			c.SSHRanges = f.ranges
			continue
		}
		c.ByServiceAccount = f.account != ""
		for i, at := range []*int{&into.Ports.Server, &into.Ports.HTTPS} {
			if i < len(f.ports) {
				*at, _ = strconv.Atoi(f.ports[i]) // Google takes nothing else
			}
		}
	}
}
