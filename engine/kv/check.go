// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package kv

import "fmt"

// CheckCommand says whether b is one whole command as AppendCommand writes
// it. A leader asks before it puts bytes that came over the network into a
// log entry, where they would stop every replica. It copies nothing.
func CheckCommand(b []byte) error {
	var f frame
	rest, err := f.decode(b)
	if err == nil && len(rest) != 0 {
		err = fmt.Errorf("%w: %d bytes follow the command", ErrCorrupt, len(rest))
	}
	return err
}
