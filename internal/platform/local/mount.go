// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

//go:build linux

package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/mountinfo"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
)

var (
	errMountPoint = errors.New("something else is mounted there")
	errTwoDevices = errors.New("the image is mounted through two devices at once")
)

// mounts returns the mounts for which match says yes, in the kernel's order.
func mounts(match func(mountinfo.Mount) bool) ([]mountinfo.Mount, error) {
	table, err := mountinfo.Read()
	if table == nil && err != nil {
		return nil, err
	}
	var found []mountinfo.Mount
	for _, m := range table { // a line that was not understood is not ours
		if match(m) {
			found = append(found, m)
		}
	}
	return found, nil
}

// mountsAt returns what is mounted at point, the visible one last.
func mountsAt(point string) ([]mountinfo.Mount, error) {
	return mounts(func(m mountinfo.Mount) bool { return m.Point == point })
}

// mountsOf returns where a device is mounted.
func mountsOf(d loop) ([]mountinfo.Mount, error) {
	return mounts(func(m mountinfo.Mount) bool { return m.MajMin() == d.majMin() })
}

// device returns the device that is mounted at the volume's point, "" where
// it is not mounted. It never touches the file system, which may hang.
func (v volume) device() (string, error) {
	at, err := mountsAt(v.point)
	if err != nil || len(at) == 0 {
		return "", err
	}
	attached, err := loopsOf(v.image)
	if err != nil {
		return "", err
	}
	i := slices.IndexFunc(attached, func(d loop) bool { return d.majMin() == at[len(at)-1].MajMin() })
	if i < 0 {
		return "", nil
	}
	return attached[i].path(), nil
}

// ensureMounted attaches and mounts a volume, from whatever state.
func (v volume) ensureMounted(say say) error {
	var err error
	for range 3 { // a device may clear itself between looking and mounting
		if err = v.mountOnce(say); !errors.Is(err, unix.ENXIO) && !errors.Is(err, unix.ENOENT) {
			break
		}
	}
	if _, ok := errors.AsType[*platform.Error](err); err == nil || ok {
		return err
	}
	return &platform.Error{What: fmt.Sprintf("disk %s of node %s cannot be mounted at %s", v.name, v.node, v.point), Err: err,
		Next: "See dmesg for what the kernel says. A damaged file system may be repaired with fsck on " + v.image + "; nothing was formatted."}
}

func (v volume) mountOnce(say say) error {
	at, err := mountsAt(v.point)
	if err != nil {
		return err
	}
	attached, err := loopsOf(v.image)
	if err != nil {
		return err
	}
	for _, m := range at {
		if !slices.ContainsFunc(attached, func(d loop) bool { return d.majMin() == m.MajMin() }) {
			return &platform.Error{What: fmt.Sprintf("disk %s of node %s cannot be mounted at %s", v.name, v.node, v.point),
				Err: fmt.Errorf("%w: %s", errMountPoint, m.Source), Next: "Unmount it with umount " + v.point + " and apply again."}
		}
	}
	if attached, err = v.keepOne(attached); err != nil {
		return err
	}
	for range len(at) - 1 { // mounted again on top of itself: harmless, but in the way of umount
		if err := unix.Unmount(v.point, unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EBUSY) {
			return err
		}
	}
	if len(at) > 0 {
		return nil
	}
	if err := os.MkdirAll(v.point, 0o700); err != nil {
		return err
	}
	dev, err := v.openDevice(attached, say)
	if err != nil {
		return err
	}
	defer func() { _ = dev.Close() }() // the mount has its own reference
	if err := unix.Mount(dev.Name(), v.point, v.disk.FileSystem, unix.MS_NOATIME|unix.MS_NODEV|unix.MS_NOSUID, v.mountOptions()); err != nil {
		return fmt.Errorf("mount %s: %w", dev.Name(), err)
	}
	say("node %s: mounted %s at %s", v.node, dev.Name(), v.point)
	return nil
}

// mountOptions keep ext4 from clearing inode tables in the background.
func (v volume) mountOptions() string {
	if v.disk.FileSystem == "ext4" {
		return "noinit_itable"
	}
	return ""
}

func (v volume) openDevice(attached []loop, say say) (*os.File, error) {
	if len(attached) > 0 {
		return openLoop(attached[0].number, os.O_RDWR)
	}
	dev, err := attach(v.image)
	if err != nil {
		return nil, err
	}
	say("node %s: attached disk %s to %s", v.node, v.name, dev.Name())
	return dev, nil
}

// keepOne sees to it that the image has one device at most. Two file systems
// that are mounted from one image destroy it.
func (v volume) keepOne(attached []loop) ([]loop, error) {
	if len(attached) < 2 {
		return attached, nil
	}
	var used, spare []loop
	for _, d := range attached {
		at, err := mountsOf(d)
		if err != nil {
			return nil, err
		}
		if len(at) > 0 {
			used = append(used, d)
		} else {
			spare = append(spare, d)
		}
	}
	if len(used) > 1 {
		return nil, &platform.Error{What: fmt.Sprintf("disk %s of node %s cannot be used", v.name, v.node),
			Err:  fmt.Errorf("%w: %s and %s", errTwoDevices, used[0].path(), used[1].path()),
			Next: "Stop what uses it, unmount both, check it with fsck " + v.image + " and apply again."}
	}
	if len(used) == 0 {
		used, spare = spare[:1], spare[1:]
	}
	for _, d := range spare {
		if err := detach(d); err != nil {
			return nil, err
		}
	}
	return used, nil
}

// settled asks again until something has gone, bound at most.
func settled(ctx context.Context, bound time.Duration, gone func() (bool, error)) (bool, error) {
	deadline := time.Now().Add(bound)
	for {
		ok, err := gone()
		if ok || err != nil || time.Now().After(deadline) {
			return ok, err
		}
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
}
