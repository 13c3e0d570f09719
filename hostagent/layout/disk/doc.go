// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Package disk turns the disks of a node into mounted file systems: which
// device a store or the side disk has, the file system on it, where it is
// mounted, and the directories in it. Directories alone, on whatever they lie,
// are package layout's.
//
// It works as Ignition's disks stage does. A [Spec] says what should be;
// [Look] observes the machine into plain values; [Make] compares the two and
// comes to a [Plan], ordered steps, or to refusals; [Apply] does the steps.
// Look writes nothing, and Make is pure. No file system: it is made. The right
// type and label: it is used. Anything else is refused, with the field and
// both values, and with one refusal nothing at all is done. Only wipe = true
// destroys, and only the one signature that it names. A device with a
// partition table, a mount elsewhere, a holder, or that is read-only is never
// written to, wipe or not.
//
// On disk:
//
//	the device     ext4 or xfs. It is made under the label of a half-made one
//	               ([HalfMade]) and gets its own label once everything else is
//	               durable, so the label is the commit record: a run that was
//	               interrupted anywhere leaves a blank device, a half-made
//	               one, which the next run makes again, or a whole one.
//	the mount      made with mount(8) by UUID, which does not survive a reboot, or
//	               by the [Mounter] of the host: the agent's writes a unit of systemd.
//	disk.lock      in the state directory. Whoever applies holds it (flock),
//	               and so does every tool that was started: it is free once
//	               an mkfs that outlived a killed run has ended. The device
//	               itself is locked too while it is written to, as udev and
//	               systemd ask for.
//
// A store whose identity file names another cluster or node is refused before
// anything is mounted for writing: Look reads the file through a mount that is
// read-only, replays no journal and lives in a namespace of its own. Where the
// journal hides the file, Apply sees it after the mount and unmounts again; what
// the replay wrote is then all that was written. Without that file, a file system of the
// right label has to be empty: the label of a store's disk is the same in every cluster.
// A side disk has no such file:
// give each node's a label of its own.
//
// Guarantees: after Apply without an error, a new Look and Make come to an
// empty plan: Apply has seen that itself. What it does not do: partition,
// encrypt, shrink, convert, repair, unmount what is mounted. Look and Apply
// touch disks and may hang with them. To grow an ext4 while it is mounted takes
// CAP_SYS_RESOURCE; where tests lack it, they see that refused and grow it
// unmounted.
//
// [Erase] is the way back: it takes the signature of a file system that is this node's.
package disk
