// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package boltstore

import (
	"fmt"
	"path/filepath"

	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
)

// OpenReadOnly opens raft.db in dir, which is there, for reading. Of what it
// returns only FirstIndex, LastIndex, GetLog and Close are of use. The caller
// keeps engines away from it.
func OpenReadOnly(dir string) (*raftboltdb.BoltStore, error) {
	path := filepath.Join(dir, FileName)
	b, err := raftboltdb.New(raftboltdb.Options{Path: path, BoltOptions: &bbolt.Options{ReadOnly: true, Timeout: lockTimeout}})
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", path, err)
	}
	return b, nil
}
