// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package emulator

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"cloud.google.com/go/compute/apiv1/computepb"
	"google.golang.org/protobuf/proto"
)

func insertDisk(s *Server, r *request) (answer, error) {
	d := &computepb.Disk{}
	if err := r.decode(d); err != nil {
		return nil, err
	}
	self := s.ref(r)
	if image := r.query.Get("sourceImage"); image != "" {
		if d.SourceImage != nil {
			return nil, invalid("sourceImage", image, "It is in the query and in the body.")
		}
		d.SourceImage = &image
	}
	if err := s.prepareDiskLocked("resource", d, self); err != nil {
		return nil, err
	}
	if err := s.affordLocked(regionOf(self.zone()), diskUsage(d)); err != nil {
		return nil, err
	}
	s.mu.disks.put(self.scope, d)
	made := s.diskLocked(d)
	return s.beginLocked(r, work{
		verb: "insert", target: self, id: d.GetId(),
		act:    func(ctx context.Context) error { return s.config.Machines.CreateDisk(ctx, made) },
		commit: func() { d.Status = new("READY") },
		undo:   func() { s.mu.disks.remove(self.scope, d.GetName()) },
	}), nil
}

// prepareDiskLocked decides whether a disk can be made, and fills in what the
// server fills in. The disk is CREATING, and in no table yet.
func (s *Server) prepareDiskLocked(field string, d *computepb.Disk, self ref) error {
	for name, set := range map[string]bool{
		"sourceSnapshot": d.SourceSnapshot != nil, "sourceDisk": d.SourceDisk != nil, "sourceInstantSnapshot": d.SourceInstantSnapshot != nil,
		"sourceStorageObject": d.SourceStorageObject != nil, "replicaZones": d.ReplicaZones != nil, "storagePool": d.StoragePool != nil,
		"asyncPrimaryDisk": d.AsyncPrimaryDisk != nil,
	} {
		if set {
			return invalid(field+"."+name, "", "This is not emulated.")
		}
	}
	if d.Type == nil {
		d.Type = new("zones/" + self.zone() + "/diskTypes/pd-standard")
	}
	kind, err := s.refField(field+".type", d.GetType(), "diskTypes")
	if err != nil {
		return err
	}
	if _, known := diskTypes[kind.name]; !known || kind.scope != self.scope {
		return notFound(kind.path())
	}
	var image *computepb.Image
	if d.SourceImage != nil {
		if image, err = s.sourceImageLocked(field+".sourceImage", d.GetSourceImage()); err != nil {
			return err
		}
	}
	if err := completeDisk(field, d, kind.name, image); err != nil {
		return err
	}
	if !rfc1035.MatchString(self.name) {
		return invalid(field+".name", self.name, "Must be a match of regex '%s'", rfc1035)
	}
	if _, taken := s.mu.disks.find(self); taken {
		return exists(self.path())
	}
	d.Kind, d.Id, d.Name, d.SelfLink = new("compute#disk"), new(s.nextIDLocked()), new(self.name), new(self.link())
	d.CreationTimestamp, d.Zone, d.Type = new(timestamp(s.config.Clock.Now())), new(s.zoneLink(self.zone())), new(kind.link())
	d.Status, d.LabelFingerprint = new("CREATING"), new(labelFingerprint(d.GetLabels()))
	if d.PhysicalBlockSizeBytes == nil {
		d.PhysicalBlockSizeBytes = new(int64(4096))
	}
	if image != nil {
		d.SourceImage, d.SourceImageId = new(image.GetSelfLink()), new(fmt.Sprint(image.GetId()))
		d.Architecture = image.Architecture
		if len(d.GetGuestOsFeatures()) == 0 {
			d.GuestOsFeatures = image.GetGuestOsFeatures()
		}
	}
	return nil
}

func getDisk(s *Server, r *request) (answer, error) {
	d, err := s.mu.disks.get(s.ref(r))
	if err != nil {
		return nil, err
	}
	return d, nil
}

func listDisks(s *Server, r *request) (answer, error) {
	return list(r, &computepb.DiskList{Kind: new("compute#diskList")}, s.mu.disks.in(r.scope()))
}

func aggregatedDisks(s *Server, r *request) (answer, error) {
	return aggregated(s, r, &computepb.DiskAggregatedList{Kind: new("compute#diskAggregatedList")}, s.mu.disks)
}

// changeDiskLocked returns the disk of a request, which must be READY and in nobody
// else's hands, and what it is called.
func (s *Server) changeDiskLocked(r *request) (ref, *computepb.Disk, error) {
	self := s.ref(r)
	d, err := s.mu.disks.get(self)
	if err != nil {
		return self, nil, err
	}
	self.name = d.GetName()
	return self, d, s.readyLocked(self)
}

func deleteDisk(s *Server, r *request) (answer, error) {
	self, d, err := s.changeDiskLocked(r)
	if err != nil {
		return nil, err
	}
	if len(d.GetUsers()) > 0 {
		return nil, inUse("disk", self.path(), strings.TrimPrefix(d.GetUsers()[0], apiRoot))
	}
	d.Status = new("DELETING")
	gone := s.diskLocked(d)
	return s.beginLocked(r, work{
		verb: "delete", target: self, id: d.GetId(),
		act:    func(ctx context.Context) error { return s.config.Machines.DeleteDisk(ctx, gone) },
		commit: func() { s.mu.disks.remove(self.scope, d.GetName()) },
		undo:   func() { d.Status = new("READY") },
	}), nil
}

func resizeDisk(s *Server, r *request) (answer, error) {
	want := &computepb.DisksResizeRequest{}
	if err := r.decode(want); err != nil {
		return nil, err
	}
	self, d, err := s.changeDiskLocked(r)
	if err != nil {
		return nil, err
	}
	if want.SizeGb == nil {
		return nil, required("sizeGb")
	}
	next, err := cloneDisk(d)
	if err != nil {
		return nil, err
	}
	next.SizeGb = want.SizeGb
	if want.GetSizeGb() <= d.GetSizeGb() {
		return nil, invalid("sizeGb", fmt.Sprint(want.GetSizeGb()), "New disk size '%d' must be larger than existing size '%d'.", want.GetSizeGb(), d.GetSizeGb())
	}
	if err := completeDisk("resource", next, lastPart(d.GetType()), nil); err != nil {
		return nil, err
	}
	return s.replaceDiskLocked(r, "resizeDisk", self, d, next)
}

// updateDisk changes provisioned performance, and the size and labels, which
// may come along. Only what the mask or the paths name is looked at.
func updateDisk(s *Server, r *request) (answer, error) {
	want := &computepb.Disk{}
	if err := r.decode(want); err != nil {
		return nil, err
	}
	self, d, err := s.changeDiskLocked(r)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, text := range append(slices.Clone(r.query["paths"]), r.query.Get("updateMask")) {
		names = append(names, strings.FieldsFunc(text, func(c rune) bool { return c == ',' })...)
	}
	if len(names) == 0 {
		return nil, required("paths")
	}
	next, err := cloneDisk(d)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		switch name {
		case "provisionedIops":
			next.ProvisionedIops = want.ProvisionedIops
		case "provisionedThroughput":
			next.ProvisionedThroughput = want.ProvisionedThroughput
		case "sizeGb":
			next.SizeGb = want.SizeGb
		case "labels":
			next.Labels = want.Labels
			next.LabelFingerprint = new(labelFingerprint(want.GetLabels()))
		default:
			return nil, invalid("paths", name, "It cannot be updated.")
		}
	}
	if next.GetSizeGb() < d.GetSizeGb() {
		return nil, invalid("sizeGb", fmt.Sprint(next.GetSizeGb()), "New disk size must be larger than existing size '%d'.", d.GetSizeGb())
	}
	if err := completeDisk("resource", next, lastPart(d.GetType()), nil); err != nil {
		return nil, err
	}
	return s.replaceDiskLocked(r, "update", self, d, next)
}

// replaceDiskLocked begins the operation that makes a disk what next is.
func (s *Server) replaceDiskLocked(r *request, verb string, self ref, d, next *computepb.Disk) (answer, error) {
	more := usage{}
	for metric, n := range diskUsage(next) {
		more[metric] = n - diskUsage(d)[metric]
	}
	if err := s.affordLocked(regionOf(self.zone()), more); err != nil {
		return nil, err
	}
	maps.DeleteFunc(more, func(_ string, n float64) bool { return n <= 0 })
	release := s.reserveLocked(regionOf(self.zone()), more)
	grown := s.diskLocked(next)
	w := work{
		verb: verb, target: self, id: d.GetId(),
		commit: func() {
			d.SizeGb, d.ProvisionedIops, d.ProvisionedThroughput = next.SizeGb, next.ProvisionedIops, next.ProvisionedThroughput
			d.Labels, d.LabelFingerprint = next.Labels, next.LabelFingerprint
			s.showSizeLocked(d)
			release()
		},
		undo: release,
	}
	if next.GetSizeGb() != d.GetSizeGb() {
		w.act = func(ctx context.Context) error {
			s.mu.Lock()
			on := s.runsOnLocked(d)
			s.mu.Unlock()
			return s.config.Machines.ResizeDisk(ctx, grown, on)
		}
	}
	return s.beginLocked(r, w), nil
}

// runsOnLocked is the running instance that has a disk, nil for none.
func (s *Server) runsOnLocked(d *computepb.Disk) *Machine {
	for _, i := range s.mu.instances.in("") {
		if i.GetStatus() == "RUNNING" && slices.Contains(d.GetUsers(), i.GetSelfLink()) {
			return new(s.machineLocked(i))
		}
	}
	return nil
}

// showSizeLocked makes instances show the size of a disk that they have.
func (s *Server) showSizeLocked(d *computepb.Disk) {
	for _, i := range s.mu.instances.in("") {
		for _, a := range i.GetDisks() {
			if a.GetSource() == d.GetSelfLink() {
				a.DiskSizeGb = new(d.GetSizeGb())
			}
		}
	}
}

func setDiskLabels(s *Server, r *request) (answer, error) {
	want := &computepb.ZoneSetLabelsRequest{}
	if err := r.decode(want); err != nil {
		return nil, err
	}
	self, d, err := s.changeDiskLocked(r)
	if err != nil {
		return nil, err
	}
	if err := checkFingerprint("labels", want.GetLabelFingerprint(), d.GetLabelFingerprint()); err != nil {
		return nil, err
	}
	if err := checkLabels("labels", want.GetLabels()); err != nil {
		return nil, err
	}
	return s.beginLocked(r, work{verb: "setLabels", target: self, id: d.GetId(), commit: func() {
		d.Labels, d.LabelFingerprint = want.GetLabels(), new(labelFingerprint(want.GetLabels()))
	}}), nil
}

// diskLocked is a disk as Machines know it.
func (s *Server) diskLocked(d *computepb.Disk) Disk {
	return Disk{
		Project: s.config.Project, Zone: lastPart(d.GetZone()), Name: d.GetName(), ID: d.GetId(), Type: lastPart(d.GetType()), SizeGB: d.GetSizeGb(),
		IOPS: d.GetProvisionedIops(), ThroughputMB: d.GetProvisionedThroughput(), Image: d.GetSourceImage(),
	}
}

func cloneDisk(d *computepb.Disk) (*computepb.Disk, error) {
	c, ok := proto.Clone(d).(*computepb.Disk)
	if !ok {
		return nil, fmt.Errorf("a copy of %T is none", d)
	}
	return c, nil
}
