// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Package local makes a cluster's nodes on this machine: every node has a
// loopback address of its own and the same ports, its agent and its engine are
// detached processes, and its disks are files.
//
// As root a disk is a loop device over a sparse file with a file system on it,
// mounted, so that each disk of each node can be stalled alone. Without root it is
// a plain directory. The record says which ("mode"); a Directory without
// a Device shows it.
//
// On disk, in the cluster's directory:
//
//	cluster.json                   the record: names, addresses, disks; see record.go
//	lock                           held by whoever changes the cluster
//	bin/holdfast-<sha256>          the binary that the nodes run
//	disks/<node>-<disk>.img        a disk's image; .img.*.new is one that never held data
//	nodes/<node>/                  the agent's directory, and agent.log
//	nodes/<node>/data1, …/side     where the disks are mounted; stores are in store/ there
//
// Each step is durable before the next one relies on it, and can be taken again:
// a run that was killed anywhere is continued by the next. An image gets its name
// once it is formatted, so no image of that name is ever formatted; once all
// disks of a node were made, which the record says before its agent starts, a
// disk that is missing is an error and never replaced by an empty one, as that
// would take a voter's promises back.
//
// Loop devices clear themselves at their last close: one that was attached and not
// mounted does not outlive its maker.
//
// A process belongs to the cluster when it runs a binary of its bin directory on one of its
// node directories, or when it is the one that an agent recorded by pid, start time and boot;
// no other is ever signalled.
//
// The package knows nothing of raft, specs and Terraform. It neither resizes disks
// nor removes single nodes.
package local
