// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package provision

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/atomicfile"
)

// writeFile makes the file what it should be: after a crash the old one is there or
// the new one, whole and with its owner and mode. Durable when it returns. A symbolic
// link in its place is replaced, not followed.
func writeFile(s *Step, key Key) (*Disk, error) {
	f := s.File
	content, err := f.render()
	if err != nil {
		return nil, err
	}
	uid, gid, err := f.ids()
	if err != nil {
		return nil, err
	}
	if fi, err := os.Lstat(f.Path); err == nil && fi.IsDir() {
		return nil, fmt.Errorf("%s is a directory", f.Path)
	}
	if err := makeDirs(filepath.Dir(f.Path)); err != nil {
		return nil, err
	}
	if err := atomicfile.Write(f.Path, content, atomicfile.Owner{UID: uid, GID: gid, Mode: f.mode()}); err != nil {
		return nil, err
	}
	return lookAt(f.Path, s.Name, key)
}

// makeDirs makes a directory and those above it that are missing, durably.
func makeDirs(dir string) error {
	if fi, err := os.Stat(dir); err == nil && fi.IsDir() {
		return nil
	}
	if err := makeDirs(filepath.Dir(dir)); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	if err := os.Chmod(dir, 0o755); err != nil { // whatever the umask is
		return err
	}
	return vfs.OS{}.SyncDir(filepath.Dir(dir))
}

// ids are the numbers of owner and group, -1 where none is named.
func (f *File) ids() (uid, gid int, err error) {
	uid, gid = -1, -1
	if f.Owner != "" {
		if uid, err = strconv.Atoi(f.Owner); err != nil {
			u, err := user.Lookup(f.Owner)
			if err != nil {
				return 0, 0, err
			}
			if uid, err = strconv.Atoi(u.Uid); err != nil {
				return 0, 0, err
			}
		}
	}
	if f.Group != "" {
		if gid, err = strconv.Atoi(f.Group); err != nil {
			g, err := user.LookupGroup(f.Group)
			if err != nil {
				return 0, 0, err
			}
			if gid, err = strconv.Atoi(g.Gid); err != nil {
				return 0, 0, err
			}
		}
	}
	return uid, gid, nil
}

// lookAt returns how the file of a step is, nil where there is none. What is no
// regular file, or larger than a step can write, has an empty sum: it differs.
func lookAt(path, step string, key Key) (*Disk, error) {
	// Not through a link, and a FIFO in the file's place does not hold us.
	fd, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENXIO) || errors.Is(err, unix.ENOTDIR) {
		return &Disk{Path: path}, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = fd.Close() }() // read only
	var st unix.Stat_t
	if err := unix.Fstat(int(fd.Fd()), &st); err != nil {
		return nil, fmt.Errorf("stat %s: %w", path, err)
	}
	d := &Disk{Path: path, Mode: st.Mode & 0o7777, UID: st.Uid, GID: st.Gid}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size > maxText {
		return d, nil
	}
	b, err := io.ReadAll(io.LimitReader(fd, maxText+1))
	if err != nil {
		return nil, err
	}
	d.Sum = key.sum(step, "disk", string(b))
	return d, nil
}
