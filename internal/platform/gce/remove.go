// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package gce

// marks is what says on every disk that the destruction of a cluster was begun, before it begins.
func marks(have observed) plan {
	var p plan
	for _, d := range have.disks {
		if d.role() == bootRole || d.labels[labelState] == destroying || d.status != "READY" {
			continue
		}
		d.labels = with(d.labels, labelState, destroying)
		t := task{node: d.node()}
		t.then(action{do: labelDisks, name: d.name, why: labelState + "=" + destroying, disk: d})
		p.parallel = append(p.parallel, t)
	}
	return p
}

// removal is what removes all of a cluster that is there: machines, then rules, then disks.
// Each stage is for all nodes, and is planned once the one before it is done.
func removal(have observed) plan {
	var p plan
	add := func(node string, stages ...[]action) {
		t := task{node: node}
		for _, s := range stages {
			t.then(s...)
		}
		p.parallel = append(p.parallel, t)
	}
	for _, i := range have.instances {
		a := action{do: deleteInstance, name: i.name, instance: i}
		switch {
		case i.changing():
			a = action{do: waitInstance, name: i.name, why: i.status, instance: i}
			add(i.node(), []action{a})
		case i.protected:
			add(i.node(), []action{{do: unprotect, name: i.name, instance: i}}, []action{a})
		default:
			add(i.node(), []action{a})
		}
	}
	if len(p.parallel) > 0 {
		return p
	}
	for _, f := range have.firewalls {
		add("", []action{{do: deleteFirewall, name: f.name, firewall: f}})
	}
	if len(p.parallel) > 0 {
		return p
	}
	for _, d := range have.disks {
		a := action{do: deleteDisk, name: d.name, disk: d}
		if d.status == "CREATING" || d.status == "DELETING" || d.status == "RESTORING" {
			a = action{do: waitDisk, name: d.name, why: d.status, disk: d}
		}
		add(d.node(), []action{a})
	}
	return p
}
