// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Package ssh makes a cluster's nodes of machines that somebody already has. It reaches them
// over SSH (package sshhost), claims each for one node, installs the holdfast binary, and
// has that install the agent. Disks, users, units and engines are the agent's work; the
// platform tells it which disks, in Directory.Disk.
//
// On each machine:
//
//	/var/lib/holdfast/node.json          the record: whose the machine is; see record.go
//	/var/lib/holdfast/node.json.*.new    one that was being written when its run was cut
//	/usr/local/bin/holdfast, .previous   the binary, and the one before it
//
// and what "holdfast agent install" puts there, which "holdfast agent remove" takes away. On this machine: a
// line of known_hosts, where first contact is to be recorded.
//
// Nothing is put on a machine before its record is durable, and the record goes last. It is
// made in one step that fails where there is one, so that of two runs only one
// gets the machine. Each step can be taken again: a run whose connection was cut anywhere is
// continued by the next.
//
// All machines are looked at before any is changed, and what is wrong with them is told together.
// In a run that changes them, one that fails keeps none of the others back.
//
// A machine that does not answer says nothing of whose it is. The others are believed, so that a
// cluster can be looked at while one is down; but that there is no cluster is
// believed of all machines only, else an apply would make a second one.
//
// A destruction that was begun is on record, on every machine that answers, until all are
// empty: a cluster of which a part is gone is never made whole with empty disks, where
// its nodes would have forgotten what they voted for.
//
// A binary whose agent does not come up is replaced by the last one whose agent did.
//
// Connections are made when they are first needed, one per machine, and kept until Close. The agent
// is asked through them: its socket is root's, so a user who is not root gets there by
// sudo and "holdfast agent connect".
//
// The package knows nothing of raft, specs and Terraform. It removes no single nodes, and does not look
// at the disks.
package ssh
