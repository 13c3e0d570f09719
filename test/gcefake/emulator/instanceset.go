// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package emulator

import (
	"slices"

	"cloud.google.com/go/compute/apiv1/computepb"
)

func setInstanceLabels(s *Server, r *request) (answer, error) {
	want := &computepb.InstancesSetLabelsRequest{}
	if err := r.decode(want); err != nil {
		return nil, err
	}
	self, i, err := s.changeInstanceLocked(r)
	if err != nil {
		return nil, err
	}
	if err := checkFingerprint("labels", want.GetLabelFingerprint(), i.GetLabelFingerprint()); err != nil {
		return nil, err
	}
	if err := checkLabels("labels", want.GetLabels()); err != nil {
		return nil, err
	}
	return s.beginLocked(r, work{verb: "setLabels", target: self, id: i.GetId(), commit: func() {
		i.Labels, i.LabelFingerprint = want.GetLabels(), new(labelFingerprint(want.GetLabels()))
	}}), nil
}

func setInstanceMetadata(s *Server, r *request) (answer, error) {
	want := &computepb.Metadata{}
	if err := r.decode(want); err != nil {
		return nil, err
	}
	self, i, err := s.changeInstanceLocked(r)
	if err != nil {
		return nil, err
	}
	if err := checkFingerprint("metadata", want.GetFingerprint(), i.GetMetadata().GetFingerprint()); err != nil {
		return nil, err
	}
	if err := checkMetadata(want); err != nil {
		return nil, err
	}
	want.Kind, want.Fingerprint = new("compute#metadata"), new(metadataFingerprint(want))
	before := i.GetMetadata()
	i.Metadata = want
	w := work{verb: "setMetadata", target: self, id: i.GetId(), undo: func() { i.Metadata = before }}
	if i.GetStatus() == "RUNNING" {
		w.act = s.on(i, s.config.Machines.SetMetadata)
	}
	return s.beginLocked(r, w), nil
}

func setInstanceTags(s *Server, r *request) (answer, error) {
	want := &computepb.Tags{}
	if err := r.decode(want); err != nil {
		return nil, err
	}
	self, i, err := s.changeInstanceLocked(r)
	if err != nil {
		return nil, err
	}
	if err := checkFingerprint("tags", want.GetFingerprint(), i.GetTags().GetFingerprint()); err != nil {
		return nil, err
	}
	if err := checkTags(want.GetItems()); err != nil {
		return nil, err
	}
	want.Fingerprint = new(tagFingerprint(want.GetItems()))
	return s.beginLocked(r, work{verb: "setTags", target: self, id: i.GetId(), commit: func() { i.Tags = want }}), nil
}

func setDeletionProtection(s *Server, r *request) (answer, error) {
	self, i, err := s.changeInstanceLocked(r)
	if err != nil {
		return nil, err
	}
	on := r.query.Get("deletionProtection") != "false" // the parameter's default is true
	return s.beginLocked(r, work{verb: "setDeletionProtection", target: self, id: i.GetId(), commit: func() { i.DeletionProtection = &on }}), nil
}

// setScheduling replaces the maintenance policy. What kind of machine it is,
// spot or standard, stays.
func setScheduling(s *Server, r *request) (answer, error) {
	want := &computepb.Scheduling{}
	if err := r.decode(want); err != nil {
		return nil, err
	}
	self, i, err := s.changeInstanceLocked(r)
	if err != nil {
		return nil, err
	}
	now := i.GetScheduling()
	for field, is := range map[**string]*string{&want.ProvisioningModel: now.ProvisioningModel, &want.OnHostMaintenance: now.OnHostMaintenance} {
		if *field == nil {
			*field = is
		}
	}
	for field, is := range map[**bool]*bool{&want.Preemptible: now.Preemptible, &want.AutomaticRestart: now.AutomaticRestart} {
		if *field == nil {
			*field = is
		}
	}
	if want.GetProvisioningModel() != now.GetProvisioningModel() || want.GetPreemptible() != now.GetPreemptible() {
		return nil, invalid("provisioningModel", want.GetProvisioningModel(), "It cannot be changed.")
	}
	if err := checkScheduling(want); err != nil {
		return nil, err
	}
	return s.beginLocked(r, work{verb: "setScheduling", target: self, id: i.GetId(), commit: func() { i.Scheduling = want }}), nil
}

func setDiskAutoDelete(s *Server, r *request) (answer, error) {
	self, i, err := s.changeInstanceLocked(r)
	if err != nil {
		return nil, err
	}
	device := r.query.Get("deviceName")
	n := slices.IndexFunc(i.GetDisks(), func(a *computepb.AttachedDisk) bool { return a.GetDeviceName() == device })
	if n < 0 {
		return nil, invalid("deviceName", device, "No attached disk found with device name '%s'", device)
	}
	a, on := i.GetDisks()[n], r.query.Get("autoDelete") == "true"
	if a.GetType() == "SCRATCH" && !on {
		return nil, invalid("autoDelete", "false", "A local SSD is deleted with its instance.")
	}
	return s.beginLocked(r, work{verb: "setDiskAutoDelete", target: self, id: i.GetId(), commit: func() { a.AutoDelete = &on }}), nil
}

// setServiceAccount replaces the account of a stopped instance; an empty
// request takes it away.
func setServiceAccount(s *Server, r *request) (answer, error) {
	want := &computepb.InstancesSetServiceAccountRequest{}
	if err := r.decode(want); err != nil {
		return nil, err
	}
	self, i, err := s.changeInstanceLocked(r)
	if err != nil {
		return nil, err
	}
	var accounts []*computepb.ServiceAccount
	if want.Email != nil {
		accounts = append(accounts, &computepb.ServiceAccount{Email: want.Email, Scopes: want.GetScopes()})
	}
	if err := s.checkServiceAccounts(accounts); err != nil {
		return nil, err
	}
	if i.GetStatus() != "TERMINATED" {
		return nil, badRequest("invalidResourceUsage", "Invalid resource usage: 'Instance should be in the STOPPED state.'.")
	}
	return s.beginLocked(r, work{verb: "setServiceAccount", target: self, id: i.GetId(), commit: func() { i.ServiceAccounts = accounts }}), nil
}
