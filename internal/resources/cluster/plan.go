// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cluster

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/layout"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/diags"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
)

// anew is the advice where only a new cluster would do.
const anew = "Take the change back. If the cluster and all its data may go, set deletion_protection = false and apply, destroy it, and apply the new configuration."

// refusals are the changes of an existing cluster that this version cannot make
// without losing data. effective is what the nodes are. Nothing is ever replaced
// instead: a cluster goes only by a destroy that somebody asked for.
func refusals(old, want desired, effective map[string]effectiveNode) []diags.Problem {
	var all []diags.Problem
	refuse := func(at, why, next string) {
		all = append(all, diags.Problem{At: at, What: "This cannot be changed on an existing cluster", Why: why, Next: next})
	}
	changed := func(at string, from, to any, why string) {
		if fmt.Sprint(from) != fmt.Sprint(to) {
			refuse(at, fmt.Sprintf("%s: %q → %q: %s", at, fmt.Sprint(from), fmt.Sprint(to), why), anew)
		}
	}
	changed("name", old.name, want.name, "every store carries the cluster's name")
	changed("local.directory", old.location.Directory, want.location.Directory, "the disks are there, and processes run on them")
	changed("gce.project", old.location.Project, want.location.Project, "machines and disks are there")
	remote := want.location.Remote()
	changed("ports.server", old.ports.Server, want.ports.Server, "the servers know each other by it")
	changed("ports.http", old.ports.HTTP, want.ports.HTTP, "clients and endpoints depend on it")
	changed("ports.https", old.ports.HTTPS, want.ports.HTTPS, "clients and endpoints depend on it")
	changed("tls", old.tls != nil, want.tls != nil, "the servers speak to each other with certificates or without")
	if !remote {
		changed("side_disk.size_gb", old.sideGB, want.sideGB, "disks are not resized yet")
	}

	changed("stores", len(old.stores), len(want.stores), "stores cannot be added or removed yet")
	for i := range min(len(old.stores), len(want.stores)) {
		at := fmt.Sprintf("stores.%d.", i)
		if !remote { // elsewhere it is the least size, or the platform says what it refuses
			changed(at+"disk.size_gb", old.stores[i].sizeGB, want.stores[i].sizeGB, "disks are not resized yet")
		}
		changed(at+"filesystem", old.stores[i].fileSystem, want.stores[i].fileSystem, "it would be made anew, and the store's data would be lost")
	}

	added, removed := missing(want.nodes, old.nodes), missing(old.nodes, want.nodes)
	if len(added)+len(removed) > 0 {
		refuse("nodes", membership(added, removed), anew)
	}
	for _, name := range want.names() {
		was, ok := old.nodes[name]
		if !ok {
			continue
		}
		if want.location.Machines != nil && old.location.Machines != nil {
			from, to := old.location.Machines[name].Cluster(), want.location.Machines[name].Cluster()
			if from != to {
				at := "nodes." + name + ".cluster_address"
				refuse(at, fmt.Sprintf("%s: %q → %q: the servers know each other by it, and changes of membership are not built yet", at, from, to),
					fmt.Sprintf("A machine that is reached at another address now keeps the old one for the others: set cluster_address = %q.", from))
			}
		}
		changed("nodes."+name+".voter", was.voter, want.nodes[name].voter, "changes of membership are not built yet")
		from, to := was.log.Backend, want.nodes[name].log.Backend
		if onDisk := effective[name].RaftLogStore.Backend; from != to && onDisk != to {
			if onDisk == "" {
				onDisk = from
			}
			refuse("raft_logstore.backend",
				fmt.Sprintf("node %s: raft_logstore.backend: %q → %q: its log is kept in %s and would stay there; its conversion comes with the rollouts, which are not built yet", name, from, to, onDisk),
				fmt.Sprintf("Set the backend back to %q. A new cluster may have either.", onDisk))
		}
	}
	return all
}

// strangers refuses machines that are in the place of nodes that hold data, and know
// nothing of it: a mistyped address, or a machine that was set up anew. Such a machine
// would be taken for the node and vote with an empty log. machines are those that have
// a record of the cluster, or do not answer; nil where none could be seen.
func strangers(want desired, effective map[string]effectiveNode, machines map[string]platform.Machine) *diags.Problem {
	if want.location.Machines == nil || machines == nil {
		return nil
	}
	var lines []string
	for _, name := range want.names() {
		if _, known := machines[name]; !known && len(effective[name].Stores) > 0 {
			lines = append(lines, fmt.Sprintf("  node %s: nothing at %s belongs to this cluster, and the node holds data", name, want.location.Machines[name].Address))
		}
	}
	if len(lines) == 0 {
		return nil
	}
	return &diags.Problem{At: "nodes", What: "A machine is not the node that it is named for",
		Why:  "Whoever is a node with an empty log votes as if nothing had ever been written:\n" + strings.Join(lines, "\n"),
		Next: "Correct the address. Where the machine was set up anew, put back its /var/lib/holdfast; the replacement of a node comes with changes of membership, which are not built yet. To destroy the cluster, leave out the look at it: terraform destroy -refresh=false. Nothing was changed."}
}

func membership(added, removed []string) string {
	var parts []string
	if len(added) > 0 {
		parts = append(parts, "nodes added: "+strings.Join(added, ", "))
	}
	if len(removed) > 0 {
		parts = append(parts, "nodes removed: "+strings.Join(removed, ", "))
	}
	s := strings.Join(parts, "; ") + ": changes of membership are not built yet"
	if len(added) > 0 && len(removed) > 0 {
		s += ", and a node is its name: a renamed node is another node with empty disks"
	}
	return s
}

func missing(from, in map[string]desiredNode) []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(from)) {
		if _, ok := in[name]; !ok {
			names = append(names, name)
		}
	}
	return names
}

// notices are what a plan of an existing cluster warns of. specs are what want
// means for the nodes whose machines are known.
func notices(old, want desired, effective map[string]effectiveNode, specs map[string]*agentapi.Spec) []diags.Problem {
	var all []diags.Problem
	for _, name := range want.names() {
		onDisk, to := effective[name].RaftLogStore.Backend, want.nodes[name].log.Backend
		if onDisk != "" && onDisk != to && old.nodes[name].log.Backend == to {
			all = append(all, diags.Problem{At: "raft_logstore.backend", What: "A log is kept in another backend than configured",
				Why:  fmt.Sprintf("node %s: the log on its disk is kept in %s, raft_logstore.backend says %s: it stays where it is, whichever is configured", name, onDisk, to),
				Next: fmt.Sprintf("Set nodes.%s.raft_logstore.backend = %q until conversions are built.", name, onDisk)})
		}
	}
	if old.mode != want.mode {
		all = append(all, oneDevice(want, effective, specs)...)
	}
	if why := restarts(old, want, effective, specs); len(why) > 0 {
		all = append(all, diags.Problem{What: "Engines will restart",
			Why:  "This apply restarts engines one at a time, followers first and the leader last, each only while the others serve:\n" + strings.Join(why, "\n"),
			Next: "Clients see an election when the leader restarts; no acknowledged write is lost."})
	}
	return all
}

// restarts lists, per node, what an apply restarts its engine for.
func restarts(old, want desired, effective map[string]effectiveNode, specs map[string]*agentapi.Spec) []string {
	var lines []string
	for _, name := range want.names() {
		if !effective[name].engineIsThere() {
			continue // it starts with what is in force by then
		}
		var why []string
		now, to := effective[name].RaftLogStore, logOf(want.nodes[name].log)
		add := func(attribute string, from, to any) {
			if from != to {
				why = append(why, fmt.Sprintf("%s: %v → %v", attribute, from, to))
			}
		}
		if len(effective[name].RestartRequired) == 0 {
			add("raft_logstore.disable_log_cache", now.DisableLogCache, to.DisableLogCache)
			add("raft_logstore.verification.enabled", now.Verification.Enabled, to.Verification.Enabled)
			add("raft_logstore.verification.interval", now.Verification.Interval, to.Verification.Interval)
			add("raft_logstore.boltdb.no_freelist_sync", now.BoltDB.NoFreelistSync, to.BoltDB.NoFreelistSync)
			add("raft_logstore.wal.segment_size_mb", now.WAL.SegmentSizeMB, to.WAL.SegmentSizeMB)
			mode := effective[name].WALFailover
			add("wal_failover.mode", mode.Mode, want.mode)
			if s := specs[name]; s != nil && mode.Mode == want.mode {
				add("wal_failover.sides", strings.Join(mode.Sides, ", "), strings.Join(s.Sides(), ", "))
			}
		}
		for i := range min(len(old.stores), len(want.stores)) {
			add(fmt.Sprintf("stores.%d.attrs", i), strings.Join(old.stores[i].attrs, ","), strings.Join(want.stores[i].attrs, ","))
		}
		if len(why) > 0 {
			lines = append(lines, fmt.Sprintf("  node %s: %s", name, strings.Join(why, "; ")))
		}
	}
	return lines
}

// oneDevice warns where a log would fail over to the device that its store is on,
// once for all nodes. It tells only what the nodes tell.
func oneDevice(want desired, effective map[string]effectiveNode, specs map[string]*agentapi.Spec) []diags.Problem {
	var lines []string
	for _, name := range want.names() {
		s, n := specs[name], effective[name]
		if s == nil {
			continue
		}
		dirs := n.Stores
		if n.SideDisk != nil {
			dirs = append(slices.Clone(dirs), *n.SideDisk)
		}
		for _, shared := range layout.SharedDevices(s, func(path string) (device, number string) {
			if i := slices.IndexFunc(dirs, func(d effectiveStore) bool { return d.Path == path }); i >= 0 {
				device = dirs[i].Device.ValueString()
			}
			return device, device
		}) {
			lines = append(lines, fmt.Sprintf("  node %s: %s", name, shared))
		}
	}
	if len(lines) == 0 {
		return nil
	}
	return []diags.Problem{{At: "wal_failover.mode", What: "Failover has no disk of its own",
		Why:  "A disk that hangs is survived by writing to another one:\n" + strings.Join(lines, "\n"),
		Next: "On this machine, disks are devices of their own only for root. Nothing is lost by it; a hanging disk stalls the writes of its node."}}
}

// cautions are what a configuration warns of, whether there is a cluster or not.
func cautions(d desired) []diags.Problem {
	var all []diags.Problem
	if n := d.voters(); n > 0 && n%2 == 0 {
		all = append(all, diags.Problem{At: "nodes", What: "An even number of voters",
			Why:  fmt.Sprintf("%d voters survive the loss of %d, as %d would", n, (n-1)/2, n-1),
			Next: "Use an odd number: 3 survive one loss, 5 survive two. A further server can follow with voter = false."})
	}
	if d.rules.LeaveOnTerminate {
		all = append(all, diags.Problem{At: "server.leave_on_terminate", What: "This version does not leave yet",
			Why:  "server.leave_on_terminate = true is recorded on every node, but a server of this version stays a member when it ends",
			Next: "Nothing has to be done. Set false to be rid of this warning."})
	}
	if p := thresholdAboveSync(d.settings, d.mode); p != nil {
		all = append(all, *p)
	}
	return all
}

// contradictions are what a configuration says that cannot be.
func contradictions(d desired) []diags.Problem {
	var all []diags.Problem
	add := func(at, what, why, next string) {
		all = append(all, diags.Problem{At: at, What: what, Why: why, Next: next})
	}
	if len(d.nodes) == 0 {
		add("nodes", "No servers", "nodes is empty", "Name at least one node; three survive the loss of one.")
	} else if d.voters() == 0 {
		add("nodes", "No voter", fmt.Sprintf("voter is false on all of %s, and a cluster without a voter has no leader", strings.Join(d.names(), ", ")),
			"Let one node vote at least; three survive the loss of one.")
	}
	switch n := len(d.stores); {
	case d.mode == modeAmongStores && n == 1:
		add("wal_failover.mode", "Nowhere to fail over to",
			fmt.Sprintf("wal_failover.mode = %q with %d store: a log fails over to another store of its node", d.mode, n),
			fmt.Sprintf("Add a store, or use %q.", modeSideDisk))
	case d.mode == modeSideDisk && n > 1:
		add("wal_failover.mode", "A side disk is for one store",
			fmt.Sprintf("wal_failover.mode = %q with %d stores: a side disk serves a node of one store", d.mode, n),
			fmt.Sprintf("Use %q: each store's log fails over to the next store.", modeAmongStores))
	}
	if d.ports.HTTPS != 0 && (d.ports.HTTPS == d.ports.HTTP || d.ports.HTTPS == d.ports.Server) {
		add("ports.https", "One port for two listeners", fmt.Sprintf("ports.https = %d is the port of another listener too", d.ports.HTTPS), "Give each a port of its own; Consul's are 8300, 8500 and 8501.")
	}
	if d.ports.Server == d.ports.HTTP {
		add("ports.http", "One port for two listeners", fmt.Sprintf("ports.http = %d is ports.server too", d.ports.HTTP), "Give each a port of its own; Consul's are 8300 and 8500.")
	}
	return all
}
