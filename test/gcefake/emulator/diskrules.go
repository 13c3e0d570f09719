// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package emulator

import (
	"fmt"

	"cloud.google.com/go/compute/apiv1/computepb"
)

// completeDisk decides what a new disk of a type becomes: it fills in what was
// not asked for, and refuses what the type or the image does not allow.
func completeDisk(field string, d *computepb.Disk, kind string, image *computepb.Image) error {
	t, ok := diskTypes[kind]
	if !ok {
		return invalid(field+".type", kind, "The emulator does not know this type of disk.")
	}
	if d.SizeGb == nil {
		d.SizeGb = new(t.defaultGB)
		if image != nil {
			d.SizeGb = new(max(image.GetDiskSizeGb(), t.minGB))
		}
		if d.ProvisionedIops != nil || d.ProvisionedThroughput != nil {
			return invalid(field+".sizeGb", "", "A size must be specified where IOPS or throughput are.")
		}
	}
	if d.GetSizeGb() < t.minGB || d.GetSizeGb() > t.maxGB {
		return invalid(field+".sizeGb", fmt.Sprint(d.GetSizeGb()), "Disk size: %d is not valid for disk type %s: must be between %d GB and %d GB.", d.GetSizeGb(), kind, t.minGB, t.maxGB)
	}
	if image != nil && d.GetSizeGb() < image.GetDiskSizeGb() {
		return invalid(field+".sizeGb", fmt.Sprint(d.GetSizeGb()), "Requested disk size cannot be smaller than the image size (%d GB)", image.GetDiskSizeGb())
	}
	if err := checkLabels(field+".labels", d.GetLabels()); err != nil {
		return err
	}
	return completePerformance(field, d, kind)
}

// completePerformance holds provisioned IOPS and throughput to the limits of
// type and size, and fills in what a disk gets unasked.
func completePerformance(field string, d *computepb.Disk, kind string) error {
	t := diskTypes[kind]
	switch {
	case t.iops == nil && d.ProvisionedIops != nil:
		return invalid(field+".provisionedIops", fmt.Sprint(d.GetProvisionedIops()), "Cannot specify provisioned iops for disk type %s.", kind)
	case t.throughput == nil && d.ProvisionedThroughput != nil:
		return invalid(field+".provisionedThroughput", fmt.Sprint(d.GetProvisionedThroughput()), "Cannot specify provisioned throughput for disk type %s.", kind)
	}
	if t.iops != nil {
		limits := t.iops(d.GetSizeGb())
		if d.ProvisionedIops == nil {
			d.ProvisionedIops = &limits.unasked
		}
		if err := limits.check(field+".provisionedIops", "iops", d.GetProvisionedIops(), kind, d.GetSizeGb()); err != nil {
			return err
		}
	}
	if t.throughput != nil {
		limits := t.throughput(d.GetSizeGb(), d.GetProvisionedIops())
		if d.ProvisionedThroughput == nil {
			d.ProvisionedThroughput = &limits.unasked
		}
		return limits.check(field+".provisionedThroughput", "throughput", d.GetProvisionedThroughput(), kind, d.GetSizeGb())
	}
	return nil
}

func (p provision) check(field, what string, n int64, kind string, sizeGB int64) error {
	if n < p.least || n > p.most {
		return invalid(field, fmt.Sprint(n), "Provisioned %s for a %s disk of %d GB must be between %d and %d.", what, kind, sizeGB, p.least, p.most)
	}
	return nil
}

// checkDiskOnMachine refuses a disk of a type that a machine type does not take.
func checkDiskOnMachine(kind, machineType string) error {
	for _, ok := range seriesOf(machineType).disks {
		if ok == kind {
			return nil
		}
	}
	return badRequest("invalid", "[%s] features are not compatible for creating instance: a %s does not take such disks.", kind, machineType)
}
