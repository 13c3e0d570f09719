// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package layout

import (
	"errors"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Give makes a directory of root, and all that is in it, o's: an engine's user may have
// another number than the one that its files were written with, as after a machine was
// installed anew. The directory itself comes last, when the rest is durable: that it is
// o's says that everything is. No link leads out, and no mount below it is touched. What
// goes away meanwhile is no error.
func Give(root *os.Root, dir string, o Owner) error {
	top, err := root.Lstat(dir)
	if err != nil {
		return err
	}
	err = fs.WalkDir(root.FS(), dir, func(name string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		fi, err := e.Info()
		switch {
		case errors.Is(err, fs.ErrNotExist) || err == nil && name == dir:
			return nil
		case err != nil:
			return err
		case deviceOf(fi) != deviceOf(top):
			return fs.SkipDir
		case owned(fi, o):
			return nil
		}
		if err := root.Lchown(name, o.UID, o.GID); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	})
	if err != nil {
		return err
	}
	f, err := root.Open(dir)
	if err != nil {
		return err
	}
	err = unix.Syncfs(int(f.Fd()))
	if err == nil && !owned(top, o) {
		err = errors.Join(f.Chown(o.UID, o.GID), f.Sync())
	}
	return errors.Join(err, f.Close())
}

func owned(fi fs.FileInfo, o Owner) bool {
	st, ok := fi.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == o.UID && int(st.Gid) == o.GID
}

func deviceOf(fi fs.FileInfo) uint64 {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return 0
	}
	return uint64(st.Dev) //nolint:unconvert // it has another type on other processors
}
