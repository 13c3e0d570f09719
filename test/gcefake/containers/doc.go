// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

//go:build linux

// Package containers stands behind the instances of the emulator with processes of this machine: containers of systemd-nspawn,
// in which a whole Debian runs from its systemd on, with udev, sshd and Google's own guest agent. They boot in seconds. Disks
// are block devices: loop devices over sparse files, which the machine finds by Google's names.
//
// What differs from a machine of its own: the kernel is the host's, with its clock, its boot id and its list of
// block devices, of which only the machine's own can be opened; disks of all types are as fast as the host's; an external address
// is one of the machine's own.
package containers
