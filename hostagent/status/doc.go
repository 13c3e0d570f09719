// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Package status observes what an agent tells of its node: the directories of
// the spec as they lie on their disks, and the engine's own answer.
//
// A call that touches a disk may hang for as long as the disk does. Each runs
// in a goroutine of its own, at most one per directory, and the caller waits
// a bounded time: a hung disk costs one parked goroutine and makes its own
// directory's status old, nothing else. The mount table is the kernel's
// memory and is read in place.
//
// The package writes nothing.
package status
