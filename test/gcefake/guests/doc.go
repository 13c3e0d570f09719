// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

//go:build linux

// Package guests stands behind the instances of the emulator with the test machines of test/vm: QEMU guests of Debian
// with a kernel of their own, systemd and Google's guest agent, on emulated processors. They boot in less than a minute.
// Disks are SCSI disks that name themselves as Google's do.
//
// What differs from a machine of Compute Engine: each has one processor and 768 MiB whatever its type; disks of all types
// are as fast as the host's, and SCSI; there is one image, and of it a boot disk is the machine that first booted it; no
// external addresses.
package guests
