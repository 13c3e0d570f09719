// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package rate

import "fmt"

// Share is how much of the data disk's rates a side disk has to have.
const Share = 0.1

// Verdict is a side disk beside a data disk.
type Verdict struct {
	Data Rate `json:"data"`
	Side Rate `json:"side"`
	// Enough: a log that fails over to the side disk is not held back by it.
	Enough bool   `json:"enough"`
	Why    string `json:"why"`
}

// Judge compares a side disk with the data disk whose log fails over to it.
func Judge(data, side Rate) Verdict {
	v := Verdict{Data: data, Side: side}
	iops, bandwidth := side.IOPS >= Share*data.IOPS, side.Bandwidth >= Share*data.Bandwidth
	v.Enough = iops && bandwidth
	switch {
	case v.Enough:
		v.Why = fmt.Sprintf("the side disk takes %.0f writes and %s a second, the data disk %.0f and %s: a tenth is enough", side.IOPS, mb(side), data.IOPS, mb(data))
	case !iops:
		v.Why = fmt.Sprintf("the side disk takes %.0f writes a second, the data disk %.0f: a log that fails over would be slower than a tenth", side.IOPS, data.IOPS)
	default:
		v.Why = fmt.Sprintf("the side disk takes %s a second, the data disk %s: a log that fails over would be slower than a tenth", mb(side), mb(data))
	}
	return v
}

func mb(r Rate) string { return fmt.Sprintf("%.1f MB", r.Bandwidth/1e6) }
