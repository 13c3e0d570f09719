// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Package kv is the resource holdfast_kv: one key of a cluster. It reaches the
// cluster through the nodes' communicators, or through endpoints.
//
// Every write is a check-and-set on the version that the state remembers, so it
// never undoes what somebody else wrote since. A write whose answer was lost is read
// back: it either took effect or it is an error. A cluster that does not answer
// while Terraform refreshes is a warning, so that a plan which mends it can be made.
package kv
