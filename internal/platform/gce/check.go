// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package gce

import (
	"fmt"
	"maps"
	"slices"

	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
)

// transient are what has to be waited for: operations that a run before this one began.
func transient(machine *instance, disks map[string]disk) []action {
	var waits []action
	for _, role := range slices.Sorted(maps.Keys(disks)) {
		if d := disks[role]; d.status != "READY" && d.status != "FAILED" && (role != bootRole || machine == nil) {
			waits = append(waits, action{do: waitDisk, name: d.name, why: d.status, disk: d})
		}
	}
	if machine != nil && machine.changing() {
		waits = append(waits, action{do: waitInstance, name: machine.name, why: machine.status, instance: *machine})
	}
	return waits
}

// check refuses what cannot be made of what is there.
func check(want wantedNode, machine *instance, disks map[string]disk) problems {
	var all problems
	made := machine != nil || want.known
	known := 1
	if want.known && machine == nil && len(disks) == 0 { // nothing is left that says how many it had
		known = len(want.disks)
	}
	if machine != nil {
		known = max(known, storesOf(machine.labels))
		if machine.zone != want.instance.zone {
			all.add(moved(machine.name, machine.zone, want.instance.zone))
		}
		if s := want.instance.subnetwork; s != "" && machine.subnetwork != s {
			all.add(moved(machine.name, machine.subnetwork, s))
		}
		if a := want.instance.address; a != "" && machine.address != a {
			all.add(moved(machine.name, machine.address, a))
		}
		if machine.public != want.instance.public {
			all.add(&platform.Error{What: machine.name + " cannot become what is asked for", Err: errPublic, Next: "Leave that as it is, or replace the node by one of another name."})
		}
	}
	for role, d := range disks {
		if role != bootRole {
			made = made || d.used
			known = max(known, storesOf(d.labels))
		}
	}
	for i, w := range want.disks {
		d, ok := disks[w.role()]
		if !ok {
			if made && (i < known || w.role() == sideRole) {
				all.add(&platform.Error{What: "disk " + w.name + " cannot be made", Err: errLost,
					Next: "Restore it from a snapshot under that name, with the labels of the node's other disks. Without one, remove the node from the cluster and add it under another name: a blank disk would let it forget what it voted for."})
			}
			continue
		}
		switch {
		case d.zone != w.zone:
			all.add(moved(d.name, d.zone, w.zone))
		case d.kind.Type != w.kind.Type:
			all.add(&platform.Error{What: "disk " + d.name + " cannot become what is asked for", Err: fmt.Errorf("%w: it is %s, asked for is %s", errKind, d.kind.Type, w.kind.Type),
				Next: "Leave the type as it is, or replace the node by one of another name."})
		case d.sizeGB > w.sizeGB:
			all.add(&platform.Error{What: "disk " + d.name + " cannot become what is asked for", Err: fmt.Errorf("%w: it has %d GB, asked for are %d GB", errShrink, d.sizeGB, w.sizeGB),
				Next: "Ask for what it has, or replace the node by one of another name."})
		case d.user != "" && (machine == nil || d.user != machine.name):
			all.add(&platform.Error{What: "disk " + d.name + " cannot be attached", Err: fmt.Errorf("%w: %s", errForeign, d.user), Next: "Detach it there."})
		}
	}
	return all
}

func moved(name, is, asked string) error {
	return &platform.Error{What: name + " cannot become what is asked for", Err: fmt.Errorf("%w: it is at %s, asked for is %s", errMoved, is, asked),
		Next: "Leave that as it is, or replace the node by one of another name."}
}

// addressKnown is the address that the node has, had, or is to have.
func addressKnown(want wantedNode, machine *instance, disks map[string]disk) string {
	if machine != nil {
		return machine.address
	}
	if want.instance.address != "" {
		return want.instance.address
	}
	for _, w := range want.disks {
		if a := addressOf(disks[w.role()].labels); a != "" {
			return a
		}
	}
	return ""
}
