// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"context"
	"fmt"
	"strings"
)

// Mount is one mount as it should be.
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
}

// command mounts with mount(8).
type command struct{ run runner }

func (c command) Mount(ctx context.Context, m Mount) error {
	return c.run(ctx, "mount", "-t", m.FSType, "-o", strings.Join(m.Options, ","), "UUID="+m.UUID, m.Where)
}

func (c command) Remount(ctx context.Context, m Mount) error {
	return c.run(ctx, "mount", "-o", "remount,"+strings.Join(m.Options, ","), m.Where)
}

// UnitName is the name that systemd wants for the unit of a mount point.
func (m Mount) UnitName() string {
	var b strings.Builder
	path := strings.Trim(m.Where, "/")
	for i := range len(path) {
		switch c := path[i]; {
		case c == '/':
			b.WriteByte('-')
		case c == '.' && i > 0, c == ':', c == '_', c >= '0' && c <= '9', c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z':
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "\\x%02x", c)
		}
	}
	return b.String() + ".mount"
}

// Unit is a systemd unit that mounts at boot. The boot goes on without the
// disk: a node whose side disk is gone is still a node.
func (m Mount) Unit() string {
	percent := strings.NewReplacer("%", "%%")
	return strings.Join([]string{
		"[Unit]",
		"Description=Holdfast " + percent.Replace(m.Field),
		"",
		"[Mount]",
		"What=/dev/disk/by-uuid/" + m.UUID,
		"Where=" + percent.Replace(m.Where),
		"Type=" + m.FSType,
		"Options=" + percent.Replace(strings.Join(m.Options, ",")),
		"",
		"[Install]",
		"WantedBy=multi-user.target",
		"",
	}, "\n")
}
