// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package gce

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
)

// verb is what an action does.
type verb string

const (
	waitDisk       verb = "wait for disk"
	waitInstance   verb = "wait for machine"
	createDisk     verb = "create disk"
	growDisk       verb = "grow disk"
	tuneDisk       verb = "tune disk"
	labelDisks     verb = "label disk"
	deleteDisk     verb = "delete disk"
	createInstance verb = "create machine"
	deleteInstance verb = "delete machine"
	startInstance  verb = "start machine"
	stopInstance   verb = "stop machine"
	resumeInstance verb = "resume machine"
	setType        verb = "set machine type"
	setAccount     verb = "set service account"
	attachDisk     verb = "attach disk"
	detachDisk     verb = "detach disk"
	keepDisk       verb = "keep disk" // when its machine is deleted
	setLabels      verb = "label machine"
	setTags        verb = "tag machine"
	setMetadata    verb = "set metadata"
	protect        verb = "protect machine"
	unprotect      verb = "unprotect machine"
	createFirewall verb = "create firewall rule"
	changeFirewall verb = "change firewall rule"
	deleteFirewall verb = "delete firewall rule"
)

// action is one change of one resource.
type action struct {
	do   verb
	name string // of the resource
	why  string // what differs; may be empty

	disk     disk       // as it should be; with the fingerprint of what is there
	instance instance   // likewise
	at       attachment // of attachDisk, detachDisk, keepDisk
	grows    bool       // of tuneDisk: it changes the size, too
	firewall firewall
}

func (a action) String() string {
	s := string(a.do) + " " + a.name
	if a.why != "" {
		s += " (" + a.why + ")"
	}
	return s
}

// line is the action as a step of a node.
func (a action) line(node string) string {
	if node == "" {
		return a.String()
	}
	return "node " + node + ": " + a.String()
}

// task is what is to be done for one node, or for the firewall. Of a stage all actions are taken at once, and
// the next stage begins when they are done.
type task struct {
	node   string // "": the firewall
	stages [][]action
}

func (t *task) then(a ...action) {
	if len(a) > 0 {
		t.stages = append(t.stages, a)
	}
}

// plan is what makes of what is there what should be there.
type plan struct {
	// parallel are done at once, and disturb no machine that runs.
	parallel []task
	// serial are done one after the other when the parallel ones are done: each stops a machine.
	serial []task
}

func (p plan) empty() bool { return len(p.parallel) == 0 && len(p.serial) == 0 }

// lines are the actions as a person reads them.
func (p plan) lines() []string {
	var out []string
	for _, t := range append(slices.Clone(p.parallel), p.serial...) {
		for _, stage := range t.stages {
			for _, a := range stage {
				out = append(out, a.line(t.node))
			}
		}
	}
	return out
}

// pending are the actions by node, each node's in order; "" is what is no node's.
func (p plan) pending() platform.Pending {
	out := platform.Pending{}
	for _, t := range append(slices.Clone(p.parallel), p.serial...) {
		for _, stage := range t.stages {
			for _, a := range stage {
				out[t.node] = append(out[t.node], a.String())
			}
		}
	}
	return out
}

var (
	errLost     = errors.New("the disk is gone, and the node was once made with it")
	errShrink   = errors.New("a disk only grows")
	errKind     = errors.New("the type of a disk cannot be changed")
	errMoved    = errors.New("a machine and its disks stay where they are")
	errPublic   = errors.New("a machine is made with an external address or without one")
	errForeign  = errors.New("a machine that is not the node's has the disk")
	errTwice    = errors.New("two resources say that they are the same")
	errOther    = errors.New("it belongs to another cluster")
	errDestroys = errors.New("the cluster is half destroyed")
)

// planFor decides what is to be done. What is there must all be by the cluster's name; what cannot
// be done is told together, and then nothing is done.
func planFor(want wanted, have observed) (plan, error) {
	var p plan
	var all problems
	if have.destroying() {
		return p, &platform.Error{What: "the cluster cannot be made whole", Err: errDestroys, Next: "Destroy it to the end; a part of its data may be gone already."}
	}
	for _, id := range have.ids() {
		if id != want.id {
			all.add(&platform.Error{What: "the cluster's name is taken in the project", Err: fmt.Errorf("%w: %s", errOther, id),
				Next: "Use another name, or import that cluster. Nothing was changed."})
		}
	}
	have = have.of(want.id)
	if err := all.join(inTheWay); err != nil {
		return p, err
	}
	if t := planFirewall(want.firewalls, have.firewalls); len(t.stages) > 0 {
		p.parallel = append(p.parallel, t)
	}
	for _, n := range want.nodes {
		t, serial, wrong := planNode(n, have)
		for _, err := range wrong {
			all.add(nodeError{n.name, err})
		}
		if len(t.stages) > 0 {
			p.parallel = append(p.parallel, t)
		}
		if len(serial.stages) > 0 {
			p.serial = append(p.serial, serial)
		}
	}
	return p, all.join(inTheWay)
}

const inTheWay = "what is in the project is in the way"

// planNode decides for one node.
func planNode(want wantedNode, have observed) (t, serial task, wrong problems) {
	t, serial = task{node: want.name}, task{node: want.name}
	machine, disks, err := have.nodes(want.name)
	if err != nil {
		return t, serial, problems{err}
	}
	if waits := transient(machine, disks); len(waits) > 0 {
		t.then(waits...) // what they become, the next round sees
		return t, serial, nil
	}
	if wrong := check(want, machine, disks); len(wrong) > 0 {
		return t, serial, wrong
	}
	address := addressKnown(want, machine, disks)
	t.then(planDisks(want, machine, disks, address)...)
	next := want.instance
	next.address = address
	if machine == nil {
		t.then(action{do: createInstance, name: next.name, instance: next})
		return t, serial, nil
	}
	planInstance(&t, &serial, next, *machine)
	return t, serial, nil
}

// nodes are the machine, nil where there is none, and the disks by role, of a node.
func (o observed) nodes(name string) (*instance, map[string]disk, error) {
	var machine *instance
	disks := map[string]disk{}
	twice := func(a, b string) error {
		return &platform.Error{What: "it is not certain what the node is made of", Err: fmt.Errorf("%w: %s and %s", errTwice, a, b),
			Next: "Take the label " + labelCluster + " from the one that is not the cluster's. Nothing was changed."}
	}
	for _, i := range o.instances {
		if i.node() != name {
			continue
		}
		if machine != nil {
			return nil, nil, twice(machine.zone+"/"+machine.name, i.zone+"/"+i.name)
		}
		machine = &i
	}
	for _, d := range o.disks {
		if d.node() != name {
			continue
		}
		if other, ok := disks[d.role()]; ok {
			return nil, nil, twice(other.zone+"/"+other.name, d.zone+"/"+d.name)
		}
		disks[d.role()] = d
	}
	return machine, disks, nil
}

// planDisks are the changes of disks, all at once. A boot disk whose machine is gone goes.
func planDisks(want wantedNode, machine *instance, disks map[string]disk, address string) []action {
	var out []action
	missing := slices.ContainsFunc(want.disks, func(w disk) bool { _, ok := disks[w.role()]; return !ok })
	for i, w := range want.disks {
		d, ok := disks[w.role()]
		if i == 0 { // one that remembers it is enough
			w.labels = with(w.labels, labelAddress, addressLabel(address))
		}
		if ok && missing { // a disk that is to be added must not be called lost before it is there
			w.labels = with(w.labels, labelStores, d.labels[labelStores])
		}
		if !ok {
			out = append(out, action{do: createDisk, name: w.name, why: w.kind.describe(w.sizeGB), disk: w})
			continue
		}
		w.fingerprint = d.fingerprint
		grows := w.sizeGB > d.sizeGB
		why, more := tuned(w.kind, d.kind), fmt.Sprintf("%d → %d GB", d.sizeGB, w.sizeGB)
		// Google lets a Hyperdisk be changed once in some hours: all of it goes in one call. Labels
		// are for the next round.
		switch {
		case grows && why != "":
			out = append(out, action{do: tuneDisk, name: w.name, why: more + ", " + why, disk: w, grows: true})
		case grows:
			out = append(out, action{do: growDisk, name: w.name, why: more, disk: w})
		case why != "":
			out = append(out, action{do: tuneDisk, name: w.name, why: why, disk: w})
		case !sameLabels(w.labels, d.labels):
			w.labels = withGoogles(w.labels, d.labels)
			out = append(out, action{do: labelDisks, name: w.name, why: differing(w.labels, d.labels), disk: w})
		}
	}
	if d, ok := disks[bootRole]; ok && machine == nil && d.user == "" {
		out = append(out, action{do: deleteDisk, name: d.name, why: "its machine is gone", disk: d})
	}
	return out
}

// describe is the kind of a disk of a size.
func (k DiskKind) describe(sizeGB int64) string {
	s := fmt.Sprintf("%s, %d GB", k.Type, sizeGB)
	if k.IOPS != 0 {
		s += fmt.Sprintf(", %d IOPS", k.IOPS)
	}
	if k.ThroughputMiBs != 0 {
		s += fmt.Sprintf(", %d MiB/s", k.ThroughputMiBs)
	}
	return s
}

// tuned tells what differs in provisioned performance; what was not asked for does not.
func tuned(want, have DiskKind) string {
	var out []string
	if want.IOPS != 0 && want.IOPS != have.IOPS {
		out = append(out, fmt.Sprintf("%d → %d IOPS", have.IOPS, want.IOPS))
	}
	if want.ThroughputMiBs != 0 && want.ThroughputMiBs != have.ThroughputMiBs {
		out = append(out, fmt.Sprintf("%d → %d MiB/s", have.ThroughputMiBs, want.ThroughputMiBs))
	}
	return strings.Join(out, ", ")
}

// differing names the keys in which two maps differ.
func differing(want, have map[string]string) string {
	keys := map[string]bool{}
	for k, v := range want {
		if h, ok := have[k]; !ok || h != v {
			keys[k] = true
		}
	}
	for k := range have {
		if _, ok := want[k]; !ok && !googles(k) {
			keys[k] = true
		}
	}
	return strings.Join(slices.Sorted(maps.Keys(keys)), ", ")
}

// planInstance decides for a machine that is there. What needs no stop comes first; disks are attached
// before a machine starts.
func planInstance(t, serial *task, want, have instance) {
	if has := have.metadata[metaKeys]; has != "" && want.metadata[metaKeys] == "" { // see login.go
		want.metadata = with(want.metadata, metaKeys, has)
	}
	at := func(do verb, why string) action {
		i := want
		i.labelPrint, i.tagPrint, i.metadataPrint, i.others, i.id = have.labelPrint, have.tagPrint, have.metadataPrint, have.others, have.id
		i.labels = withGoogles(want.labels, have.labels)
		return action{do: do, name: have.name, why: why, instance: i}
	}
	if have.suspended() { // nothing else can be done with it
		t.then(at(resumeInstance, ""))
		return
	}
	if want.image != have.image {
		if have.protected {
			serial.then(at(unprotect, ""))
		}
		for _, d := range have.disks {
			if !d.boot && d.autoDelete {
				a := at(keepDisk, d.disk)
				a.at = d
				serial.then(a)
			}
		}
		serial.then(at(deleteInstance, fmt.Sprintf("image %s → %s", have.image, want.image)))
		create := at(createInstance, "")
		create.instance.address = have.address
		serial.then(create)
		return
	}
	for _, w := range want.disks {
		n := slices.IndexFunc(have.disks, func(a attachment) bool { return a.disk == w.disk })
		switch {
		case n < 0:
			a := at(attachDisk, w.disk)
			a.at = w
			t.then(a)
		case have.disks[n].device != w.device: // the agent would not find it
			off, on := at(detachDisk, w.disk+" is "+have.disks[n].device), at(attachDisk, w.disk)
			off.at, on.at = have.disks[n], w
			serial.then(off)
			serial.then(on)
		case have.disks[n].autoDelete:
			a := at(keepDisk, w.disk)
			a.at = have.disks[n]
			t.then(a)
		}
	}
	if !sameLabels(want.labels, have.labels) {
		t.then(at(setLabels, differing(want.labels, have.labels)))
	}
	if !slices.Equal(want.tags, have.tags) {
		t.then(at(setTags, strings.Join(have.tags, ", ")+" → "+strings.Join(want.tags, ", ")))
	}
	if !maps.Equal(want.metadata, have.metadata) {
		t.then(at(setMetadata, differing(want.metadata, have.metadata)))
	}
	if want.protected != have.protected {
		t.then(at(map[bool]verb{true: protect, false: unprotect}[want.protected], ""))
	}
	change := want.machineType != have.machineType || want.account != have.account
	on := t
	if change && !have.stopped() {
		on = serial
		on.then(at(stopInstance, ""))
	}
	if want.machineType != have.machineType {
		on.then(at(setType, have.machineType+" → "+want.machineType))
	}
	if want.account != have.account {
		on.then(at(setAccount, have.account+" → "+want.account))
	}
	if change || have.stopped() {
		on.then(at(startInstance, ""))
	}
}
