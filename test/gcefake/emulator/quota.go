// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package emulator

import (
	"maps"
	"slices"

	"cloud.google.com/go/compute/apiv1/computepb"
)

// Limits of a new project, in the order of magnitude that such projects have.
var regionLimits = map[string]float64{
	"CPUS": 72, "N2_CPUS": 64, "N2D_CPUS": 64, "C3_CPUS": 64, "INSTANCES": 72, "IN_USE_ADDRESSES": 16,
	"DISKS_TOTAL_GB": 8192, "SSD_TOTAL_GB": 2048, "HDB_TOTAL_GB": 4096, "HDB_TOTAL_IOPS": 160000, "HDB_TOTAL_THROUGHPUT": 8192,
	"LOCAL_SSD_TOTAL_GB": 6000,
}

var projectLimits = map[string]float64{"NETWORKS": 5, "SUBNETWORKS": 100, "FIREWALLS": 100, "IMAGES": 100}

// limit of a metric, in each region or in the project.
func (s *Server) limit(metric string) float64 {
	if n, ok := s.config.Quota[metric]; ok {
		return n
	}
	if n, ok := regionLimits[metric]; ok {
		return n
	}
	return projectLimits[metric]
}

// usage is an amount of each metric.
type usage map[string]float64

// usageLocked counts what a region uses, or for "" what the project does. It is
// counted from the resources each time, so there is no account to go wrong; but
// for what a disk will be larger by once its operation is DONE.
func (s *Server) usageLocked(region string) usage {
	u := usage{}
	if region == "" {
		u["NETWORKS"] = float64(len(s.mu.networks.rows))
		u["SUBNETWORKS"] = float64(len(s.mu.subnetworks.rows))
		u["FIREWALLS"] = float64(len(s.mu.firewalls.rows))
		u["IMAGES"] = float64(len(s.mu.images.rows))
		return u
	}
	u.add(s.mu.reserved[region])
	for _, d := range s.mu.disks.in("") {
		if regionOf(lastPart(d.GetZone())) == region {
			u.add(diskUsage(d))
		}
	}
	for _, i := range s.mu.instances.in("") {
		if regionOf(lastPart(i.GetZone())) == region {
			u.add(instanceUsage(i))
		}
	}
	return u
}

// reserveLocked counts an amount as used until the function that it returns is
// called.
func (s *Server) reserveLocked(region string, more usage) func() {
	if s.mu.reserved[region] == nil {
		s.mu.reserved[region] = usage{}
	}
	s.mu.reserved[region].add(more)
	return func() {
		for metric, n := range more {
			s.mu.reserved[region][metric] -= n
		}
	}
}

func (u usage) add(more usage) {
	for metric, n := range more {
		u[metric] += n
	}
}

func diskUsage(d *computepb.Disk) usage {
	kind := lastPart(d.GetType())
	u := usage{diskTypes[kind].quota: float64(d.GetSizeGb())}
	if kind == "hyperdisk-balanced" {
		u["HDB_TOTAL_IOPS"] = float64(d.GetProvisionedIops())
		u["HDB_TOTAL_THROUGHPUT"] = float64(d.GetProvisionedThroughput())
	}
	return u
}

// instanceUsage is what an instance uses beside its persistent disks. One that
// is stopped keeps its place among the instances, and no CPUs or addresses.
func instanceUsage(i *computepb.Instance) usage {
	u := usage{"INSTANCES": 1}
	if i.GetStatus() == "TERMINATED" {
		return u
	}
	kind := lastPart(i.GetMachineType())
	u[seriesOf(kind).quota] += float64(machineTypes[kind].cpus)
	for _, d := range i.GetDisks() {
		if d.GetType() == "SCRATCH" {
			u["LOCAL_SSD_TOTAL_GB"] += localSSDGB
		}
	}
	for _, nic := range i.GetNetworkInterfaces() {
		u["IN_USE_ADDRESSES"] += float64(len(nic.GetAccessConfigs()))
	}
	return u
}

// affordLocked refuses what would exceed a limit, of a region or, for "", of
// the project.
func (s *Server) affordLocked(region string, want usage) error {
	used := s.usageLocked(region)
	for _, metric := range slices.Sorted(maps.Keys(want)) {
		if limit := s.limit(metric); want[metric] > 0 && used[metric]+want[metric] > limit {
			if region == "" {
				return quotaExceeded(metric, limit, " globally")
			}
			return quotaExceeded(metric, limit, " in region "+region)
		}
	}
	return nil
}

func (s *Server) quotasLocked(region string) []*computepb.Quota {
	limits := regionLimits
	if region == "" {
		limits = projectLimits
	}
	used := s.usageLocked(region)
	var quotas []*computepb.Quota
	for _, metric := range slices.Sorted(maps.Keys(limits)) {
		quotas = append(quotas, &computepb.Quota{Metric: &metric, Limit: new(s.limit(metric)), Usage: new(used[metric])})
	}
	return quotas
}
