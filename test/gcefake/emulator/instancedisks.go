// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package emulator

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"cloud.google.com/go/compute/apiv1/computepb"
)

// diskPlan is what a new instance does to disks.
type diskPlan struct {
	boot *computepb.Disk
	made []*computepb.Disk // new ones, not in the table yet
	all  []*computepb.Disk // those and the ones that are attached
}

// planDisksLocked decides a new instance's disks, and fills in the places in
// which they are attached.
func (s *Server) planDisksLocked(i *computepb.Instance, self ref, kind string) (diskPlan, error) {
	var plan diskPlan
	if len(i.GetDisks()) == 0 || !i.GetDisks()[0].GetBoot() {
		return plan, invalid("resource.disks", "", "Boot disk must be the first disk attached to the instance.")
	}
	if most := machineTypes[kind].maxDisks; len(i.GetDisks()) > most {
		return plan, invalid("resource.disks", fmt.Sprint(len(i.GetDisks())), "A %s takes at most %d disks.", kind, most)
	}
	if err := planLocalSSDs(i, kind); err != nil {
		return plan, err
	}
	ssds := 0
	for n, a := range i.GetDisks() {
		field := fmt.Sprintf("resource.disks[%d]", n)
		if n > 0 && a.GetBoot() {
			return plan, invalid(field+".boot", "true", "Only one boot disk is allowed.")
		}
		if a.GetType() == "SCRATCH" {
			if err := completeScratch(field, a, n, ssds); err != nil {
				return plan, err
			}
			ssds++
		} else {
			d, isNew, err := s.planDiskLocked(field, a, n, self)
			if err != nil {
				return plan, err
			}
			if err := s.checkAttachLocked(d, a, kind); err != nil {
				return plan, err
			}
			if slices.ContainsFunc(plan.all, func(o *computepb.Disk) bool { return o.GetName() == d.GetName() }) {
				return plan, invalid(field, d.GetName(), "The disk is attached twice.")
			}
			plan.all = append(plan.all, d)
			if isNew {
				plan.made = append(plan.made, d)
			}
			if n == 0 {
				plan.boot = d
			}
			completeAttachment(a, d, n, kind)
		}
		if err := checkDeviceName(field, a, i.GetDisks()[:n]); err != nil {
			return plan, err
		}
	}
	if plan.boot == nil {
		return plan, invalid("resource.disks[0]", "", "A local SSD cannot be the boot disk.")
	}
	return plan, nil
}

// planDiskLocked is the disk of a place: an existing one, or one to be made.
func (s *Server) planDiskLocked(field string, a *computepb.AttachedDisk, n int, self ref) (d *computepb.Disk, isNew bool, err error) {
	params := a.GetInitializeParams()
	switch {
	case (a.Source == nil) == (params == nil):
		return nil, false, invalid(field, "", "Specify one of source and initializeParams.")
	case a.Source != nil:
		r, err := s.refField(field+".source", a.GetSource(), "disks")
		if err != nil {
			return nil, false, err
		}
		if r.scope != self.scope || r.project != s.config.Project {
			return nil, false, invalid(field+".source", a.GetSource(), "The disk must be in the instance's zone.")
		}
		d, err := s.mu.disks.get(r)
		if err != nil {
			return nil, false, err
		}
		return d, false, s.readyLocked(r)
	}
	if n == 0 && params.SourceImage == nil {
		return nil, false, invalid(field+".initializeParams.sourceImage", "", "The boot disk must have an image.")
	}
	name := params.GetDiskName()
	if name == "" {
		if name = self.name; n > 0 {
			name = fmt.Sprintf("%s-%d", self.name, n)
		}
	}
	at := ref{s.config.Project, self.scope, "disks", name}
	// The document: "If a disk with the same name already exists in the given
	// region, the existing disk is attached to the new instance".
	if d, found := s.mu.disks.find(at); found && params.DiskName != nil {
		return d, false, s.readyLocked(at)
	}
	d = &computepb.Disk{
		Type: params.DiskType, SizeGb: params.DiskSizeGb, SourceImage: params.SourceImage, Labels: params.GetLabels(), Description: params.Description,
		ProvisionedIops: params.ProvisionedIops, ProvisionedThroughput: params.ProvisionedThroughput, SourceSnapshot: params.SourceSnapshot,
		ReplicaZones: params.ReplicaZones, StoragePool: params.StoragePool,
	}
	if a.DiskSizeGb != nil {
		d.SizeGb = a.DiskSizeGb
	}
	return d, true, s.prepareDiskLocked(field+".initializeParams", d, at)
}

// checkAttachLocked refuses a disk that is somebody else's or does not fit.
func (s *Server) checkAttachLocked(d *computepb.Disk, a *computepb.AttachedDisk, kind string) error {
	if a.GetForceAttach() {
		return invalid("forceAttach", "true", "Only regional disks can be attached by force.")
	}
	if len(d.GetUsers()) > 0 && (a.GetMode() != "READ_ONLY" || !s.readOnlyLocked(d)) {
		return inUse("disk", s.diskRefs([]*computepb.Disk{d})[0].path(), strings.TrimPrefix(d.GetUsers()[0], apiRoot))
	}
	return checkDiskOnMachine(lastPart(d.GetType()), kind)
}

// readOnlyLocked tells whether everybody who has a disk only reads it.
func (s *Server) readOnlyLocked(d *computepb.Disk) bool {
	for _, i := range s.mu.instances.in("") {
		for _, a := range i.GetDisks() {
			if a.GetSource() == d.GetSelfLink() && a.GetMode() != "READ_ONLY" {
				return false
			}
		}
	}
	return true
}

func completeAttachment(a *computepb.AttachedDisk, d *computepb.Disk, n int, kind string) {
	a.Kind, a.Type, a.Index, a.InitializeParams = new("compute#attachedDisk"), new("PERSISTENT"), new(int32(n)), nil
	a.Source, a.DiskSizeGb, a.Architecture, a.GuestOsFeatures = new(d.GetSelfLink()), new(d.GetSizeGb()), d.Architecture, d.GetGuestOsFeatures()
	for field, unasked := range map[**bool]bool{&a.AutoDelete: false, &a.Boot: false} {
		if *field == nil {
			*field = new(unasked)
		}
	}
	if a.Mode == nil {
		a.Mode = new("READ_WRITE")
	}
	if a.DeviceName == nil {
		a.DeviceName = new(fmt.Sprintf("persistent-disk-%d", n))
	}
	if a.Interface == nil {
		a.Interface = new(map[bool]string{true: "NVME", false: "SCSI"}[seriesOf(kind).nvme])
	}
	a.ForceAttach = nil
}

func checkDeviceName(field string, a *computepb.AttachedDisk, before []*computepb.AttachedDisk) error {
	if !rfc1035.MatchString(a.GetDeviceName()) {
		return invalid(field+".deviceName", a.GetDeviceName(), "Must be a match of regex '%s'.", rfc1035)
	}
	if slices.ContainsFunc(before, func(o *computepb.AttachedDisk) bool { return o.GetDeviceName() == a.GetDeviceName() }) {
		return invalid(field+".deviceName", a.GetDeviceName(), "Duplicate device name: it must be unique in the instance.")
	}
	return nil
}

// planLocalSSDs holds the number of local SSDs to what a machine type takes,
// and adds those that it comes with.
func planLocalSSDs(i *computepb.Instance, kind string) error {
	asked := 0
	for _, a := range i.GetDisks() {
		if a.GetType() == "SCRATCH" {
			asked++
		}
	}
	bundled := machineTypes[kind].bundledSSDs
	if asked > 0 && (bundled > 0 || !slices.Contains(seriesOf(kind).localSSDs, asked)) {
		return invalid("resource.disks", fmt.Sprint(asked), "Number of local SSDs for an instance of type %s should be one of %v, while [%d] is requested.", kind, seriesOf(kind).localSSDs, asked)
	}
	for range bundled {
		i.Disks = append(i.Disks, &computepb.AttachedDisk{Type: new("SCRATCH"), AutoDelete: new(true), Interface: new("NVME"),
			InitializeParams: &computepb.AttachedDiskInitializeParams{DiskType: new("diskTypes/" + localSSD)}})
	}
	return nil
}

// completeScratch holds a local SSD to its rules and fills in its place: the
// n-th disk, with so many local SSDs before it.
func completeScratch(field string, a *computepb.AttachedDisk, n, before int) error {
	params := a.GetInitializeParams()
	switch {
	case a.Source != nil || lastPart(params.GetDiskType()) != localSSD:
		return invalid(field+".initializeParams.diskType", params.GetDiskType(), "A scratch disk is of type local-ssd.")
	case a.GetBoot() || params.SourceImage != nil:
		return invalid(field+".boot", "true", "A local SSD cannot be the boot disk.")
	case a.AutoDelete != nil && !a.GetAutoDelete():
		return invalid(field+".autoDelete", "false", "A local SSD is deleted with its instance.")
	case params.DiskName != nil:
		return invalid(field+".initializeParams.diskName", params.GetDiskName(), "A local SSD has no name.")
	case params.DiskSizeGb != nil && params.GetDiskSizeGb() != localSSDGB:
		return invalid(field+".initializeParams.diskSizeGb", fmt.Sprint(params.GetDiskSizeGb()), "A local SSD has %d GB.", localSSDGB)
	case params.ProvisionedIops != nil || params.ProvisionedThroughput != nil:
		return invalid(field+".initializeParams.provisionedIops", "", "A local SSD takes no provisioned performance.")
	}
	a.Kind, a.Index, a.InitializeParams, a.DiskSizeGb = new("compute#attachedDisk"), new(int32(n)), nil, new(int64(localSSDGB))
	a.Mode, a.AutoDelete, a.Boot = new("READ_WRITE"), new(true), new(false)
	if a.Interface == nil {
		a.Interface = new("SCSI")
	}
	if a.DeviceName == nil {
		a.DeviceName = new(fmt.Sprintf("local-ssd-%d", before))
	}
	return nil
}

func attachDisk(s *Server, r *request) (answer, error) {
	a := &computepb.AttachedDisk{}
	if err := r.decode(a); err != nil {
		return nil, err
	}
	self, i, err := s.changeInstanceLocked(r, "RUNNING", "TERMINATED")
	if err != nil {
		return nil, err
	}
	kind := lastPart(i.GetMachineType())
	hasBoot := slices.ContainsFunc(i.GetDisks(), func(o *computepb.AttachedDisk) bool { return o.GetBoot() })
	switch {
	case a.GetType() == "SCRATCH":
		return nil, invalid("type", "SCRATCH", "Local SSDs are attached when an instance is created, not later.")
	case a.InitializeParams != nil:
		return nil, invalid("initializeParams", "", "attachDisk takes disks that exist.")
	case a.GetBoot() && (hasBoot || i.GetStatus() != "TERMINATED"):
		return nil, invalid("boot", "true", "A boot disk is attached to a stopped instance that has none.")
	case len(i.GetDisks()) >= machineTypes[kind].maxDisks:
		return nil, invalid("source", a.GetSource(), "A %s takes at most %d disks.", kind, machineTypes[kind].maxDisks)
	}
	if r.query.Get("forceAttach") == "true" {
		a.ForceAttach = new(true)
	}
	index := 1
	for slices.ContainsFunc(i.GetDisks(), func(o *computepb.AttachedDisk) bool { return int(o.GetIndex()) == index }) {
		index++
	}
	if a.GetBoot() {
		index = 0
	}
	d, _, err := s.planDiskLocked("resource", a, index, self)
	if err != nil {
		return nil, err
	}
	if err := s.checkAttachLocked(d, a, kind); err != nil {
		return nil, err
	}
	completeAttachment(a, d, index, kind)
	if err := checkDeviceName("resource", a, i.GetDisks()); err != nil {
		return nil, err
	}
	s.useLocked(d, i)
	i.Disks = append(i.Disks, a)
	slices.SortFunc(i.Disks, func(x, y *computepb.AttachedDisk) int { return int(x.GetIndex() - y.GetIndex()) })
	w := work{verb: "attachDisk", target: self, id: i.GetId(), hold: s.diskRefs([]*computepb.Disk{d}), undo: func() {
		i.Disks = slices.DeleteFunc(i.Disks, func(o *computepb.AttachedDisk) bool { return o == a })
		s.unuseLocked(d, i)
	}}
	if i.GetStatus() == "RUNNING" {
		w.act = s.onDisk(i, a, s.config.Machines.AttachDisk)
	}
	return s.beginLocked(r, w), nil
}

func detachDisk(s *Server, r *request) (answer, error) {
	self, i, err := s.changeInstanceLocked(r, "RUNNING", "TERMINATED")
	if err != nil {
		return nil, err
	}
	device := r.query.Get("deviceName")
	n := slices.IndexFunc(i.GetDisks(), func(a *computepb.AttachedDisk) bool { return a.GetDeviceName() == device })
	if n < 0 {
		return nil, invalid("deviceName", device, "No attached disk found with device name '%s'", device)
	}
	a := i.GetDisks()[n]
	d := s.attachedLocked(a)
	switch {
	case d == nil:
		return nil, invalid("deviceName", device, "A local SSD cannot be detached.")
	case a.GetBoot() && i.GetStatus() != "TERMINATED":
		return nil, badRequest("resourceInUseByAnotherResource", "The boot disk of '%s' can be detached only while the instance is stopped.", self.path())
	}
	if err := s.readyLocked(s.diskRefs([]*computepb.Disk{d})...); err != nil {
		return nil, err
	}
	w := work{verb: "detachDisk", target: self, id: i.GetId(), hold: s.diskRefs([]*computepb.Disk{d}), commit: func() {
		i.Disks = slices.DeleteFunc(i.Disks, func(o *computepb.AttachedDisk) bool { return o == a })
		s.unuseLocked(d, i)
	}}
	if i.GetStatus() == "RUNNING" {
		w.act = s.onDisk(i, a, s.config.Machines.DetachDisk)
	}
	return s.beginLocked(r, w), nil
}

// onDisk hands a Machines method the instance and the disk as they are when
// the operation runs.
func (s *Server) onDisk(i *computepb.Instance, a *computepb.AttachedDisk, do func(context.Context, Machine, Attachment) error) func(context.Context) error {
	return func(ctx context.Context) error {
		s.mu.Lock()
		m, at := s.machineLocked(i), s.attachmentLocked(a)
		s.mu.Unlock()
		return do(ctx, m, at)
	}
}

// attachedLocked is the disk in a place of an instance, nil for a local SSD.
func (s *Server) attachedLocked(a *computepb.AttachedDisk) *computepb.Disk {
	r, err := parseRef(s.config.Project, a.GetSource())
	if err != nil {
		return nil
	}
	d, _ := s.mu.disks.find(r)
	return d
}

func (s *Server) diskRefs(disks []*computepb.Disk) []ref {
	var refs []ref
	for _, d := range disks {
		refs = append(refs, ref{s.config.Project, "zones/" + lastPart(d.GetZone()), "disks", d.GetName()})
	}
	return refs
}

func (s *Server) useLocked(d *computepb.Disk, i *computepb.Instance) {
	d.Users = append(d.Users, i.GetSelfLink())
	d.LastAttachTimestamp = new(timestamp(s.config.Clock.Now()))
}

func (s *Server) unuseLocked(d *computepb.Disk, i *computepb.Instance) {
	d.Users = slices.DeleteFunc(d.Users, func(link string) bool { return link == i.GetSelfLink() })
	d.LastDetachTimestamp = new(timestamp(s.config.Clock.Now()))
}
