// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package gce

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
)

// limits are those of a type of disk, as Google's pages give them, for writes: those are what a store
// does. The API says no more of a type than its sizes.
type limits struct {
	minGB, maxGB int64
	// iops and throughput (MiB/s) follow from the size, where they are not provisioned:
	// base + perGB · size, at most most. most 0: not known.
	iops, throughput scale
	// askIOPS and askThroughput are the ranges that may be provisioned; nil: the type takes none.
	askIOPS       func(sizeGB int64) (least, most int64)
	askThroughput func(sizeGB, iops int64) (least, most int64)
}

// scale is a figure that grows with the size, in hundredths per GB.
type scale struct{ base, perGB100, most int64 }

func (s scale) of(sizeGB int64) int64 { return min(s.base+s.perGB100*sizeGB/100, s.most) }

const tib = 1024

var types = map[string]limits{
	"pd-standard": {minGB: 10, maxGB: 64 * tib, iops: scale{0, 150, 15000}, throughput: scale{0, 12, 400}},
	"pd-balanced": {minGB: 10, maxGB: 64 * tib, iops: scale{3000, 600, 80000}, throughput: scale{140, 28, 1200}},
	"pd-ssd":      {minGB: 10, maxGB: 64 * tib, iops: scale{6000, 3000, 100000}, throughput: scale{240, 48, 1200}},
	"pd-extreme": {minGB: 500, maxGB: 64 * tib, iops: scale{100000, 0, 100000},
		askIOPS: func(int64) (int64, int64) { return 2500, 120000 }},
	// Of Hyperdisk Balanced, base and growth are what disks were seen to get unasked.
	"hyperdisk-balanced": {minGB: 4, maxGB: 64 * tib, iops: scale{3000, 600, 160000}, throughput: scale{140, 150, 2400},
		askIOPS: func(gb int64) (int64, int64) { most := min(500*gb, 160000); return min(3000, most), most },
		askThroughput: func(_, iops int64) (int64, int64) {
			return max(140, (iops+255)/256), max(140, min(iops/4, 2400))
		}},
	"hyperdisk-extreme": {minGB: 64, maxGB: 64 * tib, iops: scale{0, 10000, 350000},
		askIOPS: func(gb int64) (int64, int64) { return max(128, 2*gb), min(1200*gb, 350000) }},
	"hyperdisk-throughput": {minGB: 2 * tib, maxGB: 32 * tib, throughput: scale{0, 9, 2400},
		askThroughput: func(gb, _ int64) (int64, int64) { return max(20, 10*gb/tib), min(90*gb/tib, 2400) }},
}

// speed is what a disk does: IOPS and MiB/s; 0 is not known.
type speed struct{ iops, throughput int64 }

// speed is what a disk of the kind and size does on a machine of a type.
func (k DiskKind) speed(sizeGB int64, machineType string) speed {
	t := types[k.Type]
	s := speed{t.iops.of(sizeGB), t.throughput.of(sizeGB)}
	if t.askIOPS != nil {
		_, most := t.askIOPS(sizeGB)
		s.iops = min(s.iops, most)
	}
	if k.IOPS != 0 {
		s.iops = k.IOPS
	}
	if t.askThroughput != nil {
		least, most := t.askThroughput(sizeGB, s.iops)
		s.throughput = max(least, min(s.throughput, most))
	}
	if k.ThroughputMiBs != 0 {
		s.throughput = k.ThroughputMiBs
	}
	top := machineLimit(k.Type, machineType)
	return speed{within(s.iops, top.iops), within(s.throughput, top.throughput)}
}

// within is n, or most where that is known and less.
func within(n, most int64) int64 {
	if most > 0 {
		return min(n, most)
	}
	return n
}

// machineLimit is what all disks of a type together do on a machine of a type, as far as it is in
// Google's tables in a form that does not change with the processor; 0 is not known.
func machineLimit(kind, machineType string) speed {
	series, cpus := machine(machineType)
	switch {
	case cpus == 0:
		return speed{}
	case kind == "pd-ssd" || kind == "pd-balanced":
		ssd := kind == "pd-ssd"
		pick := func(a, b int64) int64 {
			if ssd {
				return a
			}
			return b
		}
		switch {
		case !strings.Contains(" n1 n2 n2d c3 ", " "+series+" "):
			return speed{}
		case cpus == 1:
			return speed{15000, 204}
		case cpus < 8:
			return speed{15000, 240}
		case cpus < 16:
			return speed{15000, 800}
		case cpus < 32:
			return speed{pick(25000, 20000), 1200}
		case cpus < 64:
			return speed{pick(60000, 50000), 1200}
		}
		return speed{pick(100000, 80000), 1200}
	case kind == "hyperdisk-balanced" && series == "c3":
		switch {
		case cpus < 8:
			return speed{25000, 400}
		case cpus < 22:
			return speed{50000, 800}
		case cpus < 44:
			return speed{120000, 1800}
		}
		return speed{160000, 2400}
	}
	return speed{}
}

// series is the first part of a machine type: c3.
func series(machineType string) string { s, _ := machine(machineType); return s }

// machine is the series and the number of processors of a machine type: c3-standard-8-lssd; 0
// where its name does not say.
func machine(machineType string) (series string, cpus int64) {
	parts := strings.Split(machineType, "-")
	if len(parts) < 3 {
		return parts[0], 0
	}
	n, err := strconv.ParseInt(parts[2], 10, 32)
	if err != nil {
		return parts[0], 0
	}
	return parts[0], n
}

// disksOf are the types of disk that the machine types of a series take, by Google's pages of the machine
// families. A series that is not here is not judged.
var disksOf = map[string]string{
	"n1":  "pd-standard pd-balanced pd-ssd",
	"e2":  "pd-standard pd-balanced pd-ssd",
	"n2":  "pd-standard pd-balanced pd-ssd pd-extreme hyperdisk-balanced hyperdisk-extreme hyperdisk-throughput",
	"n2d": "pd-standard pd-balanced pd-ssd hyperdisk-balanced hyperdisk-throughput",
	"c3":  "pd-balanced pd-ssd hyperdisk-balanced hyperdisk-extreme hyperdisk-throughput",
	"c4":  "hyperdisk-balanced hyperdisk-extreme",
	"n4":  "hyperdisk-balanced hyperdisk-throughput",
	"c4a": "hyperdisk-balanced hyperdisk-extreme",
}

// takes tells whether a machine type takes a type of disk.
func takes(machineType, kind string) bool {
	all, known := disksOf[series(machineType)]
	return !known || slices.Contains(strings.Fields(all), kind)
}

// leastSideGB is the least size of a side disk.
const leastSideGB = 25

var (
	errType      = errors.New("not a type of disk that is known here")
	errLocal     = errors.New("a local SSD is blank after its machine was stopped")
	errSize      = errors.New("the type has no disks of that size")
	errUnasked   = errors.New("it takes none: they follow from size and machine")
	errProvision = errors.New("not in the range of type and size")
	errNotTaken  = errors.New("the machine type does not take such disks")
	errSideSmall = errors.New("a side disk has 25 GiB at least")
	errSideSlow  = errors.New("a side disk does a tenth of what the data disks do, at least")
)

// ofType names the type that an error is of.
func ofType(name string, err error) error { return fmt.Errorf("%s: %w", name, err) }

// checkDisk refuses what a type of disk cannot be.
func (k DiskKind) checkDisk(field string, sizeGB int64) error {
	wrong := func(what, value string, err error, next string) error {
		return &platform.Error{What: fmt.Sprintf("%s.%s %s cannot be had", field, what, value), Err: err, Next: next}
	}
	t, ok := types[k.Type]
	switch {
	case k.Type == "local-ssd":
		return wrong("type", k.Type, errLocal, "Use a persistent disk.")
	case !ok:
		return wrong("type", k.Type, errType, "Use pd-ssd, pd-balanced or hyperdisk-balanced.")
	case sizeGB < t.minGB || sizeGB > t.maxGB:
		return wrong("size", fmt.Sprintf("%d GB", sizeGB), errSize, fmt.Sprintf("%s has from %d to %d GB.", k.Type, t.minGB, t.maxGB))
	}
	if k.IOPS != 0 {
		if t.askIOPS == nil {
			return wrong("iops", fmt.Sprint(k.IOPS), ofType(k.Type, errUnasked), "Leave it out, or use a Hyperdisk type.")
		}
		if least, most := t.askIOPS(sizeGB); k.IOPS < least || k.IOPS > most {
			return wrong("iops", fmt.Sprint(k.IOPS), errProvision, fmt.Sprintf("A %s of %d GB takes from %d to %d IOPS.", k.Type, sizeGB, least, most))
		}
	}
	if k.ThroughputMiBs != 0 {
		if t.askThroughput == nil {
			return wrong("throughput", fmt.Sprint(k.ThroughputMiBs), ofType(k.Type, errUnasked), "Leave it out, or use a Hyperdisk type.")
		}
		iops := k.speed(sizeGB, "").iops
		if least, most := t.askThroughput(sizeGB, iops); k.ThroughputMiBs < least || k.ThroughputMiBs > most {
			return wrong("throughput", fmt.Sprint(k.ThroughputMiBs), errProvision, fmt.Sprintf("A %s of %d GB with %d IOPS takes from %d to %d MiB/s.", k.Type, sizeGB, iops, least, most))
		}
	}
	return nil
}

// checkSide holds a side disk to its rules, next to one data disk: what is diverted to it while
// that one hangs must find room and be written as fast as it comes.
func checkSide(side DiskKind, sideGB int64, data DiskKind, dataGB int64, machineType string) error {
	wrong := func(value string, err error, next string) error {
		return &platform.Error{What: "side_disk " + value + " cannot be used", Err: err, Next: next}
	}
	if sideGB < leastSideGB {
		return wrong(fmt.Sprintf("of %d GB", sideGB), errSideSmall, "Make it 25 GB or larger.")
	}
	s, d := side.speed(sideGB, machineType), data.speed(dataGB, machineType)
	if s.iops > 0 && s.iops*10 < d.iops {
		return wrong(fmt.Sprintf("(%s, %d GB) of %d IOPS", side.Type, sideGB, s.iops), errSideSlow, fmt.Sprintf("The data disk does %d on a %s: %d are needed. Provision them, or use a faster type or more gigabytes.", d.iops, machineType, (d.iops+9)/10))
	}
	if s.throughput > 0 && s.throughput*10 < d.throughput {
		return wrong(fmt.Sprintf("(%s, %d GB) of %d MiB/s", side.Type, sideGB, s.throughput), errSideSlow, fmt.Sprintf("The data disk does %d on a %s: %d are needed. Provision them, or use a faster type or more gigabytes.", d.throughput, machineType, (d.throughput+9)/10))
	}
	return nil
}

// checkLimits holds all disks of a cluster to the limits of their types and to the rules for
// the side disk.
func (c Config) checkLimits(p platform.Cluster) problems {
	var all problems
	sideGB := gigabytes(p.SideDisk.SizeBytes)
	sound := true
	check := func(field string, k DiskKind, gb int64) {
		if err := k.checkDisk(field, gb); err != nil {
			all.add(err)
			sound = false
		}
	}
	for i, s := range p.Stores {
		check(fmt.Sprintf("stores[%d].disk", i), c.store(i), gigabytes(s.SizeBytes))
	}
	check("side_disk", c.SideDisk, sideGB)
	if !sound {
		return all
	}
	told := map[string]bool{}
	once := func(err error) { // nodes mostly have one machine type
		if err != nil && !told[err.Error()] {
			told[err.Error()] = true
			all.add(err)
		}
	}
	for _, n := range p.Nodes {
		machineType := c.Nodes[n.Name].MachineType
		kinds := []string{c.SideDisk.Type, c.boot(machineType)}
		for i, s := range p.Stores {
			kinds = append(kinds, c.store(i).Type)
			once(checkSide(c.SideDisk, sideGB, c.store(i), gigabytes(s.SizeBytes), machineType))
		}
		for _, kind := range kinds {
			if !takes(machineType, kind) {
				once(&platform.Error{What: "a disk of type " + kind + " on a " + machineType, Err: errNotTaken, Next: "Use one of these: " + strings.Join(strings.Fields(disksOf[series(machineType)]), ", ") + "."})
			}
		}
	}
	return all
}
