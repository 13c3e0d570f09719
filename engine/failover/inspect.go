// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package failover

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs"
)

// Armed returns the side directories that may hold operations which the log in
// dir does not have, as recorded beside it: none after a clean stop, and none
// where no failover log ever ran. It changes nothing, and is for tools that look
// at the log of a stopped engine.
func Armed(dir string) ([]string, error) {
	if _, err := os.Stat(filepath.Join(dir, recordName)); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		return nil, err
	}
	rec, err := readRecord(vfs.OS{}, dir)
	return rec.Armed, err
}
