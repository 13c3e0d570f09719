// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package emulator

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"cloud.google.com/go/compute/apiv1/computepb"
)

// machineType is a row of the catalogue. The figures are those of Google's
// pages on machine families; only what the provider may ask for is here.
type machineType struct {
	cpus, memoryMB int
	arm            bool
	sharedCore     bool
	// bundledSSDs is how many local SSDs come with the type.
	bundledSSDs int
	// maxDisks is how many disks may be attached, the boot disk included.
	maxDisks int
}

// machineSeries is what all types of a series share.
type machineSeries struct {
	quota string // metric of its CPUs
	disks []string
	// localSSDs are the numbers of local SSDs that may be asked for; nil for none.
	localSSDs []int
	nvme      bool // every disk is an NVMe namespace
}

var persistentDisks = []string{"pd-standard", "pd-balanced", "pd-ssd"}

var series = map[string]machineSeries{
	"n1":  {quota: "CPUS", disks: persistentDisks, localSSDs: []int{1, 2, 3, 4, 5, 6, 7, 8, 16, 24}},
	"e2":  {quota: "CPUS", disks: persistentDisks},
	"n2":  {quota: "N2_CPUS", disks: append([]string{"pd-extreme", "hyperdisk-balanced", "hyperdisk-extreme", "hyperdisk-throughput"}, persistentDisks...), localSSDs: []int{1, 2, 4, 8, 16, 24}},
	"n2d": {quota: "N2D_CPUS", disks: append([]string{"hyperdisk-balanced", "hyperdisk-throughput"}, persistentDisks...), localSSDs: []int{1, 2, 4, 8, 16, 24}},
	"c3":  {quota: "C3_CPUS", disks: []string{"pd-balanced", "pd-ssd", "hyperdisk-balanced", "hyperdisk-extreme", "hyperdisk-throughput"}, nvme: true},
	"c4":  {quota: "CPUS", disks: []string{"hyperdisk-balanced", "hyperdisk-extreme"}, nvme: true},
	"n4":  {quota: "CPUS", disks: []string{"hyperdisk-balanced", "hyperdisk-throughput"}, nvme: true},
	"c4a": {quota: "CPUS", disks: []string{"hyperdisk-balanced", "hyperdisk-extreme"}, nvme: true},
}

var machineTypes = catalogue()

func catalogue() map[string]machineType {
	types := map[string]machineType{
		"f1-micro":  {cpus: 1, memoryMB: 614, sharedCore: true, maxDisks: 16},
		"e2-micro":  {cpus: 2, memoryMB: 1024, sharedCore: true, maxDisks: 16},
		"e2-small":  {cpus: 2, memoryMB: 2048, sharedCore: true, maxDisks: 16},
		"e2-medium": {cpus: 2, memoryMB: 4096, sharedCore: true, maxDisks: 16},
	}
	add := func(prefix string, mbPerCPU int, cpus ...int) {
		for _, n := range cpus {
			types[fmt.Sprintf("%s-%d", prefix, n)] = machineType{cpus: n, memoryMB: n * mbPerCPU, maxDisks: 128}
		}
	}
	add("n1-standard", 3840, 1, 2, 4, 8, 16)
	for _, s := range []string{"e2", "n2", "n2d"} {
		add(s+"-standard", 4096, 2, 4, 8, 16)
		add(s+"-highmem", 8192, 2, 4, 8, 16)
	}
	add("c3-standard", 4096, 4, 8, 22, 44)
	add("c3-highmem", 8192, 4, 8, 22, 44)
	add("c4-standard", 3840, 2, 4, 8, 16)
	add("n4-standard", 4096, 2, 4, 8, 16)
	add("c4a-standard", 4096, 1, 2, 4, 8, 16)
	for name, ssds := range map[string]int{"c3-standard-4": 1, "c3-standard-8": 2, "c3-standard-22": 4, "c3-standard-44": 8} {
		t := types[name]
		t.bundledSSDs = ssds
		types[name+"-lssd"] = t
	}
	for name, t := range types {
		t.arm = strings.HasPrefix(name, "c4a-")
		types[name] = t
	}
	return types
}

// seriesOf is the series of a machine type. f1 is part of n1.
func seriesOf(machineType string) machineSeries {
	name, _, _ := strings.Cut(machineType, "-")
	if name == "f1" {
		name = "n1"
	}
	return series[name]
}

// diskType is a row of the catalogue of disk types.
type diskType struct {
	minGB, maxGB, defaultGB int64
	// quota is the metric that a size counts for.
	quota string
	// iops and throughput give the range in which a disk of a size may be
	// provisioned, and what it gets unasked; nil where the type takes none.
	iops       func(sizeGB int64) provision
	throughput func(sizeGB, iops int64) provision
}

// provision is a range of a provisioned figure.
type provision struct{ least, most, unasked int64 }

const tib = 1024

// The figures are those of Google's pages on each type, but for what Hyperdisk
// Balanced gets unasked, which is what disks were seen to have.
var diskTypes = map[string]diskType{
	"pd-standard": {minGB: 10, maxGB: 64 * tib, defaultGB: 500, quota: "DISKS_TOTAL_GB"},
	"pd-balanced": {minGB: 10, maxGB: 64 * tib, defaultGB: 100, quota: "SSD_TOTAL_GB"},
	"pd-ssd":      {minGB: 10, maxGB: 64 * tib, defaultGB: 100, quota: "SSD_TOTAL_GB"},
	"pd-extreme": {minGB: 500, maxGB: 64 * tib, defaultGB: 1000, quota: "SSD_TOTAL_GB",
		iops: func(int64) provision { return provision{2500, 120000, 100000} }},
	"hyperdisk-balanced": {minGB: 4, maxGB: 64 * tib, defaultGB: 100, quota: "HDB_TOTAL_GB",
		iops: func(gb int64) provision {
			most := min(500*gb, 160000)
			return provision{min(3000, most), most, min(3000+6*gb, most)}
		},
		throughput: func(gb, iops int64) provision {
			least, most := max(140, (iops+255)/256), max(140, min(iops/4, 2400))
			return provision{least, most, min(max(140+gb*3/2, least), most)}
		}},
	"hyperdisk-extreme": {minGB: 64, maxGB: 64 * tib, defaultGB: 1000, quota: "SSD_TOTAL_GB",
		iops: func(gb int64) provision {
			return provision{max(128, 2*gb), min(1200*gb, 350000), min(100*gb, 350000)}
		}},
	"hyperdisk-throughput": {minGB: 2 * tib, maxGB: 32 * tib, defaultGB: 2 * tib, quota: "DISKS_TOTAL_GB",
		throughput: func(gb, _ int64) provision {
			return provision{max(20, 10*gb/tib), min(90*gb/tib, 2400), min(90*gb/tib, 2400)}
		}},
}

// localSSD is the type of a scratch disk: 375 GB, attached for good when the
// instance is made.
const (
	localSSD   = "local-ssd"
	localSSDGB = 375
)

func (s *Server) machineTypeMessage(zone, name string) *computepb.MachineType {
	t := machineTypes[name]
	self := ref{s.config.Project, "zones/" + zone, "machineTypes", name}
	architecture := "X86_64"
	if t.arm {
		architecture = "ARM64"
	}
	m := &computepb.MachineType{
		Kind: new("compute#machineType"), Id: new(catalogueID(name)), Name: &name, SelfLink: new(self.link()), Zone: &zone,
		Description: new(fmt.Sprintf("%d vCPUs, %d GB RAM", t.cpus, t.memoryMB/1024)), GuestCpus: new(int32(t.cpus)), MemoryMb: new(int32(t.memoryMB)),
		IsSharedCpu: new(t.sharedCore), MaximumPersistentDisks: new(int32(t.maxDisks)), MaximumPersistentDisksSizeGb: new(int64(263168)),
		Architecture: &architecture, CreationTimestamp: new(beginning), ImageSpaceGb: new(int32(0)),
	}
	if t.bundledSSDs > 0 {
		m.BundledLocalSsds = &computepb.BundledLocalSsds{DefaultInterface: new("NVME"), PartitionCount: new(int32(t.bundledSSDs))}
	}
	return m
}

func (s *Server) diskTypeMessage(zone, name string) *computepb.DiskType {
	t := diskTypes[name]
	if name == localSSD {
		t = diskType{minGB: localSSDGB, maxGB: localSSDGB, defaultGB: localSSDGB}
	}
	self := ref{s.config.Project, "zones/" + zone, "diskTypes", name}
	return &computepb.DiskType{
		Kind: new("compute#diskType"), Id: new(catalogueID(name)), Name: &name, SelfLink: new(self.link()), Zone: new(s.zoneLink(zone)),
		DefaultDiskSizeGb: &t.defaultGB, ValidDiskSize: new(fmt.Sprintf("%dGB-%dGB", t.minGB, t.maxGB)), CreationTimestamp: new(beginning),
	}
}

// beginning is when the parts of the catalogue were made.
const beginning = "1969-12-31T16:00:00.000-08:00"

// catalogueID is a stable number for a name.
func catalogueID(name string) uint64 {
	var id uint64 = 14695981039346656037
	for _, b := range []byte(name) {
		id = (id ^ uint64(b)) * 1099511628211
	}
	return id >> 1
}

func listMachineTypes(s *Server, r *request) (answer, error) {
	var rows []*computepb.MachineType
	for _, name := range slices.Sorted(maps.Keys(machineTypes)) {
		rows = append(rows, s.machineTypeMessage(r.params["zone"], name))
	}
	return list(r, &computepb.MachineTypeList{Kind: new("compute#machineTypeList")}, rows)
}

func getMachineType(s *Server, r *request) (answer, error) {
	if _, ok := machineTypes[r.name()]; !ok {
		return nil, notFound(s.ref(r).path())
	}
	return s.machineTypeMessage(r.params["zone"], r.name()), nil
}

func listDiskTypes(s *Server, r *request) (answer, error) {
	var rows []*computepb.DiskType
	for _, name := range append(slices.Sorted(maps.Keys(diskTypes)), localSSD) {
		rows = append(rows, s.diskTypeMessage(r.params["zone"], name))
	}
	return list(r, &computepb.DiskTypeList{Kind: new("compute#diskTypeList")}, rows)
}

func getDiskType(s *Server, r *request) (answer, error) {
	if _, ok := diskTypes[r.name()]; !ok && r.name() != localSSD {
		return nil, notFound(s.ref(r).path())
	}
	return s.diskTypeMessage(r.params["zone"], r.name()), nil
}
