// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package logstore_test

import (
	"testing"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/logstore"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/logstore/logstoretest"
)

func TestConformance(t *testing.T) {
	for name, o := range map[string]logstore.Options{
		"wal":                {Backend: logstore.WAL, WALSegmentSizeMB: 1},
		"boltdb":             {Backend: logstore.BoltDB},
		"boltdb no_freelist": {Backend: logstore.BoltDB, NoFreelistSync: true},
	} {
		t.Run(name, func(t *testing.T) {
			logstoretest.Run(t, func(dir string) (logstore.Store, error) {
				s, _, err := logstore.Open(dir, o)
				return s, err
			})
		})
	}
}
