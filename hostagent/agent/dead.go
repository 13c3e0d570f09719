// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package agent

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/mountinfo"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
)

// A disk that is unplugged takes its mount with it, unless somebody has files open there: systemd
// tries once, and an engine goes on without its side. Such a mount would keep the place from the
// disk that comes back, so it is detached. Only one whose device the kernel knows no more is: a
// disk that is there may hold what is nowhere else, and is left to whoever uses it.

// detachDead detaches the side's mount where its disk is gone.
func (a *Agent) detachDead(spec *agentapi.Spec) {
	if !a.opts.Systemd || spec == nil {
		return
	}
	table, err := mountinfo.Read()
	if err != nil {
		return // the look at missing mounts is at a loss, too
	}
	point, dead := deadSide(table, spec, func(number string) bool {
		_, err := os.Lstat("/sys/dev/block/" + number)
		return !errors.Is(err, fs.ErrNotExist)
	})
	if !dead {
		return
	}
	if err := unix.Unmount(point, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
		a.log.Error("the mount of a disk that is gone cannot be detached", "mount", point, "error", err)
		return
	}
	a.log.Warn("the side disk is gone: its mount was detached", "mount", point)
}

// deadSide is the mount point of the side disk of a spec, where known says that there is no such device.
func deadSide(table mountinfo.Table, spec *agentapi.Spec, known func(number string) bool) (point string, dead bool) {
	if spec.SideDisk == nil || spec.SideDisk.Disk == nil {
		return "", false
	}
	m, ok := table.Of(spec.SideDisk.Disk.Mount)
	return m.Point, ok && m.Point == spec.SideDisk.Disk.Mount && !known(m.MajMin())
}
