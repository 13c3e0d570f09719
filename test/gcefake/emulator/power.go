// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package emulator

import (
	"fmt"

	"cloud.google.com/go/compute/apiv1/computepb"
)

// startInstance boots a stopped instance. One that runs already is left alone,
// and the operation is DONE as it would be after a start.
func startInstance(s *Server, r *request) (answer, error) {
	self, i, err := s.changeInstanceLocked(r, "TERMINATED", "RUNNING")
	if err != nil {
		return nil, err
	}
	if i.GetStatus() == "RUNNING" {
		return s.beginLocked(r, work{verb: "start", target: self, id: i.GetId()}), nil
	}
	i.Status = new("PROVISIONING") // counts for what follows
	want := instanceUsage(i)
	delete(want, "INSTANCES")
	delete(want, "LOCAL_SSD_TOTAL_GB")
	i.Status = new("TERMINATED")
	if err := s.affordLocked(regionOf(self.zone()), want); err != nil {
		return nil, err
	}
	if r.fail == nil {
		r.fail = s.exhaustedLocked(self.zone(), lastPart(i.GetMachineType()))
	}
	i.Status = new("PROVISIONING")
	for _, nic := range i.GetNetworkInterfaces() {
		for _, c := range nic.GetAccessConfigs() {
			c.NatIP = new(s.externalLocked())
		}
	}
	return s.beginLocked(r, work{
		verb: "start", target: self, id: i.GetId(), act: s.on(i, s.config.Machines.Start),
		commit: func() {
			i.Status, i.LastStartTimestamp = new("RUNNING"), new(timestamp(s.config.Clock.Now()))
		},
		undo: func() { s.terminatedLocked(i) },
	}), nil
}

func stopInstance(s *Server, r *request) (answer, error) {
	self, i, err := s.changeInstanceLocked(r, "TERMINATED", "RUNNING")
	if err != nil {
		return nil, err
	}
	for _, a := range i.GetDisks() {
		if a.GetType() == "SCRATCH" && r.query.Get("discardLocalSsd") != "true" {
			return nil, invalid("discardLocalSsd", r.query.Get("discardLocalSsd"),
				"VM has a Local SSD attached but an undefined value for discardLocalSsd. The emulator cannot preserve local SSDs: it must be true.")
		}
	}
	if i.GetStatus() == "TERMINATED" {
		return s.beginLocked(r, work{verb: "stop", target: self, id: i.GetId()}), nil
	}
	i.Status = new("STOPPING")
	return s.beginLocked(r, work{
		verb: "stop", target: self, id: i.GetId(), act: s.on(i, s.config.Machines.Stop),
		commit: func() { s.terminatedLocked(i) },
		undo:   func() { i.Status = new("RUNNING") },
	}), nil
}

// terminatedLocked makes an instance a stopped one, which has no external
// address any more.
func (s *Server) terminatedLocked(i *computepb.Instance) {
	i.Status, i.LastStopTimestamp = new("TERMINATED"), new(timestamp(s.config.Clock.Now()))
	for _, nic := range i.GetNetworkInterfaces() {
		for _, c := range nic.GetAccessConfigs() {
			c.NatIP = nil
		}
	}
}

func resetInstance(s *Server, r *request) (answer, error) {
	self, i, err := s.changeInstanceLocked(r, "RUNNING")
	if err != nil {
		return nil, err
	}
	return s.beginLocked(r, work{verb: "reset", target: self, id: i.GetId(), act: s.on(i, s.config.Machines.Reset)}), nil
}

// suspendInstance and resumeInstance change what the API says of an instance: no machine is told.
func suspendInstance(s *Server, r *request) (answer, error) {
	return s.pausedLocked(r, "suspend", "RUNNING", "SUSPENDING", "SUSPENDED")
}

func resumeInstance(s *Server, r *request) (answer, error) {
	return s.pausedLocked(r, "resume", "SUSPENDED", "PROVISIONING", "RUNNING")
}

func (s *Server) pausedLocked(r *request, verb, from, meanwhile, to string) (answer, error) {
	self, i, err := s.changeInstanceLocked(r, from)
	if err != nil {
		return nil, err
	}
	i.Status = &meanwhile
	return s.beginLocked(r, work{verb: verb, target: self, id: i.GetId(),
		commit: func() { i.Status = &to }, undo: func() { i.Status = &from }}), nil
}

func setMachineType(s *Server, r *request) (answer, error) {
	want := &computepb.InstancesSetMachineTypeRequest{}
	if err := r.decode(want); err != nil {
		return nil, err
	}
	self, i, err := s.changeInstanceLocked(r)
	if err != nil {
		return nil, err
	}
	kind, err := s.machineTypeField("machineType", want.GetMachineType(), self)
	if err != nil {
		return nil, err
	}
	if i.GetStatus() != "TERMINATED" {
		return nil, badRequest("invalidResourceUsage", "Invalid resource usage: 'Instance should be in the STOPPED state.'.")
	}
	if most := machineTypes[kind].maxDisks; len(i.GetDisks()) > most {
		return nil, invalid("machineType", kind, "It takes at most %d disks.", most)
	}
	ssds := 0
	for _, a := range i.GetDisks() {
		d := s.attachedLocked(a)
		if d == nil {
			ssds++
			continue
		}
		if err := checkDiskOnMachine(lastPart(d.GetType()), kind); err != nil {
			return nil, err
		}
		if a.GetBoot() && d.Architecture != nil && (d.GetArchitecture() == "ARM64") != machineTypes[kind].arm {
			return nil, invalid("machineType", kind, "The boot disk's architecture is %s.", d.GetArchitecture())
		}
	}
	if ssds > 0 || machineTypes[kind].bundledSSDs > 0 {
		return nil, invalid("machineType", kind, "The machine type of an instance with local SSDs cannot be changed, nor to one that comes with them (%s).", fmt.Sprint(ssds))
	}
	link := ref{s.config.Project, self.scope, "machineTypes", kind}.link()
	return s.beginLocked(r, work{verb: "setMachineType", target: self, id: i.GetId(), commit: func() { i.MachineType = &link }}), nil
}
