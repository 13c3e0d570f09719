// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package emulator

import (
	"fmt"
	"net/url"
	"slices"

	"cloud.google.com/go/compute/apiv1/computepb"
)

// checkInstance decides what can be decided about a new instance by itself.
func checkInstance(i *computepb.Instance) error {
	for name, set := range map[string]bool{
		"guestAccelerators": len(i.GetGuestAccelerators()) > 0, "resourcePolicies": len(i.GetResourcePolicies()) > 0,
		"sourceMachineImage": i.SourceMachineImage != nil, "confidentialInstanceConfig": i.ConfidentialInstanceConfig != nil,
		"instanceEncryptionKey": i.InstanceEncryptionKey != nil, "workloadIdentityConfig": i.WorkloadIdentityConfig != nil,
	} {
		if set {
			return invalid("resource."+name, "", "This is not emulated.")
		}
	}
	if err := checkLabels("resource.labels", i.GetLabels()); err != nil {
		return err
	}
	if err := checkMetadata(i.GetMetadata()); err != nil {
		return err
	}
	if err := checkTags(i.GetTags().GetItems()); err != nil {
		return err
	}
	if len(i.GetNetworkInterfaces()) == 0 {
		return invalid("resource.networkInterfaces", "", "At least one network interface is required.")
	}
	return checkScheduling(i.GetScheduling())
}

// checkScheduling refuses a spot machine that would be moved or started again.
func checkScheduling(sch *computepb.Scheduling) error {
	if !sch.GetPreemptible() && sch.GetProvisioningModel() != "SPOT" {
		return nil
	}
	switch {
	case sch.GetAutomaticRestart():
		return invalid("resource.scheduling.automaticRestart", "true", "Scheduling must have automaticRestart be false when preemptible is true.")
	case sch.GetOnHostMaintenance() == "MIGRATE":
		return invalid("resource.scheduling.onHostMaintenance", "MIGRATE", "Scheduling must have onHostMaintenance be TERMINATE when preemptible is true.")
	}
	return nil
}

// checkBoot holds what the instance wants of its boot disk to what that has.
func checkBoot(i *computepb.Instance, boot *computepb.Disk, kind string) error {
	uefi := slices.ContainsFunc(boot.GetGuestOsFeatures(), func(f *computepb.GuestOsFeature) bool { return f.GetType() == "UEFI_COMPATIBLE" })
	shielded := i.GetShieldedInstanceConfig()
	if !uefi && (shielded.GetEnableSecureBoot() || shielded.GetEnableVtpm() || shielded.GetEnableIntegrityMonitoring()) {
		return invalid("resource.shieldedInstanceConfig", "", "Shielded VM Config can only be set when using an UEFI_COMPATIBLE disk.")
	}
	if shielded.GetEnableIntegrityMonitoring() && shielded.EnableVtpm != nil && !shielded.GetEnableVtpm() {
		return invalid("resource.shieldedInstanceConfig.enableIntegrityMonitoring", "true", "Integrity monitoring needs the vTPM.")
	}
	if uefi {
		if i.ShieldedInstanceConfig == nil {
			i.ShieldedInstanceConfig = &computepb.ShieldedInstanceConfig{}
		}
		c := i.ShieldedInstanceConfig
		for field, unasked := range map[**bool]bool{&c.EnableSecureBoot: false, &c.EnableVtpm: true, &c.EnableIntegrityMonitoring: true} {
			if *field == nil {
				*field = new(unasked)
			}
		}
	}
	want := "X86_64"
	if machineTypes[kind].arm {
		want = "ARM64"
	}
	if has := boot.GetArchitecture(); has != "" && has != want {
		return invalid("resource.disks[0]", lastPart(boot.GetSourceImage()), "The boot disk's architecture is %s, and machine type %s is %s.", has, kind, want)
	}
	return nil
}

// checkServiceAccounts refuses accounts that do not exist, and more than one.
func (s *Server) checkServiceAccounts(accounts []*computepb.ServiceAccount) error {
	if len(accounts) > 1 {
		return invalid("resource.serviceAccounts", fmt.Sprint(len(accounts)), "At most one service account is allowed.")
	}
	for _, a := range accounts {
		if a.GetEmail() == "default" {
			a.Email = new(s.defaultServiceAccount())
		}
		if a.GetEmail() != s.defaultServiceAccount() && !slices.Contains(s.config.ServiceAccounts, a.GetEmail()) {
			return badRequest("invalid", "The resource '%s' of type 'serviceAccount' was not found.", a.GetEmail())
		}
		if len(a.GetScopes()) == 0 {
			return invalid("resource.serviceAccounts[0].scopes", "", "At least one scope is required.")
		}
		for _, scope := range a.GetScopes() {
			if u, err := url.Parse(scope); err != nil || u.Scheme != "https" || u.Host != "www.googleapis.com" {
				return invalid("resource.serviceAccounts[0].scopes", scope, "It is no OAuth scope.")
			}
		}
	}
	return nil
}

// machineTypeField is the name of the machine type that a field links to,
// which must be in the instance's zone.
func (s *Server) machineTypeField(field, value string, self ref) (string, error) {
	if value == "" {
		return "", required(field)
	}
	r, err := s.refField(field, value, "machineTypes")
	if err != nil {
		return "", err
	}
	if _, known := machineTypes[r.name]; !known || r.scope != self.scope || r.project != s.config.Project {
		return "", invalid(field, value, "Machine type with name '%s' does not exist in zone '%s'.", r.name, self.zone())
	}
	return r.name, nil
}
