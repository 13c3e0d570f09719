// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Package vfstest has the disks that tests need: one that loses power (Mem),
// one that hangs (Stall) and one that fails (Faults). Each is a vfs.FS; Stall
// and Faults wrap another, so they can be stacked. OpenWAL puts a whole raft-wal
// on any of them.
//
// Mem keeps what is written apart from what is durable. CrashClone is the disk
// that a restart after a power cut finds; the original goes on, so that what a
// dead process still writes never reaches its successor. CrashPoints asks for
// such clones before every change that a program makes.
//
// Nothing here sleeps or starts a goroutine, and nothing blocks but on a
// sync.Cond of its own: all of it works in a testing/synctest bubble, provided it
// is made inside.
package vfstest
