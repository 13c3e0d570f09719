// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Package drill makes a disk of a local cluster hang under a load that it makes
// itself, and says what clients saw of it.
//
// A drill is: warm up, freeze the disk, thaw it, go on for a while, wait until
// every log writes to its own disk again, and read every acknowledged key from
// every node. It finds the nodes through their agents' sockets, and asks their
// engines what their logs do ten times a second.
//
// It guarantees that the disk is thawed whatever happens (package stall), that
// only a disk is frozen that is a loop device over an image of this cluster, is
// mounted in the cluster's directory and nowhere else, and that nobody but the
// node itself uses; and that it touches no file of it. Its keys begin with
// holdfast-drill/ and are deleted at its end.
//
// On disk it leaves nothing. It judges nothing but this: an acknowledged key that
// is not there, or not what was written, is an error. How long writes waited is
// for its reader to judge.
package drill
