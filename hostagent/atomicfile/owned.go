// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package atomicfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs"
)

// Owner is whose a file is, and who may read and write it. A number below 0 leaves user or
// group to whoever writes the file.
type Owner struct {
	UID, GID int
	Mode     fs.FileMode
}

// Mine is a file of whoever writes it.
func Mine(mode fs.FileMode) Owner { return Owner{-1, -1, mode} }

// Write replaces the file at path, and gives it to its owner: nobody finds it under its
// name with another content, owner or mode. A symbolic link in its place is replaced, not
// followed. Durable when it returns. One writer of a path at a time.
func Write(path string, data []byte, o Owner) (err error) {
	temp := path + ".new"
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(temp) // the error that is returned counts
		}
	}()
	_, err = f.Write(data)
	if err == nil {
		err = f.Chown(o.UID, o.GID)
	}
	if err == nil {
		err = f.Chmod(o.Mode) // after chown, which takes bits away
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		return err
	}
	return vfs.OS{}.SyncDir(filepath.Dir(path))
}
