// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Package rollout restarts the engines of a cluster one at a time. Plan is pure:
// what needs a restart and who leads, to an order. Run executes it behind gates
// and stops at the first that does not open, leaving the cluster as far as it got.
//
// It keeps nothing: an interrupted rollout is planned anew from what is observed.
package rollout
