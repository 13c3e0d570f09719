// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Package layout makes the directories of a node what its spec says: it
// creates them, gives a store its identity, and refuses what is not the
// node's. Devices, file systems and mounts are package layout/disk's; a directory whose
// spec names a device or a mount point has to lie on it.
//
// As in Ignition, what should be is compared with what is, and the outcome is
// a step or a refusal that names the field and both values: missing or empty →
// make it; the right identity → use it; anything else → refuse. Look touches
// disks and may hang with them; Decide is pure; Apply makes.
//
// On disk: the directories, mode 0700, and the identity file of package
// engine/store, both of the user that the engine runs as. Nothing is ever removed.
package layout
