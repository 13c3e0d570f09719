// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package blockdev

import (
	"context"
	"io/fs"
	"os"
)

// Roots are the places that a discovery reads. Tests put captured trees here.
type Roots struct {
	Sys  fs.FS // /sys
	Proc fs.FS // /proc
	Udev fs.FS // /run/udev
	Dev  fs.FS // /dev; only the links in disk/ are read

	// Probe asks a device itself what is on it, nil: nobody does.
	Probe func(ctx context.Context, path string) (Properties, error)
	// Identify asks an NVMe namespace of Google Compute Engine for its
	// identification, nil: nobody does.
	Identify func(ctx context.Context, path string) ([]byte, error)
	// Usage asks how full the file system at a mount point is, nil: nobody does.
	Usage func(ctx context.Context, mountPoint string) (Usage, error)
}

// Host returns the roots of this machine. A process that discovers again and
// again keeps the value: it remembers which devices are still held by an
// earlier question, and asks them no second one meanwhile.
func Host() Roots {
	return Roots{
		Sys:      os.DirFS("/sys"),
		Proc:     os.DirFS("/proc"),
		Udev:     os.DirFS("/run/udev"),
		Dev:      os.DirFS("/dev"),
		Probe:    newAsker(blkid).ask,
		Identify: newAsker(identify).ask,
		Usage:    newAsker(statfs).ask,
	}
}
