// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/mountinfo"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/store"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/blockdev"
)

// Look observes what a spec is about. It writes nothing to any disk. Devices
// that the spec cannot mean are not opened: one of them may hang.
func Look(ctx context.Context, roots blockdev.Roots, s Spec) (Machine, error) {
	devices, err := blockdev.Discover(ctx, roots)
	if err != nil {
		return Machine{}, err
	}
	table, err := mounts(roots)
	if err != nil {
		return Machine{}, err
	}
	m := Machine{Devices: devices, Mounts: table, Content: map[string]Content{}, Points: map[string]Point{}}
	for _, d := range candidates(s, devices) {
		m.Content[d.KName] = probe(ctx, roots, d)
	}
	chosen, err := choose(s, m)
	if err != nil {
		chosen = make([]*blockdev.Device, len(s.Disks)) // Make refuses all of it
	}
	for i, want := range s.Disks {
		d := chosen[i]
		if d == nil {
			continue
		}
		_, mounted := m.mountedAt(d, want.Mount)
		m.Points[want.Mount] = point(want, mounted)
		m.Content[d.KName] = inspect(ctx, want, d, m.Content[d.KName], mounted)
	}
	return m, nil
}

// mounts reads the table whole: a mount that is left out would be one that
// nobody sees.
func mounts(roots blockdev.Roots) (mountinfo.Table, error) {
	data, err := fs.ReadFile(roots.Proc, "self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("reading the mount table: %w", err)
	}
	table, err := mountinfo.Parse(data)
	if err != nil {
		return nil, fmt.Errorf("reading the mount table: %w", err)
	}
	return table, nil
}

// probe asks the device itself: udev's database may be older than what is on it.
func probe(ctx context.Context, roots blockdev.Roots, d *blockdev.Device) Content {
	if d.Size == 0 || d.Type == blockdev.TypeROM {
		return Content{}
	}
	if roots.Probe == nil {
		return Content{Err: "nobody who could be asked"}
	}
	p, err := ask(ctx, roots, d.Path)
	if err != nil {
		return Content{Err: err.Error()}
	}
	c := Content{PartTable: p["ID_PART_TABLE_TYPE"]}
	c.Signature.Type, c.Signature.Label, c.Signature.UUID = p.Signature()
	return c
}

// A device has askFor to answer, and is asked again every askAgain: a machine that is busy
// starts no blkid in the time that a list of devices gives one. It is a disk that hangs
// that never answers.
const (
	askFor   = 10 * time.Second
	askAgain = 500 * time.Millisecond
)

func ask(ctx context.Context, roots blockdev.Roots, path string) (blockdev.Properties, error) {
	late := time.NewTimer(askFor)
	defer late.Stop()
	for {
		p, err := roots.Probe(ctx, path)
		if !errors.Is(err, blockdev.ErrHeld) {
			return p, err
		}
		select {
		case <-time.After(askAgain):
		case <-late.C:
			return p, err
		case <-ctx.Done():
			return p, err
		}
	}
}

// inspect looks into a file system that would be used as it is.
func inspect(ctx context.Context, w Disk, d *blockdev.Device, c Content, mounted bool) Content {
	ours := c.Err == "" && c.Signature.Type == w.FSType && c.Signature.Label == w.Label
	if !ours || untouchable(d, c) != nil {
		return c
	}
	where := ""
	if mounted {
		where = w.Mount
	}
	if n, err := fsSize(w.FSType, d.Path, where); err == nil {
		c.FSSize = n // 0 is refused
	}
	if w.Store == nil {
		return c
	}
	switch {
	case mounted:
		c.inside(w)
	case len(d.MountPoints) > 0: // mounted elsewhere, which is refused
	default:
		id, entries, err := peek(ctx, w, d.Path)
		c.setStore(id, err)
		c.Beside = w.beside(entries, c.Store != nil)
	}
	return c
}

func (c *Content) setStore(id store.Identity, err error) {
	switch {
	case err == nil:
		c.Store = &id
	case !errors.Is(err, store.ErrNoIdentity):
		c.StoreErr = err.Error()
	}
}

// point looks at a mount point.
func point(w Disk, mounted bool) Point {
	if mounted {
		p := Point{Dirs: map[string]Dir{}}
		for _, d := range w.Directories {
			p.Dirs[d.Path] = dir(filepath.Join(w.Mount, d.Path))
		}
		return p
	}
	if link, err := throughLink(w.Mount); err != nil || link {
		if err != nil {
			return Point{Err: err.Error()}
		}
		return Point{Err: "a path through a symbolic link"}
	}
	switch fi, err := os.Lstat(w.Mount); {
	case errors.Is(err, fs.ErrNotExist):
		return Point{Missing: true}
	case err != nil:
		return Point{Err: err.Error()}
	case !fi.IsDir():
		return Point{Err: "something that is no directory"}
	}
	entries, err := os.ReadDir(w.Mount)
	if err != nil {
		return Point{Err: err.Error()}
	}
	if len(entries) > 0 {
		var names []string
		for _, e := range entries[:min(len(entries), 3)] {
			names = append(names, e.Name())
		}
		return Point{Err: fmt.Sprintf("a directory with %d entries (%s) that the mount would hide", len(entries), strings.Join(names, ", "))}
	}
	return Point{}
}

// throughLink reports whether a path, as far as it exists, is one under
// another name: the mount table has the real one.
func throughLink(path string) (bool, error) {
	for ; path != "/"; path = filepath.Dir(path) {
		resolved, err := filepath.EvalSymlinks(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		return resolved != path, err
	}
	return false, nil
}

func dir(path string) Dir {
	var st unix.Stat_t
	switch err := unix.Lstat(path, &st); {
	case errors.Is(err, unix.ENOENT):
		return Dir{Missing: true}
	case err != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR:
		return Dir{NotDir: true}
	}
	return Dir{UID: int(st.Uid), GID: int(st.Gid), Mode: Mode(st.Mode & 0o777)}
}
