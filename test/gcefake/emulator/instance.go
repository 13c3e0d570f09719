// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package emulator

import (
	"context"
	"errors"

	"cloud.google.com/go/compute/apiv1/computepb"
)

func (s *Server) instanceRef(i *computepb.Instance) ref {
	return ref{s.config.Project, "zones/" + lastPart(i.GetZone()), "instances", i.GetName()}
}

func insertInstance(s *Server, r *request) (answer, error) {
	i := &computepb.Instance{}
	if err := r.decode(i); err != nil {
		return nil, err
	}
	self := s.ref(r)
	if r.query.Has("sourceInstanceTemplate") || r.query.Has("sourceMachineImage") {
		return nil, invalid("sourceInstanceTemplate", "", "Instances from templates and machine images are not emulated.")
	}
	kind, err := s.machineTypeField("resource.machineType", i.GetMachineType(), self)
	if err != nil {
		return nil, err
	}
	if _, taken := s.mu.instances.find(self); taken {
		return nil, exists(self.path())
	}
	if err := checkInstance(i); err != nil {
		return nil, err
	}
	plan, err := s.planDisksLocked(i, self, kind)
	if err != nil {
		return nil, err
	}
	if err := checkBoot(i, plan.boot, kind); err != nil {
		return nil, err
	}
	if err := s.checkServiceAccounts(i.GetServiceAccounts()); err != nil {
		return nil, err
	}
	if err := s.planInterfacesLocked(i, self); err != nil {
		return nil, err
	}
	i.MachineType = new(ref{s.config.Project, self.scope, "machineTypes", kind}.link())
	want := instanceUsage(i)
	for _, d := range plan.made {
		want.add(diskUsage(d))
	}
	if err := s.affordLocked(regionOf(self.zone()), want); err != nil {
		return nil, err
	}
	if r.fail == nil {
		r.fail = s.exhaustedLocked(self.zone(), kind)
	}

	s.completeInstanceLocked(i, self)
	s.mu.instances.put(self.scope, i)
	s.mu.guests[i.GetId()] = &guest{server: s, instance: self, id: i.GetId()}
	for _, d := range plan.made {
		s.mu.disks.put(self.scope, d)
	}
	for _, d := range plan.all {
		s.useLocked(d, i)
	}
	return s.beginLocked(r, work{
		verb: "insert", target: self, id: i.GetId(), hold: s.diskRefs(plan.all),
		act: func(ctx context.Context) error { return s.create(ctx, i, plan.made) },
		commit: func() {
			for _, d := range plan.made {
				d.Status = new("READY")
			}
			i.Status, i.LastStartTimestamp = new("RUNNING"), new(timestamp(s.config.Clock.Now()))
		},
		undo: func() {
			for _, d := range plan.all {
				s.unuseLocked(d, i)
			}
			for _, d := range plan.made {
				s.mu.disks.remove(self.scope, d.GetName())
			}
			s.mu.instances.remove(self.scope, i.GetName())
			delete(s.mu.guests, i.GetId())
		},
	}), nil
}

// create makes an instance's new disks and boots it; after an error none of
// them is left.
func (s *Server) create(ctx context.Context, i *computepb.Instance, disks []*computepb.Disk) error {
	s.mu.Lock()
	machine := s.machineLocked(i)
	var made []Disk
	for _, d := range disks {
		made = append(made, s.diskLocked(d))
	}
	s.mu.Unlock()
	var err error
	done := 0
	for _, d := range made {
		if err = s.config.Machines.CreateDisk(ctx, d); err != nil {
			break
		}
		done++
	}
	if err == nil {
		if err = s.config.Machines.Start(ctx, machine); err == nil {
			return nil
		}
		err = errors.Join(err, s.config.Machines.Delete(ctx, machine))
	}
	for _, d := range made[:done] {
		err = errors.Join(err, s.config.Machines.DeleteDisk(ctx, d))
	}
	return err
}

// completeInstanceLocked fills in what the server fills in.
func (s *Server) completeInstanceLocked(i *computepb.Instance, self ref) {
	now := timestamp(s.config.Clock.Now())
	i.Kind, i.Id, i.SelfLink, i.CreationTimestamp = new("compute#instance"), new(s.nextIDLocked()), new(self.link()), &now
	i.Zone, i.Status = new(s.zoneLink(self.zone())), new("PROVISIONING")
	i.CpuPlatform, i.Fingerprint = new("Intel Emulated"), new(fingerprint(self.path(), now))
	i.LabelFingerprint = new(labelFingerprint(i.GetLabels()))
	if i.Metadata == nil {
		i.Metadata = &computepb.Metadata{}
	}
	i.Metadata.Kind, i.Metadata.Fingerprint = new("compute#metadata"), new(metadataFingerprint(i.GetMetadata()))
	if i.Tags == nil {
		i.Tags = &computepb.Tags{}
	}
	i.Tags.Fingerprint = new(tagFingerprint(i.GetTags().GetItems()))
	if i.DeletionProtection == nil {
		i.DeletionProtection = new(false)
	}
	if i.CanIpForward == nil {
		i.CanIpForward = new(false)
	}
	if i.Scheduling == nil {
		i.Scheduling = &computepb.Scheduling{}
	}
	sch := i.GetScheduling()
	spot := sch.GetPreemptible() || sch.GetProvisioningModel() == "SPOT"
	if sch.OnHostMaintenance == nil {
		sch.OnHostMaintenance = new(map[bool]string{true: "TERMINATE", false: "MIGRATE"}[spot])
	}
	if sch.AutomaticRestart == nil {
		sch.AutomaticRestart = new(!spot)
	}
	if sch.ProvisioningModel == nil {
		sch.ProvisioningModel = new(map[bool]string{true: "SPOT", false: "STANDARD"}[spot])
	}
	sch.Preemptible = &spot
}

func getInstance(s *Server, r *request) (answer, error) {
	i, err := s.mu.instances.get(s.ref(r))
	if err != nil {
		return nil, err
	}
	return i, nil
}

func listInstances(s *Server, r *request) (answer, error) {
	return list(r, &computepb.InstanceList{Kind: new("compute#instanceList")}, s.mu.instances.in(r.scope()))
}

func aggregatedInstances(s *Server, r *request) (answer, error) {
	return aggregated(s, r, &computepb.InstanceAggregatedList{Kind: new("compute#instanceAggregatedList")}, s.mu.instances)
}

// changeInstanceLocked returns the instance of a request, which must be in
// nobody else's hands, and in one of the statuses.
func (s *Server) changeInstanceLocked(r *request, statuses ...string) (ref, *computepb.Instance, error) {
	self := s.ref(r)
	i, err := s.mu.instances.get(self)
	if err != nil {
		return self, nil, err
	}
	self.name = i.GetName()
	if err := s.readyLocked(self); err != nil {
		return self, nil, err
	}
	for _, status := range statuses {
		if i.GetStatus() == status {
			return self, i, nil
		}
	}
	if len(statuses) == 0 {
		return self, i, nil
	}
	return self, nil, notReady(self.path())
}

func deleteInstance(s *Server, r *request) (answer, error) {
	self, i, err := s.changeInstanceLocked(r)
	if err != nil {
		return nil, err
	}
	if i.GetDeletionProtection() {
		return nil, badRequest("invalidResourceUsage", "Invalid resource usage: 'Resource cannot be deleted if it's protected against deletion.'.")
	}
	var attached, along []*computepb.Disk
	for _, a := range i.GetDisks() {
		if d := s.attachedLocked(a); d != nil {
			attached = append(attached, d)
			if a.GetAutoDelete() {
				along = append(along, d)
			}
		}
	}
	if err := s.readyLocked(s.diskRefs(along)...); err != nil {
		return nil, err
	}
	before := i.GetStatus()
	i.Status = new("STOPPING")
	return s.beginLocked(r, work{
		verb: "delete", target: self, id: i.GetId(), hold: s.diskRefs(along),
		act: func(ctx context.Context) error {
			s.mu.Lock()
			machine := s.machineLocked(i)
			var gone []Disk
			for _, d := range along {
				gone = append(gone, s.diskLocked(d))
			}
			s.mu.Unlock()
			if err := s.config.Machines.Delete(ctx, machine); err != nil {
				return err
			}
			for _, d := range gone {
				if err := s.config.Machines.DeleteDisk(ctx, d); err != nil {
					return err
				}
			}
			return nil
		},
		commit: func() {
			for _, d := range attached {
				s.unuseLocked(d, i)
			}
			for _, d := range along {
				s.mu.disks.remove(self.scope, d.GetName())
			}
			s.mu.instances.remove(self.scope, i.GetName())
			delete(s.mu.guests, i.GetId())
		},
		undo: func() { i.Status = &before },
	}), nil
}

// on hands a Machines method the instance as it is when its operation runs.
func (s *Server) on(i *computepb.Instance, do func(context.Context, Machine) error) func(context.Context) error {
	return func(ctx context.Context) error {
		s.mu.Lock()
		m := s.machineLocked(i)
		s.mu.Unlock()
		return do(ctx, m)
	}
}

// machineLocked is an instance as Machines know it.
func (s *Server) machineLocked(i *computepb.Instance) Machine {
	kind := lastPart(i.GetMachineType())
	m := Machine{
		Project: s.config.Project, Zone: lastPart(i.GetZone()), Name: i.GetName(), ID: i.GetId(),
		MachineType: kind, CPUs: machineTypes[kind].cpus, MemoryMB: machineTypes[kind].memoryMB,
		Metadata: map[string]string{}, Labels: map[string]string{}, Tags: append([]string(nil), i.GetTags().GetItems()...),
		Guest: s.mu.guests[i.GetId()],
	}
	for _, item := range i.GetMetadata().GetItems() {
		m.Metadata[item.GetKey()] = item.GetValue()
	}
	for k, v := range i.GetLabels() {
		m.Labels[k] = v
	}
	for _, a := range i.GetDisks() {
		m.Disks = append(m.Disks, s.attachmentLocked(a))
	}
	for _, nic := range i.GetNetworkInterfaces() {
		n := Interface{Network: nic.GetNetwork(), Subnetwork: nic.GetSubnetwork(), Address: nic.GetNetworkIP()}
		for _, c := range nic.GetAccessConfigs() {
			n.External = c.GetNatIP()
		}
		m.Interfaces = append(m.Interfaces, n)
	}
	for _, account := range i.GetServiceAccounts() {
		m.ServiceAccount, m.Scopes = account.GetEmail(), account.GetScopes()
	}
	return m
}

// attachmentLocked is an attached disk as Machines know it.
func (s *Server) attachmentLocked(a *computepb.AttachedDisk) Attachment {
	out := Attachment{
		DeviceName: a.GetDeviceName(), Interface: a.GetInterface(), ReadOnly: a.GetMode() == "READ_ONLY",
		Boot: a.GetBoot(), AutoDelete: a.GetAutoDelete(), Scratch: a.GetType() == "SCRATCH",
	}
	if d := s.attachedLocked(a); d != nil {
		out.Disk = s.diskLocked(d)
	} else {
		out.Disk = Disk{Project: s.config.Project, Type: localSSD, SizeGB: localSSDGB}
	}
	return out
}
