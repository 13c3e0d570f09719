// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Package vm makes test machines: QEMU guests of Debian with systemd, for what
// only a whole machine shows. Hot-plugged and growing disks of several kinds,
// units and cgroups as systemd makes them, a power cut.
//
// Build makes the image once per recipe, from Debian's packages (mmdebstrap),
// into a cache directory: a root file system, its kernel and its initrd. It
// needs root. Start makes a machine of it: an overlay over the root file
// system, data disks as sparse files, keys of its own, and returns when the
// guest answers over SSH at a port of loopback. A Network is the wire between
// machines, a hub inside the test's process, which can cut it. With Cloud it is a guest of
// Compute Engine instead: what plays the engine gives it a network card, a metadata server
// and disks, and reaches it as it would reach the real one.
//
// # The tests
//
// TestMachine and TestFailover are of machines and of an engine in one,
// TestMachineAgent of the agent of a machine that nobody applies to. TestCluster is
// the whole way: three machines, examples/ssh applied with the terraform of
// $TF_ACC_TERRAFORM_PATH and the provider beside $HOLDFAST_BINARY, then what happens
// to machines, and a destroy. Its parts can be run alone: -run 'TestCluster/reboot'
// makes the cluster, boots one of its machines again, and destroys it. Where a part
// fails, the test ends with the journals and consoles of the machines and with
// terraform's progress. Package walkthrough has the two scripts of CockroachDB's
// walkthrough of WAL failover.
//
// # On disk
//
//	$HOLDFAST_VM_CACHE or the user's cache directory, holdfast-vm/
//	  <hash of the recipe>/{root.img,vmlinuz,initrd.img,packages}
//	$TMPDIR/holdfast-vm-…/         one per machine, gone after Close
//	  lock, root.qcow2, initrd.img, console.log, one .disk per data disk
//
// # Guarantees
//
// An image in the cache is whole: it is built beside its place and renamed.
// Nothing outlives the test: QEMU dies with the process that started it, no
// loop device, mount, interface or address of the host is used, and what a
// killed test left in $TMPDIR is removed by the next Start. The keys of a
// machine are of this machine only, and lie in files that only their owner
// reads. The guest reaches no network but its Network. Errors end with what
// the guest's console said last.
//
// # What it does not do
//
// A power cut takes what the guest had in its memory, and nothing that reached
// the disks of the guest: disks that lie about a flush are not played. An NVMe
// disk does not grow while it is plugged in: QEMU 7.2 refuses that. A guest waits
// 30 s for a disk that is missing, where systemd elsewhere waits 90.
package vm
