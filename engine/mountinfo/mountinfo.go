// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package mountinfo

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// SelfPath is the table of the mount namespace that this process is in.
const SelfPath = "/proc/self/mountinfo"

// ErrNoMount is returned where no mount of the table holds a path.
var ErrNoMount = errors.New("no mount holds this path")

// Mount is one line of mountinfo; strings are unescaped.
type Mount struct {
	ID, Parent   int
	Major, Minor uint32
	// Root is the directory of the file system that is mounted: "/" except
	// for bind mounts and subvolumes.
	Root string
	// Point is the mount point, as seen from the process's root.
	Point string
	// Options are per mount, SuperOptions per file system.
	Options, SuperOptions string
	FSType                string
	// Source is what was given to mount(2): a device's path, or any word.
	// The kernel's "/dev/root" of early boot is among the words; only
	// Major and Minor always name the device.
	Source string
}

// MajMin is the device as lsblk and cgroup v2 write it, "254:16". The major
// of file systems without a block device (tmpfs, overlay, btrfs) is 0.
func (m Mount) MajMin() string { return fmt.Sprintf("%d:%d", m.Major, m.Minor) }

// Device is the path of the mounted block device: Source where that is a path
// below /dev, "" where the file system has none.
func (m Mount) Device() string {
	if !strings.HasPrefix(m.Source, "/dev/") {
		return ""
	}
	return m.Source
}

// ReadOnly reports whether writes through this mount are refused, be it by
// the mount or by the file system.
func (m Mount) ReadOnly() bool {
	return hasOption(m.Options, "ro") || hasOption(m.SuperOptions, "ro")
}

func hasOption(options, name string) bool {
	for o := range strings.SplitSeq(options, ",") {
		if o == name {
			return true
		}
	}
	return false
}

// Table is a mount table in the kernel's order.
type Table []Mount

// Read reads the table of this process. Lines that do not parse are left out
// and named in the error; the others are returned with it.
func Read() (Table, error) {
	data, err := os.ReadFile(SelfPath)
	if err != nil {
		return nil, fmt.Errorf("reading the mount table: %w", err)
	}
	return Parse(data)
}

// MountOf returns the mount that path lies on. Symbolic links are followed.
// What is not there yet lies on the mount of its nearest parent, which is
// where it would be made.
func MountOf(path string) (Mount, error) {
	resolved, err := resolve(path)
	if err != nil {
		return Mount{}, fmt.Errorf("finding the mount of %s: %w", path, err)
	}
	table, err := Read()
	if m, ok := table.Of(resolved); ok {
		return m, nil
	}
	if err == nil {
		err = ErrNoMount
	}
	return Mount{}, fmt.Errorf("finding the mount of %s: %w", path, err)
}

// resolve makes path absolute and free of links as far as it exists.
func resolve(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	missing := ""
	for {
		resolved, err := filepath.EvalSymlinks(path)
		if err == nil {
			return filepath.Join(resolved, missing), nil
		}
		if !errors.Is(err, fs.ErrNotExist) || path == "/" {
			return "", err
		}
		missing = filepath.Join(filepath.Base(path), missing)
		path = filepath.Dir(path)
	}
}

// Of returns the mount that an absolute path without symbolic links lies on.
func (t Table) Of(path string) (Mount, bool) {
	path = filepath.Clean(path)
	if !filepath.IsAbs(path) {
		return Mount{}, false
	}
	current, ok := t.root()
	if !ok {
		return t.longestPrefix(path)
	}
	current = t.climb(current, "/")
	for i := 1; i <= len(path); i++ {
		if i == len(path) || path[i] == '/' {
			current = t.climb(current, path[:i])
		}
	}
	return current, true
}

// root returns the mount of "/" that lies below all others there: its parent
// is not in the table, or is itself.
func (t Table) root() (Mount, bool) {
	ids := make(map[int]bool, len(t))
	for _, m := range t {
		ids[m.ID] = true
	}
	for _, m := range t {
		if m.Point == "/" && (!ids[m.Parent] || m.Parent == m.ID) {
			return m, true
		}
	}
	return Mount{}, false
}

// climb follows the mounts stacked at point, from m upwards. It takes len(t)
// steps at most, so that a malformed table with a loop in it ends too.
func (t Table) climb(m Mount, point string) Mount {
	for range t {
		next, ok := t.child(m, point)
		if !ok {
			break
		}
		m = next
	}
	return m
}

// child returns the mount on top of parent at point, the newest if several.
func (t Table) child(parent Mount, point string) (Mount, bool) {
	for i := len(t) - 1; i >= 0; i-- {
		if m := t[i]; m.Parent == parent.ID && m.ID != parent.ID && m.Point == point {
			return m, true
		}
	}
	return Mount{}, false
}

// longestPrefix serves tables without a root, as a process sees them whose
// root directory is no mount point (chroot).
func (t Table) longestPrefix(path string) (best Mount, ok bool) {
	for _, m := range t {
		if within(path, m.Point) && (!ok || len(m.Point) >= len(best.Point)) {
			best, ok = m, true
		}
	}
	return best, ok
}

func within(path, dir string) bool {
	return dir == "/" || path == dir || strings.HasPrefix(path, dir+"/")
}
