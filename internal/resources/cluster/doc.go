// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Package cluster is the resource holdfast_cluster: machines, disks, agents,
// engines and settings of one replicated key-value cluster.
//
// What is decided is decided in pure functions over plain values: desired.go
// (what the configuration means, a node's spec included), place.go and provision.go
// (what of its machines and steps cannot be), effective.go (what a node is, in the
// same terms), plan.go (what a plan refuses and warns of).
// converge.go acts; resource.go only binds both to Terraform.
//
// The state carries what was configured and what was observed. What changes by
// itself (leader, counters, free space) is in neither, so that an election is no
// difference. Creation never ends in an error once anything durable exists,
// because Terraform would destroy a tainted cluster: it ends with a warning, and
// the next apply goes on. Secrets of provisioning steps go from the configuration to
// the agents and are in neither plan nor state.
package cluster
