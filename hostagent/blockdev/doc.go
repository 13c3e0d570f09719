// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Package blockdev says which block devices a machine has, in lsblk's terms.
//
// It works in stages. [Discover] reads sysfs, the mount table, the swaps and
// udev's database below injectable [Roots] into plain [Device] values, asks
// blkid about devices that udev's database does not know, and asks the kernel
// how full the mounted ones are. [Tree] arranges devices by who lies on whom.
// [Table] and [JSON] print what lsblk prints. Only the first stage touches the
// machine; the others are functions of values.
//
// Where lsblk (2.38) and this package differ:
//
//   - lsblk takes an empty udev database for a blank disk and says nothing of
//     the file system; here blkid is asked, and last the mount table.
//   - the transport of vd* is "virtio", as from lsblk 2.39 on.
//   - the serial number that a hypervisor gives a virtio disk is read from
//     sysfs where udev is silent.
//   - so is the WWN, of any disk.
//   - names are without the blanks that SCSI fills them up with.
//   - how full a file system is comes from a mount point that leads to it,
//     not from one that a later mount hides.
//
// Guarantees: a device that vanishes while it is read is left out, and fails
// nothing else. No call waits for a disk that hangs: sysfs answers from
// memory, and a probe or a statfs that does not come back is abandoned after
// [AskTimeout], and not asked again until it did. It writes nothing anywhere.
//
// What Google Compute Engine calls a disk is known without its udev rules too:
// see google.go. The question to an NVMe namespace has been checked against the
// kernel's header only: no disk has answered it yet.
//
// It does not decide what may be formatted or mounted: that is package
// layout/disk. Of NVMe and its multipath it leaves the hidden paths out, and
// says nothing of how many there are.
package blockdev
