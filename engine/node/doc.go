// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Package node assembles an engine: raft groups, their leadership, the way of
// a write, forwarding, reads, metrics and lifecycle. It is the only package
// that knows all of the others.
package node
