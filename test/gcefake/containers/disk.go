// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

//go:build linux

package containers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfastdb/terraform-provider-holdfast/test/gcefake/emulator"
)

// disksDir has a file per disk of a machine, by the name of its device, with Google's name for it: for udev's rule.
const disksDir = "etc/google-disks"

// loop is a disk that is attached. The kernel detaches it once nobody has it open, and it is held open
// for as long as it is attached: nothing is left where the program is killed.
type loop struct {
	device *os.File
	file   string
	path   string // /dev/loop3
	number int
	name   string // file in disksDir
}

// freeLoop guards finding a free device and taking it.
var freeLoop sync.Mutex

// attach makes a block device of a file.
func attach(file string) (_ *loop, err error) {
	backing, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = backing.Close() }() // the device has its own
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = control.Close() }() // nothing was written
	freeLoop.Lock()
	defer freeLoop.Unlock()
	const attempts = 20 // somebody else on the host may take the same
	for range attempts {
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, fmt.Errorf("a free loop device: %w", err)
		}
		l := &loop{file: file, path: "/dev/loop" + strconv.Itoa(n), number: n}
		if l.device, err = os.OpenFile(l.path, os.O_RDWR, 0); err != nil {
			return nil, err
		}
		config := unix.LoopConfig{Fd: uint32(backing.Fd())}
		config.Info.Flags = unix.LO_FLAGS_AUTOCLEAR
		err = unix.IoctlLoopConfigure(int(l.device.Fd()), &config)
		if err == nil {
			return l, nil
		}
		_ = l.device.Close() // it is somebody else's
		if !errors.Is(err, unix.EBUSY) {
			return nil, fmt.Errorf("attach %s: %w", file, err)
		}
	}
	return nil, fmt.Errorf("attach %s: %w", file, unix.EBUSY)
}

// detach gives the device back, and waits until nothing has it: a mount of a machine whose power was cut is
// gone a moment after its processes, and until then writes to the file that another machine may get.
func (l *loop) detach() error {
	const patience = 20 * time.Second
	if err := l.device.Close(); err != nil {
		return err
	}
	for give := time.Now().Add(patience); ; {
		backing, err := os.ReadFile(fmt.Sprintf("/sys/block/loop%d/loop/backing_file", l.number))
		if err != nil || strings.TrimSpace(string(backing)) != l.file {
			return nil //nolint:nilerr // a device without a file has no such attribute
		}
		if time.Now().After(give) {
			return fmt.Errorf("%s is still in use: %w", l.path, unix.EBUSY)
		}
		time.Sleep(10 * time.Millisecond) // the kernel tells nobody when a device is free
	}
}

// insert attaches a disk and tells udev its name.
func (k *container) insert(file string, a emulator.Attachment) (*loop, error) {
	l, err := attach(file)
	if err != nil {
		return nil, err
	}
	l.name = filepath.Join(k.root, disksDir, filepath.Base(l.path))
	if err := os.WriteFile(l.name, []byte(a.DeviceName), 0o644); err != nil { //nolint:gosec // a machine's own
		return nil, errors.Join(err, l.detach())
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.mu.disks[a.Disk.ID] = l
	return l, nil
}

// plug attaches a disk to a machine that has power.
func (k *container) plug(ctx context.Context, file string, a emulator.Attachment) error {
	l, err := k.insert(file, a)
	if err != nil {
		return err
	}
	const script = `mknod "$1" b 7 "$2"; chgrp disk "$1"; chmod 660 "$1"; udevadm trigger --settle --action=add "/sys/block/${1#/dev/}"`
	_, err = k.exec(ctx, "/bin/sh", "-euc", script, "sh", l.path, strconv.Itoa(l.number))
	return err
}

// unplug takes a disk out of a machine that has power, in use or not. A loop device stays for as long as somebody has a
// file on it open: whoever does is killed, where errors would have met it on a real machine.
func (k *container) unplug(ctx context.Context, id uint64) error {
	k.mu.Lock()
	l := k.mu.disks[id]
	delete(k.mu.disks, id)
	k.mu.Unlock()
	if l == nil {
		return nil
	}
	const script = `awk -v device="7:$2" '$3 == device {print $5}' /proc/self/mountinfo | while read -r at; do
	for process in /proc/[0-9]*; do
		if ls -l "$process/fd" 2>/dev/null | grep -q -F " $at/"; then kill -KILL "${process#/proc/}"; fi
	done
	umount --lazy "$at"
done
umount "$1" 2>/dev/null # a machine that started with the disk has its node by a mount
rm -f "$1"; udevadm trigger --settle --action=remove "/sys/block/${1#/dev/}"`
	_, err := k.exec(ctx, "/bin/sh", "-c", script, "sh", l.path, strconv.Itoa(l.number))
	return errors.Join(err, os.Remove(l.name), l.detach())
}

// grown has a device see how large its file is now.
func (k *container) grown(id uint64) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	l := k.mu.disks[id]
	if l == nil {
		return nil
	}
	if err := unix.IoctlSetInt(int(l.device.Fd()), unix.LOOP_SET_CAPACITY, 0); err != nil {
		return fmt.Errorf("grow %s: %w", l.path, err)
	}
	return nil
}
