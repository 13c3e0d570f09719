// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"context"
	"strings"

	"golang.org/x/sys/unix"
)

// Mount is one mount as it should be. Package units makes a unit of systemd of
// UUID, FSType and Where, with the same options.
type Mount struct {
	Field  string `json:"field"`
	UUID   string `json:"uuid"`
	Device string `json:"device"`
	// Number is the device's MAJ:MIN: what has to be there once it is mounted.
	Number  string   `json:"maj:min"`
	Where   string   `json:"where"`
	FSType  string   `json:"fstype"`
	Options []string `json:"options"`
}

// Mounter mounts: by the command, or by a unit of systemd.
type Mounter interface {
	// Mount returns once the file system is mounted.
	Mount(ctx context.Context, m Mount) error
	// Remount gives a mount other options.
	Remount(ctx context.Context, m Mount) error
	// Unmount takes a mount back that Mount made, now and at the next boot.
	Unmount(ctx context.Context, m Mount) error
}

// command mounts with mount(8).
type command struct{ run runner }

func (c command) Mount(ctx context.Context, m Mount) error {
	return c.run(ctx, "mount", "-t", m.FSType, "-o", strings.Join(m.Options, ","), "UUID="+m.UUID, m.Where)
}

func (c command) Remount(ctx context.Context, m Mount) error {
	return c.run(ctx, "mount", "-o", "remount,"+strings.Join(m.Options, ","), m.Where)
}

func (c command) Unmount(_ context.Context, m Mount) error {
	return unix.Unmount(m.Where, unix.UMOUNT_NOFOLLOW)
}
