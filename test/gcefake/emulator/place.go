// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package emulator

import (
	"fmt"
	"net/http"
	"slices"

	"cloud.google.com/go/compute/apiv1/computepb"
)

// checkScope refuses projects, zones and regions that are not there.
func (s *Server) checkScope(r *request) error {
	if p := r.params["project"]; p != s.config.Project {
		if r.method.Resource() == "images" && !r.method.Mutates() && s.publicProject(p) {
			return nil
		}
		return &HTTPError{Status: http.StatusNotFound, Reason: "notFound", Message: fmt.Sprintf("The resource 'projects/%s' was not found", p)}
	}
	if z, ok := r.params["zone"]; ok && r.method.Resource() != "zones" && !slices.Contains(s.config.Zones, z) {
		return invalid("zone", z, "Unknown zone.")
	}
	if region, ok := r.params["region"]; ok && r.method.Resource() != "regions" && !slices.Contains(s.regions(), region) {
		return invalid("region", region, "Unknown region.")
	}
	return nil
}

// regions are those of the zones, in the order in which they first appear.
func (s *Server) regions() []string {
	var regions []string
	for _, z := range s.config.Zones {
		if r := regionOf(z); !slices.Contains(regions, r) {
			regions = append(regions, r)
		}
	}
	return regions
}

func (s *Server) zoneLink(zone string) string {
	return ref{s.config.Project, "", "zones", zone}.link()
}

func (s *Server) regionLink(region string) string {
	return ref{s.config.Project, "", "regions", region}.link()
}

func (s *Server) zoneMessage(zone string) *computepb.Zone {
	return &computepb.Zone{
		Kind: new("compute#zone"), Id: new(catalogueID(zone)), Name: &zone, Description: &zone, SelfLink: new(s.zoneLink(zone)),
		Region: new(s.regionLink(regionOf(zone))), Status: new("UP"), CreationTimestamp: new(beginning),
	}
}

func (s *Server) regionMessageLocked(region string) *computepb.Region {
	m := &computepb.Region{
		Kind: new("compute#region"), Id: new(catalogueID(region)), Name: &region, Description: &region, SelfLink: new(s.regionLink(region)),
		Status: new("UP"), CreationTimestamp: new(beginning), Quotas: s.quotasLocked(region),
	}
	for _, z := range s.config.Zones {
		if regionOf(z) == region {
			m.Zones = append(m.Zones, s.zoneLink(z))
		}
	}
	return m
}

func getZone(s *Server, r *request) (answer, error) {
	if !slices.Contains(s.config.Zones, r.name()) {
		return nil, notFound(s.ref(r).path())
	}
	return s.zoneMessage(r.name()), nil
}

func listZones(s *Server, r *request) (answer, error) {
	var rows []*computepb.Zone
	for _, z := range s.config.Zones {
		rows = append(rows, s.zoneMessage(z))
	}
	return list(r, &computepb.ZoneList{Kind: new("compute#zoneList")}, rows)
}

func getRegion(s *Server, r *request) (answer, error) {
	if !slices.Contains(s.regions(), r.name()) {
		return nil, notFound(s.ref(r).path())
	}
	return s.regionMessageLocked(r.name()), nil
}

func listRegions(s *Server, r *request) (answer, error) {
	var rows []*computepb.Region
	for _, region := range s.regions() {
		rows = append(rows, s.regionMessageLocked(region))
	}
	return list(r, &computepb.RegionList{Kind: new("compute#regionList")}, rows)
}

func getProject(s *Server, r *request) (answer, error) {
	name := s.config.Project
	return &computepb.Project{
		Kind: new("compute#project"), Id: new(catalogueID(name)), Name: &name, SelfLink: new(apiRoot + "projects/" + name), CreationTimestamp: new(beginning),
		DefaultServiceAccount: new(s.defaultServiceAccount()), CommonInstanceMetadata: &computepb.Metadata{Kind: new("compute#metadata"), Fingerprint: new(fingerprint())},
		Quotas: s.quotasLocked(""), DefaultNetworkTier: new("PREMIUM"),
	}, nil
}

// projectNumber is the number of the project, which its service account bears.
const projectNumber = "123456789012"

func (s *Server) defaultServiceAccount() string {
	return projectNumber + "-compute@developer.gserviceaccount.com"
}

// SetExhausted says whether a zone has no room for machines: creating and
// starting one fails there, and the error names the region's other zones.
func (s *Server) SetExhausted(zone string, exhausted bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.exhausted[zone] = exhausted
}

// exhaustedLocked is the error that a machine finds in the zone, nil for none.
func (s *Server) exhaustedLocked(zone, machineType string) *OperationError {
	if !s.mu.exhausted[zone] {
		return nil
	}
	var others []string
	for _, z := range s.config.Zones {
		if regionOf(z) == regionOf(zone) && !s.mu.exhausted[z] {
			others = append(others, z)
		}
	}
	return ZoneExhausted(s.config.Project, zone, machineType, others)
}
