// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package failover

import (
	"fmt"
	"path/filepath"
	"strings"
)

// ValidateSide reports whether a log in dir can fail over to side: ErrSidePath,
// with both paths, where one is the other or lies in it. It looks at the paths
// alone, so it can be asked before anything is mounted; that two directories
// are on one disk it does not see.
func ValidateSide(dir, side string) error {
	dir, side = filepath.Clean(dir), filepath.Clean(side)
	how := ""
	switch {
	case dir == side:
		how = "is"
	case within(side, dir):
		how = "is inside"
	case within(dir, side):
		how = "contains"
	default:
		return nil
	}
	return fmt.Errorf("%w: the side %s %s the store's directory %s, and would hang with it: name a directory on another disk", ErrSidePath, side, how, dir)
}

// within reports whether path is dir or below it.
func within(path, dir string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}
