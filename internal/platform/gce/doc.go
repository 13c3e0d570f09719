// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Package gce makes a cluster's machines in a project of Google Compute Engine and keeps them
// what they should be: disks, instances and the firewall between them. What happens on a
// machine, once it has an address and host keys, is package ssh's: this one composes it.
//
// In the project, for a cluster "orders" with a node "a":
//
//	disk      orders-a-data-1, -data-2 …, orders-a-side    kept when the machine goes
//	instance  orders-a, its boot disk of the same name     goes with the machine
//	firewall  holdfast-orders-nodes, holdfast-orders-ssh   server and HTTPS between nodes; SSH from given ranges
//
// Names that would be longer than 63 characters end in a hash; see name.go. Whose a disk or an instance
// is, its labels say (labels.go), and the first line of its description whose a firewall rule is, as
// rules have no labels. Nothing is believed to be the cluster's without them, and a name
// that somebody else has taken is told and never touched.
//
// Ensure goes in rounds: observe, plan, act, until there is nothing left to do. The plan is pure (plan.go):
// what is there and what should be there give the actions. So a run that was cut at any point
// is continued by the next one, whatever it had begun, and no record but the
// resources themselves is needed. A mutation carries a request ID and is repeated with the same one,
// so that an answer that was lost makes nothing twice.
//
// Data is not lost by an apply: disks are made apart from instances and never deleted with one; a disk
// only grows; a disk that is gone, though its node was once made, is an error and is not
// replaced by a blank one, with which the node would have forgotten what it voted for. For the same
// reason a destruction labels every disk before it deletes the first: from then on it can only
// be ended.
//
// Machines are stopped or replaced one at a time, after Config.Disrupt agreed, and after
// everything that disturbs nobody.
//
// The package knows nothing of raft, specs and Terraform. It makes no network and no service
// account, and removes no single nodes.
package gce
