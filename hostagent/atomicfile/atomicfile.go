// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Package atomicfile writes small files: the records that an agent and the local
// platform keep, and what an agent writes for others. After a crash at any point a
// file holds its old content or its new one, and once a write has returned, the new one.
//
// On disk: the file, a record readable by its owner alone, and beside it path.new while
// it is written, or after a crash; the next write replaces that.
package atomicfile

import (
	"encoding/json"
	"fmt"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs"
)

// WriteJSON replaces the file at path by v. One writer of a path at a time.
func WriteJSON(path string, v any) error { return write(vfs.OS{}, path, v) }

func write(fsys vfs.FS, path string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", path, err)
	}
	if err := vfs.WriteFileAtomic(fsys, path, append(b, '\n')); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
