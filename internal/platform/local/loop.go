// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

//go:build linux

package local

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const loopMajor = 7

var errNoLoop = errors.New("no loop device can be attached")

// loop is one attached loop device.
type loop struct {
	number  int
	backing string // its file's path as the kernel sees it, " (deleted)" cut off
	dev     uint64 // device and inode of its file
	ino     uint64
}

func (d loop) path() string   { return fmt.Sprintf("/dev/loop%d", d.number) }
func (d loop) majMin() string { return fmt.Sprintf("%d:%d", loopMajor, d.number) }

// loops returns the attached loop devices whose file has a name for which
// match says yes. No other is opened: that would keep it from being cleared.
func loops(match func(base string) bool) ([]loop, error) {
	files, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return nil, err
	}
	var found []loop
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			continue // it was cleared since
		}
		backing := strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), " (deleted)")
		if !match(filepath.Base(backing)) {
			continue
		}
		name := filepath.Base(filepath.Dir(filepath.Dir(file)))
		n, err := strconv.Atoi(strings.TrimPrefix(name, "loop"))
		if err != nil {
			continue // a partition, or a name that is not the kernel's
		}
		d := loop{number: n, backing: backing}
		f, err := openLoop(n, os.O_RDONLY)
		if err != nil {
			return nil, err
		}
		st, err := unix.IoctlLoopGetStatus64(int(f.Fd()))
		_ = f.Close() // nothing was written
		if errors.Is(err, unix.ENXIO) {
			continue // cleared since
		}
		if err != nil {
			return nil, fmt.Errorf("ask %s for its file: %w", d.path(), err)
		}
		d.dev, d.ino = st.Device, st.Inode
		found = append(found, d)
	}
	return found, nil
}

// loopsOf returns the devices attached to the file at path, by the file's
// identity: the path may have been another one when it was attached. A plain
// directory, "", has none: its user may not look at anybody's devices.
func loopsOf(path string) ([]loop, error) {
	if path == "" {
		return nil, nil
	}
	var st unix.Stat_t
	err := unix.Stat(path, &st)
	gone := errors.Is(err, unix.ENOENT)
	if err != nil && !gone {
		return nil, fmt.Errorf("look at %s: %w", path, err)
	}
	all, err := loops(func(base string) bool { return base == filepath.Base(path) })
	var found []loop
	for _, d := range all {
		if !gone && d.dev == st.Dev && d.ino == st.Ino || gone && d.backing == path {
			found = append(found, d)
		}
	}
	return found, err
}

// openLoop opens a loop device, making its node where /dev is not the kernel's own.
func openLoop(n, flag int) (*os.File, error) {
	path := loop{number: n}.path()
	f, err := os.OpenFile(path, flag, 0)
	if !errors.Is(err, os.ErrNotExist) {
		return f, err
	}
	if err := unix.Mknod(path, unix.S_IFBLK|0o660, int(unix.Mkdev(loopMajor, uint32(n)))); err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, fmt.Errorf("make %s: %w", path, err)
	}
	return os.OpenFile(path, flag, 0)
}

// attach attaches a file to a free device and returns it open. The device
// clears itself when nobody has it open or mounted any more: a run that is
// killed before it mounts leaves none behind.
func attach(image string) (*os.File, error) {
	file, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // the device has its own reference
	ctl, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoLoop, err)
	}
	defer func() { _ = ctl.Close() }() // nothing was written
	for range 100 {
		n, err := unix.IoctlRetInt(int(ctl.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errNoLoop, err)
		}
		dev, err := openLoop(n, os.O_RDWR)
		if err == nil {
			if err = configure(dev, file); err == nil {
				return dev, nil
			}
			_ = dev.Close() // nothing was written
		}
		// Somebody else was faster with this one, or is removing it.
		if !errors.Is(err, unix.EBUSY) && !errors.Is(err, unix.ENXIO) && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("attach %s to /dev/loop%d: %w", image, n, err)
		}
		time.Sleep(time.Millisecond)
	}
	return nil, fmt.Errorf("%w: each was taken before it could be used", errNoLoop)
}

// configure asks for direct I/O, as a second page cache below the file system's
// would only take memory and hold dirty pages that no disk holds; where the file
// cannot be opened so, the device goes without.
func configure(dev, file *os.File) error {
	var err error
	for _, flags := range []uint32{unix.LO_FLAGS_AUTOCLEAR | unix.LO_FLAGS_DIRECT_IO, unix.LO_FLAGS_AUTOCLEAR} {
		c := &unix.LoopConfig{Fd: uint32(file.Fd()), Info: unix.LoopInfo64{Flags: flags}}
		copy(c.Info.File_name[:len(c.Info.File_name)-1], file.Name())
		if err = unix.IoctlLoopConfigure(int(dev.Fd()), c); !errors.Is(err, unix.EINVAL) {
			return err
		}
	}
	return err
}

// detach clears a device, at once or when its last user goes.
func detach(d loop) error {
	f, err := openLoop(d.number, os.O_RDONLY)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // nothing was written
	if err := unix.IoctlSetInt(int(f.Fd()), unix.LOOP_CLR_FD, 0); err != nil && !errors.Is(err, unix.ENXIO) {
		return fmt.Errorf("detach %s: %w", d.path(), err)
	}
	return nil
}
