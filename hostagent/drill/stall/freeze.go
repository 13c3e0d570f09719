// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package stall

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// _IOWR('X', 119, int) and _IOWR('X', 120, int), as amd64 and arm64 have them.
const (
	fiFreeze = 0xC0045877
	fiThaw   = 0xC0045878
)

// freeze returns when no write to the file system is under way any more and
// none can begin. It waits for the disk to take what was written before.
func freeze(dir *os.File) error {
	for {
		err := unix.IoctlSetInt(int(dir.Fd()), fiFreeze, 0)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// errNotFrozen: the kernel knows of no freeze to end.
var errNotFrozen = unix.EINVAL

// thaw ends a freeze. errNotFrozen is no failure of it: somebody was faster.
func thaw(dir *os.File) error { return unix.IoctlSetInt(int(dir.Fd()), fiThaw, 0) }

// The file system's own part of thawing may fail (EIO), and it is frozen on.
const (
	thawPause = 100 * time.Millisecond
	thawTries = 600
)

// thawForSure tries until the file system is not frozen.
func thawForSure(dir *os.File) error {
	var err error
	for range thawTries {
		if err = thaw(dir); err == nil || errors.Is(err, errNotFrozen) {
			return nil
		}
		time.Sleep(thawPause)
	}
	return err
}
