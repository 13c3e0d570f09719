// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package gce

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
)

// disk is a persistent disk, as it is or as it should be.
type disk struct {
	name, zone string
	kind       DiskKind
	sizeGB     int64
	labels     map[string]string

	// Only of one that is there:
	fingerprint string // of the labels
	status      string // READY, CREATING, DELETING …
	user        string // the instance that has it; "": none
	used        bool   // it was attached at some time
}

func (d disk) role() string { return d.labels[labelDisk] }
func (d disk) node() string { return d.labels[labelNode] }

// attachment is a disk in its place in an instance.
type attachment struct {
	device, disk string
	boot         bool
	autoDelete   bool
}

// instance is a machine, as it is or as it should be.
type instance struct {
	name, zone  string
	machineType string
	image       string // as it was asked for
	account     string
	labels      map[string]string
	tags        []string
	metadata    map[string]string // the cluster's part of it
	address     string            // internal; of one that should be: "" is any
	subnetwork  string            // path
	public      bool              // it has, or is to have, an external address
	protected   bool
	disks       []attachment // without local SSDs

	// Only of one that is there:
	id                                  uint64
	status                              string            // RUNNING, TERMINATED, PROVISIONING …
	labelPrint, tagPrint, metadataPrint string            // fingerprints
	others                              map[string]string // metadata that is not the cluster's
	network                             string
	external                            string // address; one that is stopped has none
}

func (i instance) node() string { return i.labels[labelNode] }

func (i instance) stopped() bool   { return i.status == "TERMINATED" }
func (i instance) suspended() bool { return i.status == "SUSPENDED" }

// changing tells whether an operation is at work on it.
func (i instance) changing() bool { return i.status != "RUNNING" && !i.stopped() && !i.suspended() }

// observed is what is in the project by the cluster's name.
type observed struct {
	instances []instance
	disks     []disk
	firewalls []firewall
}

// of are the cluster's that has the ID.
func (o observed) of(id string) observed {
	var out observed
	for _, i := range o.instances {
		if i.labels[labelCluster] == id {
			out.instances = append(out.instances, i)
		}
	}
	for _, d := range o.disks {
		if d.labels[labelCluster] == id {
			out.disks = append(out.disks, d)
		}
	}
	for _, f := range o.firewalls {
		if ownerOf(f.description) == id {
			out.firewalls = append(out.firewalls, f)
		}
	}
	return out
}

// ids are the clusters that disks and instances belong to, sorted.
func (o observed) ids() []string {
	ids := map[string]bool{}
	for _, i := range o.instances {
		ids[i.labels[labelCluster]] = true
	}
	for _, d := range o.disks {
		ids[d.labels[labelCluster]] = true
	}
	return slices.Sorted(maps.Keys(ids))
}

// destroying tells whether the destruction of a cluster was begun.
func (o observed) destroying() bool { return len(o.doomed()) > 0 }

// doomed are the clusters whose destruction was begun, sorted.
func (o observed) doomed() []string {
	ids := map[string]bool{}
	for _, d := range o.disks {
		if d.labels[labelState] == destroying {
			ids[d.labels[labelCluster]] = true
		}
	}
	return slices.Sorted(maps.Keys(ids))
}

// wanted is what there should be. Nodes that it does not name are left as they are.
type wanted struct {
	id        string
	nodes     []wantedNode // sorted
	firewalls []firewall
}

type wantedNode struct {
	name     string
	known    bool // it was made before, whatever the project has of it
	instance instance
	disks    []disk
}

const gib = 1 << 30

// gigabytes is a size as Google counts it, rounded up: a GB there is a GiB.
func gigabytes(bytes int64) int64 { return (bytes + gib - 1) / gib }

// want is what the configuration means for a cluster. network is the path of the machines' network.
func (c Config) want(p platform.Cluster, network string) wanted {
	w := wanted{id: p.ID, firewalls: c.rules(p.ID, p.Ports, network)}
	for _, n := range p.Nodes {
		node := c.node(p, n.Name)
		node.known = n.Known
		w.nodes = append(w.nodes, node)
	}
	slices.SortFunc(w.nodes, func(a, b wantedNode) int { return cmp.Compare(a.name, b.name) })
	return w
}

func (c Config) node(p platform.Cluster, name string) wantedNode {
	n := c.Nodes[name]
	labels := with(c.Labels, labelCluster, p.ID, labelName, c.Cluster, labelNode, name, labelStores, fmt.Sprint(len(p.Stores)))
	out := wantedNode{name: name}
	add := func(role string, kind DiskKind, size int64) {
		out.disks = append(out.disks, disk{name: diskName(c.Cluster, name, role), zone: n.Zone, kind: kind, sizeGB: gigabytes(size), labels: with(labels, labelDisk, role)})
	}
	for i, s := range p.Stores {
		add(dataRole(i), c.store(i), s.SizeBytes)
	}
	add(sideRole, c.SideDisk, p.SideDisk.SizeBytes)
	i := instance{
		name: instanceName(c.Cluster, name), zone: n.Zone, machineType: n.MachineType, image: n.Image, account: c.ServiceAccount, labels: labels,
		tags: slices.Compact(slices.Sorted(slices.Values(append(slices.Clone(c.Tags), tagOf(c.Cluster))))), protected: c.DeletionProtection,
		metadata: map[string]string{metaAttributes: "TRUE", metaOSLogin: "FALSE", metaImage: n.Image},
		address:  n.Address, subnetwork: c.subnetwork(n), public: c.External,
	}
	if c.PublicKey != "" {
		i.metadata[metaKeys] = keys(c.User, c.PublicKey)
	}
	for _, d := range out.disks {
		i.disks = append(i.disks, attachment{device: d.role(), disk: d.name})
	}
	out.instance = i
	return out
}

// subnetwork is the path of a node's subnetwork within the API; "" is the network's own in the region.
func (c Config) subnetwork(n Node) string {
	switch {
	case n.Subnetwork == "":
		return ""
	case strings.Contains(n.Subnetwork, "/"):
		return path(n.Subnetwork, c.Project)
	}
	return fmt.Sprintf("projects/%s/regions/%s/subnetworks/%s", c.Project, regionOf(n.Zone), n.Subnetwork)
}

// network is the path of the network within the API; "" where only subnetworks are named.
func (c Config) network() string {
	switch {
	case c.Network == "":
		return ""
	case strings.Contains(c.Network, "/"):
		return path(c.Network, c.Project)
	}
	return fmt.Sprintf("projects/%s/global/networks/%s", c.Project, c.Network)
}

// path is a link without the API's address, and with the project.
func path(link, project string) string {
	if _, rest, ok := strings.Cut(link, "/compute/v1/"); ok {
		link = rest
	}
	if !strings.HasPrefix(link, "projects/") {
		link = "projects/" + project + "/" + link
	}
	return link
}
