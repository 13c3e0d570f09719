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

func publicImage(p PublicImage) *computepb.Image {
	self := ref{p.Project, "global", "images", p.Name}
	architecture := p.Architecture
	if architecture == "" {
		architecture = "X86_64"
	}
	m := &computepb.Image{
		Kind: new("compute#image"), Id: new(catalogueID(self.path())), Name: new(p.Name), SelfLink: new(self.link()), Family: new(p.Family),
		DiskSizeGb: new(p.SizeGB), ArchiveSizeBytes: new(p.SizeGB << 27), Architecture: new(architecture), Status: new("READY"), SourceType: new("RAW"),
		CreationTimestamp: new("2026-02-10T04:00:00.000-08:00"), LabelFingerprint: new(fingerprint()),
		GuestOsFeatures: []*computepb.GuestOsFeature{{Type: new("VIRTIO_SCSI_MULTIQUEUE")}, {Type: new("GVNIC")}},
	}
	if p.UEFI {
		m.GuestOsFeatures = append(m.GuestOsFeatures, &computepb.GuestOsFeature{Type: new("UEFI_COMPATIBLE")})
	}
	return m
}

func (s *Server) publicProject(project string) bool {
	return slices.ContainsFunc(s.mu.public, func(i *computepb.Image) bool {
		return strings.HasPrefix(i.GetSelfLink(), apiRoot+"projects/"+project+"/")
	})
}

// imagesLocked are the images of a project, the public ones among them.
func (s *Server) imagesLocked(project string) []*computepb.Image {
	if project == s.config.Project {
		return s.mu.images.in("")
	}
	var images []*computepb.Image
	for _, i := range s.mu.public {
		if strings.HasPrefix(i.GetSelfLink(), apiRoot+"projects/"+project+"/") {
			images = append(images, i)
		}
	}
	return images
}

// imageLocked is the image that a reference names, or the newest of the family
// that it names.
func (s *Server) imageLocked(r ref) (*computepb.Image, error) {
	family, isFamily := strings.CutPrefix(r.name, "family/")
	var found *computepb.Image
	for _, i := range s.imagesLocked(r.project) {
		switch {
		case !isFamily && (i.GetName() == r.name || fmt.Sprint(i.GetId()) == r.name):
			return i, nil
		case isFamily && i.GetFamily() == family && i.GetDeprecated() == nil && i.GetStatus() == "READY":
			if found == nil || i.GetCreationTimestamp() >= found.GetCreationTimestamp() {
				found = i
			}
		}
	}
	if found == nil {
		return nil, notFound(r.path())
	}
	return found, nil
}

// sourceImageLocked is the image that a field names.
func (s *Server) sourceImageLocked(field, value string) (*computepb.Image, error) {
	r, err := s.refField(field, value, "images")
	if err != nil {
		return nil, err
	}
	i, err := s.imageLocked(r)
	if err != nil {
		return nil, err
	}
	if i.GetStatus() != "READY" {
		return nil, notReady(r.path())
	}
	return i, nil
}

func getImage(s *Server, r *request) (answer, error) {
	i, err := s.imageLocked(ref{r.params["project"], "global", "images", r.params["image"]})
	if err != nil {
		return nil, err
	}
	return i, nil
}

func getImageFromFamily(s *Server, r *request) (answer, error) {
	i, err := s.imageLocked(ref{r.params["project"], "global", "images", "family/" + r.params["family"]})
	if err != nil {
		return nil, err
	}
	return i, nil
}

func listImages(s *Server, r *request) (answer, error) {
	return list(r, &computepb.ImageList{Kind: new("compute#imageList")}, s.imagesLocked(r.params["project"]))
}

// insertImage makes an image of a disk. Other sources are not emulated.
func insertImage(s *Server, r *request) (answer, error) {
	i := &computepb.Image{}
	if err := r.decode(i); err != nil {
		return nil, err
	}
	self := s.ref(r)
	if i.GetSourceDisk() == "" {
		return nil, invalid("resource.sourceDisk", "", "The emulator makes images of disks only.")
	}
	source, err := s.refField("resource.sourceDisk", i.GetSourceDisk(), "disks")
	if err != nil {
		return nil, err
	}
	d, err := s.mu.disks.get(source)
	if err != nil {
		return nil, err
	}
	if err := s.readyLocked(source); err != nil {
		return nil, err
	}
	for _, user := range d.GetUsers() {
		u, err := parseRef(s.config.Project, user)
		if err != nil {
			return nil, err
		}
		if machine, ok := s.mu.instances.find(u); ok && machine.GetStatus() != "TERMINATED" && r.query.Get("forceCreate") != "true" {
			return nil, badRequest("resourceInUseByAnotherResource", "The disk resource '%s' is already being used by '%s'", source.path(), u.path())
		}
	}
	if err := checkLabels("resource.labels", i.GetLabels()); err != nil {
		return nil, err
	}
	if i.Family != nil && !rfc1035.MatchString(i.GetFamily()) {
		return nil, invalid("resource.family", i.GetFamily(), "Must be a match of regex '%s'.", rfc1035)
	}
	if _, taken := s.mu.images.find(self); taken {
		return nil, exists(self.path())
	}
	if err := s.affordLocked("", usage{"IMAGES": 1}); err != nil {
		return nil, err
	}
	i.Kind, i.Id, i.SelfLink, i.CreationTimestamp = new("compute#image"), new(s.nextIDLocked()), new(self.link()), new(timestamp(s.config.Clock.Now()))
	i.Status, i.SourceType, i.DiskSizeGb = new("PENDING"), new("RAW"), new(d.GetSizeGb())
	i.ArchiveSizeBytes, i.SourceDisk, i.SourceDiskId = new(d.GetSizeGb()<<27), new(source.link()), new(fmt.Sprint(d.GetId()))
	i.LabelFingerprint = new(labelFingerprint(i.GetLabels()))
	if i.Architecture == nil {
		i.Architecture = d.Architecture
	}
	if len(i.GetGuestOsFeatures()) == 0 {
		i.GuestOsFeatures = d.GetGuestOsFeatures()
	}
	s.mu.images.put("global", i)
	of := s.diskLocked(d)
	return s.beginLocked(r, work{
		verb: "insert", target: self, id: i.GetId(), hold: []ref{source},
		act:    func(ctx context.Context) error { return s.config.Machines.CreateImage(ctx, self.link(), of) },
		commit: func() { i.Status = new("READY") },
		undo:   func() { s.mu.images.remove("global", i.GetName()) },
	}), nil
}

func deleteImage(s *Server, r *request) (answer, error) {
	self := s.ref(r)
	i, err := s.mu.images.get(self)
	if err != nil {
		return nil, err
	}
	if err := s.readyLocked(self); err != nil {
		return nil, err
	}
	before := i.GetStatus()
	i.Status = new("DELETING")
	return s.beginLocked(r, work{
		verb: "delete", target: self, id: i.GetId(),
		act:    func(ctx context.Context) error { return s.config.Machines.DeleteImage(ctx, i.GetSelfLink()) },
		commit: func() { s.mu.images.remove("global", i.GetName()) },
		undo:   func() { i.Status = &before },
	}), nil
}

// patchImage changes the family and the description; nothing else of an image can be.
func patchImage(s *Server, r *request) (answer, error) {
	want := &computepb.Image{}
	if err := r.decode(want); err != nil {
		return nil, err
	}
	self, i, err := s.changeImageLocked(r)
	if err != nil {
		return nil, err
	}
	if want.GetFamily() != "" && !rfc1035.MatchString(want.GetFamily()) {
		return nil, invalid("resource.family", want.GetFamily(), "Must be a match of regex '%s'.", rfc1035)
	}
	return s.beginLocked(r, work{verb: "patch", target: self, id: i.GetId(), commit: func() {
		if want.Family != nil {
			i.Family = want.Family
		}
		if want.Description != nil {
			i.Description = want.Description
		}
	}}), nil
}

func setImageLabels(s *Server, r *request) (answer, error) {
	want := &computepb.GlobalSetLabelsRequest{}
	if err := r.decode(want); err != nil {
		return nil, err
	}
	self, i, err := s.changeImageLocked(r)
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

// changeImageLocked returns the image of a request, which must be in nobody else's hands, and what it is called.
func (s *Server) changeImageLocked(r *request) (ref, *computepb.Image, error) {
	self := s.ref(r)
	i, err := s.mu.images.get(self)
	if err != nil {
		return self, nil, err
	}
	self.name = i.GetName()
	return self, i, s.readyLocked(self)
}
