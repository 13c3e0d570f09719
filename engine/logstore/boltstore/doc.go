// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Package boltstore keeps a raft log in raft-boltdb.
package boltstore

// FileName is the name of the database in the partition's directory.
const FileName = "raft.db"
