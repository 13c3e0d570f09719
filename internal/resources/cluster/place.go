// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cluster

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/diags"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/env"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/resources/validate"
)

// kind is one of the attributes that say where a cluster is.
type kind string

const (
	onLocal kind = "local"
	onSSH   kind = "ssh"
	onGCE   kind = "gce"
)

// where is how a kind is named to a person.
var where = map[kind]string{onLocal: "on this machine", onSSH: "on machines over SSH", onGCE: "on Compute Engine"}

// kinds are those that the configuration gives; ok is false while that is not known.
func (m *model) kinds() (given []kind, ok bool) {
	for _, o := range []struct {
		kind kind
		v    types.Object
	}{{onLocal, m.Local}, {onSSH, m.SSH}, {onGCE, m.GCE}} {
		if o.v.IsUnknown() {
			return nil, false
		}
		if !o.v.IsNull() {
			given = append(given, o.kind)
		}
	}
	return given, true
}

// placeProblems are what a configuration says of its machines that cannot be. What is
// not known yet contradicts nothing.
func (m *model) placeProblems() []diags.Problem {
	given, ok := m.kinds()
	if !ok {
		return nil
	}
	if len(given) != 1 {
		why := "there is none of local, ssh and gce"
		if len(given) > 1 {
			var names []string
			for _, k := range given {
				names = append(names, string(k))
			}
			why = "there are " + strings.Join(names, " and ")
		}
		return []diags.Problem{{What: "Where is the cluster?", Why: why,
			Next: "Give one of them: local = { directory = … } for this machine, ssh = { user = … } and nodes.NAME.address for machines that are there, gce = { project = … } and nodes.NAME.zone for machines that are made."}}
	}
	all := m.foreign(given[0])
	switch given[0] {
	case onSSH:
		all = append(all, m.machineProblems()...)
	case onGCE:
		all = append(all, m.cloudProblems()...)
	}
	return all
}

// belongs says which kinds of clusters attributes are for, those of nodes and of disks by their names alone.
var belongs = struct{ cluster, node, disk map[string][]kind }{
	cluster: map[string][]kind{"tls": {onSSH, onGCE}, "provision": {onSSH, onGCE}, "provision_secrets": {onSSH, onGCE}, "ports.https": {onSSH, onGCE}},
	node: map[string][]kind{
		"address": {onSSH}, "port": {onSSH}, "user": {onSSH}, "host_keys": {onSSH}, "stores": {onSSH}, "side_disk": {onSSH}, "cluster_address": {onSSH, onGCE},
		"zone": {onGCE}, "subnetwork": {onGCE}, "machine_type": {onGCE}, "image": {onGCE},
	},
	disk: map[string][]kind{"match": {onSSH}, "wipe": {onSSH}, "type": {onGCE}, "iops": {onGCE}, "throughput": {onGCE}},
}

// foreign are the attributes that say something of clusters of another kind.
func (m *model) foreign(k kind) []diags.Problem {
	var all []diags.Problem
	said := func(at string, v attr.Value, of []kind) {
		if v == nil || v.IsNull() || slices.Contains(of, k) {
			return
		}
		var names []string
		for _, o := range of {
			names = append(names, string(o))
		}
		all = append(all, diags.Problem{At: at, What: "This is for clusters of another kind", Why: fmt.Sprintf("%s is given, and the cluster is %s: %s", at, where[k], k),
			Next: "Leave it out, or use " + strings.Join(names, " or ") + "."})
	}
	cluster := map[string]attr.Value{"tls": m.TLS, "provision": m.Provision, "provision_secrets": m.ProvisionSecrets, "ports.https": m.Ports.Attributes()["https"]}
	for at, of := range belongs.cluster {
		said(at, cluster[at], of)
	}
	for name, v := range m.Nodes.Elements() {
		node, _ := v.(types.Object) // no object has no attributes
		for attribute, of := range belongs.node {
			said("nodes."+name+"."+attribute, node.Attributes()[attribute], of)
		}
	}
	disk := func(at string, o types.Object) {
		for attribute, of := range belongs.disk {
			said(at+"."+attribute, o.Attributes()[attribute], of)
		}
	}
	for i, v := range m.Stores.Elements() {
		store, _ := v.(types.Object)
		if o, ok := attribute[types.Object](store, "disk"); ok {
			disk(fmt.Sprintf("stores.%d.disk", i), o)
		}
	}
	disk("side_disk", m.SideDisk)
	slices.SortFunc(all, func(a, b diags.Problem) int { return strings.Compare(a.At, b.At) })
	return all
}

// cloudProblems are what is wrong with the machines of a cluster on Compute Engine, as far as it is a matter of what is
// missing. The platform says the rest, once all is known.
func (m *model) cloudProblems() []diags.Problem {
	var all []diags.Problem
	missing := func(at, why, next string) {
		all = append(all, diags.Problem{At: at, What: "Something is missing", Why: why, Next: next})
	}
	if err := validate.CheckCloudName(m.Name.ValueString()); m.Name.ValueString() != "" && err != nil {
		all = append(all, diags.Problem{At: "name", What: "Invalid name of a cluster", Why: fmt.Sprintf("name = %q: machines and disks begin with it, and this is %v", m.Name.ValueString(), err), Next: "Use another one."})
	}
	unsaid := func(o types.Object, name string) bool {
		v := o.Attributes()[name]
		return v != nil && v.IsNull()
	}
	for _, name := range slices.Sorted(maps.Keys(m.Nodes.Elements())) {
		node, ok := m.Nodes.Elements()[name].(types.Object)
		if !ok || node.IsNull() || node.IsUnknown() {
			continue
		}
		at := "nodes." + name + "."
		if unsaid(node, "zone") {
			missing(at+"zone", fmt.Sprintf("nodes.%s.zone is not given", name), "Name the zone of its machine and disks.")
		}
		if unsaid(node, "machine_type") && unsaid(m.GCE, "machine_type") {
			missing(at+"machine_type", fmt.Sprintf("neither nodes.%s.machine_type nor gce.machine_type is given", name), "Give gce.machine_type: n2-standard-4.")
		}
		if unsaid(node, "subnetwork") && unsaid(m.GCE, "network") {
			missing(at+"subnetwork", fmt.Sprintf("neither nodes.%s.subnetwork nor gce.network is given", name), "Give gce.network, or the subnetwork of every node.")
		}
	}
	return all
}

// machineProblems are what is wrong with the machines of a cluster over SSH.
func (m *model) machineProblems() []diags.Problem {
	var all []diags.Problem
	add := func(at, what, why, next string) {
		all = append(all, diags.Problem{At: at, What: what, Why: why, Next: next})
	}
	targets, addresses := map[string]string{}, map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(m.Nodes.Elements())) {
		node, ok := m.Nodes.Elements()[name].(types.Object)
		if !ok || node.IsNull() || node.IsUnknown() {
			continue
		}
		at := "nodes." + name + "."
		of := node.Attributes()
		user, common := of["user"], m.SSH.Attributes()["user"]
		if user != nil && user.IsNull() && common != nil && common.IsNull() {
			add(at+"user", "No user", fmt.Sprintf("neither nodes.%s.user nor ssh.user says whom to log in as", name), "Give ssh.user: root, or a user that may use sudo without a password.")
		}
		if v := of["address"]; v != nil && v.IsNull() {
			add(at+"address", "No address", fmt.Sprintf("nodes.%s.address is not given, and the cluster is reached over ssh", name), "Write the name or IP address of the machine.")
			continue
		}
		where, known := attribute[types.String](node, "address")
		cluster, apart := attribute[types.String](node, "cluster_address")
		unsaid := of["cluster_address"] != nil && of["cluster_address"].IsNull()
		if known && unsaid {
			cluster = where
			if _, err := netip.ParseAddr(where.ValueString()); err != nil {
				add(at+"cluster_address", "No IP address", fmt.Sprintf("nodes.%s.address = %q is a name, and the servers know each other by IP addresses", name, where.ValueString()),
					"Give cluster_address: the IP address that the other machines reach it by.")
			}
		}
		if known {
			port := int64(22)
			if p, ok := attribute[types.Int64](m.SSH, "port"); ok {
				port = p.ValueInt64()
			}
			if p, ok := attribute[types.Int64](node, "port"); ok {
				port = p.ValueInt64()
			}
			target := net.JoinHostPort(env.Normal(where.ValueString()), strconv.FormatInt(port, 10))
			if other, ok := targets[target]; ok {
				add(at+"address", "Two nodes on one machine", fmt.Sprintf("nodes.%s and nodes.%s are both at %s", other, name, target), "Give every node a machine of its own.")
				continue
			}
			targets[target] = name
		}
		if known && unsaid || apart {
			text := env.Normal(cluster.ValueString())
			if other, ok := addresses[text]; ok {
				add(at+"cluster_address", "Two nodes of one address", fmt.Sprintf("nodes.%s and nodes.%s both have the address %s for the others", other, name, text), "Give every node an address of its own.")
				continue
			}
			addresses[text] = name
		}
		all = append(all, m.diskProblems(name, node)...)
	}
	return all
}

// diskProblems are what is wrong with the disks of one machine.
func (m *model) diskProblems(name string, node types.Object) []diags.Problem {
	if m.Stores.IsUnknown() || m.SideDisk.IsUnknown() {
		return nil
	}
	stores := m.Stores.Elements()
	count := max(len(stores), 1)
	own, _ := node.Attributes()["stores"].(types.List)
	if n := len(own.Elements()); n > count {
		return []diags.Problem{{At: "nodes." + name + ".stores", What: "More disks than stores",
			Why: fmt.Sprintf("nodes.%s.stores has %d disks, and every node has %d stores", name, n, count), Next: "Add stores, or leave disks out."}}
	}
	var all []diags.Problem
	seen := map[agentapi.DiskMatch]string{}
	check := func(at, ownAt string, cluster, own types.Object) {
		o, ok := attribute[types.Object](own, "match")
		if v := own.Attributes()["match"]; v != nil && v.IsUnknown() {
			return
		}
		if ok {
			at = ownAt
		} else if o, ok = attribute[types.Object](cluster, "match"); !ok {
			return
		}
		match, known := matchOf(o)
		if !known || match == (agentapi.DiskMatch{}) {
			return
		}
		if other, twice := seen[match]; twice {
			all = append(all, diags.Problem{At: at + ".match", What: "One disk for two purposes",
				Why:  fmt.Sprintf("on node %s, %s.match and %s.match say the same", name, other, at),
				Next: "Give every store and the side disk a device of its own."})
			return
		}
		seen[match] = at
	}
	for i := range count {
		var cluster, mine types.Object
		if i < len(stores) {
			store, _ := stores[i].(types.Object)
			cluster, _ = attribute[types.Object](store, "disk")
		}
		if i < len(own.Elements()) {
			mine, _ = own.Elements()[i].(types.Object)
		}
		check(fmt.Sprintf("stores.%d.disk", i), fmt.Sprintf("nodes.%s.stores.%d", name, i), cluster, mine)
	}
	side, _ := attribute[types.Object](node, "side_disk")
	check("side_disk", "nodes."+name+".side_disk", m.SideDisk, side)
	return all
}

// matchOf reads a match; ok is false where a part of it is not known.
func matchOf(o types.Object) (match agentapi.DiskMatch, ok bool) {
	for _, v := range o.Attributes() {
		if v.IsUnknown() {
			return match, false
		}
	}
	text := func(name string) string {
		v, _ := attribute[types.String](o, name)
		return v.ValueString()
	}
	size, _ := attribute[types.Int64](o, "size_bytes")
	return agentapi.DiskMatch{Name: text("name"), Serial: text("serial"), WWN: text("wwn"), ByID: text("by_id"), SizeBytes: size.ValueInt64()}, true
}
