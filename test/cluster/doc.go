// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Package cluster runs engines that form a cluster over TCP, in one process,
// on directories that a test owns: start, stop, crash, cut the network
// between nodes, heal it, start again on the same directories.
//
// Nothing of the engine is replaced but the way to open sockets, so that
// connections between two nodes can be refused and broken. A crash is a
// process that loses its network and is then stopped: its peers see what they
// would see of a killed one, but what it had not synced is not lost; tests of
// that belong to a crashable file system.
package cluster
