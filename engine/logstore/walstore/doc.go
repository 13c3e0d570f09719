// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Package walstore keeps a raft log in raft-wal.
package walstore

import "fmt"

// DefaultSegmentSizeMB is raft-wal's own default.
const DefaultSegmentSizeMB = 64

// ValidateSegmentSizeMB refuses a size that raft-wal cannot use. 0 stands for
// the default.
func ValidateSegmentSizeMB(mb int) error {
	if mb < 0 || mb > 1024 {
		return fmt.Errorf("%d MiB is out of range: use 1 to 1024, or leave it out for %d", mb, DefaultSegmentSizeMB)
	}
	return nil
}
