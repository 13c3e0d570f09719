// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package layout

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/mountinfo"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/store"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
)

// Want is one directory as it should be.
type Want struct {
	Field  string // its attribute in the spec, for errors
	Path   string
	Device string // the block device that it must lie on, if named
	Mount  string // the mount point that it must lie on, if named
	// Owner is whose the directory is, and a store's files; nil is whoever makes it.
	Owner *Owner
	// Store is the identity that a store should have, nil for the side disk. Its
	// StoreID is the one on record, empty where there was none yet.
	Store *store.Identity
}

// Owner is a user and a group.
type Owner struct{ UID, GID int }

// Found is what is there.
type Found struct {
	Missing bool
	NotDir  bool
	// Mount is the device that the path lies on, Device the one that was
	// named, as MAJ:MIN; DeviceErr says why the latter is not known.
	Mount, Device string
	DeviceErr     error
	Point         string // the mount point that the path lies on
	// Store is the identity in the directory; StoreErr says why there is none.
	Store    *store.Identity
	StoreErr error
}

// Step is what Decide came to.
type Step int

// Steps.
const (
	Use  Step = iota // it is as it should be
	Make             // create the directory, and the identity of a store
)

// Look observes the directory of w.
func Look(w Want) (Found, error) {
	var f Found
	fi, err := os.Stat(w.Path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		f.Missing = true
	case err != nil:
		return f, err
	default:
		f.NotDir = !fi.IsDir()
	}
	m, err := mountinfo.MountOf(w.Path)
	if err != nil {
		return f, err
	}
	f.Mount, f.Point = m.MajMin(), m.Point
	if w.Device != "" {
		f.Device, f.DeviceErr = deviceNumber(w.Device)
	}
	if w.Store == nil || f.NotDir {
		return f, nil
	}
	id, err := store.Read(w.Path)
	if err == nil {
		f.Store = &id
	}
	f.StoreErr = err
	return f, nil
}

func deviceNumber(path string) (string, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return "", fmt.Errorf("%s is not a block device", path)
	}
	return fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev)), nil
}

// Decide compares what should be with what is. A refusal is an *agentapi.Error.
func Decide(w Want, f Found) (Step, error) {
	refuse := func(field, why, next string) (Step, error) {
		return Use, &agentapi.Error{What: "the directory " + w.Path + " is refused", Why: why, Next: next, Field: w.Field + "." + field}
	}
	if w.Device != "" {
		if f.DeviceErr != nil {
			return refuse("device", fmt.Sprintf("the device %s cannot be looked at: %v", w.Device, f.DeviceErr), "Attach the disk, or correct the spec.")
		}
		if f.Device != f.Mount {
			return refuse("device", fmt.Sprintf("it lies on device %s, not on %s (%s)", f.Mount, f.Device, w.Device),
				"Mount "+w.Device+" there; nothing was written to the disk below.")
		}
	}
	if w.Mount != "" && f.Point != w.Mount {
		return refuse("disk.mount", fmt.Sprintf("it lies on the mount %s, not on %s, where nothing is mounted", f.Point, w.Mount),
			"The agent mounts it again; nothing was written to the disk below.")
	}
	if f.NotDir {
		return refuse("path", "it is not a directory", "Give another path.")
	}
	if w.Store == nil {
		if f.Missing {
			return Make, nil
		}
		return Use, nil
	}
	switch {
	case f.Store != nil:
		return Use, matches(w, *f.Store)
	case !errors.Is(f.StoreErr, store.ErrNoIdentity):
		next := "Give an empty directory, or the one that is this store's."
		if errors.Is(f.StoreErr, store.ErrCorrupt) {
			next = "Restore holdfast-store.json from a copy; do not make a new one beside an old log."
		}
		return refuse("path", f.StoreErr.Error(), next)
	case w.Store.StoreID != "":
		return refuse("path", fmt.Sprintf("store %s was here, and now it is missing or empty: its disk is not mounted, or was wiped", w.Store.StoreID),
			"Mount the disk of the store. An empty log is never started in place of an old one: this server's vote is in it.")
	}
	return Make, nil
}

func matches(w Want, got store.Identity) error {
	for _, f := range []struct{ name, got, want string }{
		{"cluster id", got.ClusterID, w.Store.ClusterID},
		{"cluster", got.Cluster, w.Store.Cluster},
		{"node", got.Node, w.Store.Node},
		{"node id", got.NodeID, w.Store.NodeID},
		{"store id", got.StoreID, w.Store.StoreID},
	} {
		if f.want != "" && f.got != f.want {
			return &agentapi.Error{
				What:  "the directory " + w.Path + " is refused",
				Why:   fmt.Sprintf("it is a store of %s %q, this one has %q", f.name, f.got, f.want),
				Next:  "Give an empty directory, or the one that is this store's. Nothing was changed.",
				Field: w.Field + ".path",
			}
		}
	}
	return nil
}

// Apply brings the directory of w to what it should be, durably, and returns the id of
// its store, empty for the side disk. Doing it again changes nothing.
func Apply(w Want) (string, error) {
	f, err := Look(w)
	if err != nil {
		return "", err
	}
	step, err := Decide(w, f)
	if err != nil {
		return "", err
	}
	id := ""
	if step == Make && w.Owner != nil {
		if err := makeParents(w.Path); err != nil {
			return "", err
		}
	}
	switch {
	case step == Use && w.Store == nil:
	case step == Use:
		id = f.Store.StoreID
	case w.Store == nil:
		err = makeDir(w.Path)
	default:
		made := *w.Store
		made.StoreID = uuid.NewString()
		id, err = made.StoreID, store.Create(w.Path, made)
	}
	if err == nil && w.Owner != nil {
		err = own(w)
	}
	return id, err
}

// makeParents makes the directories above path, so that its owner gets there.
func makeParents(path string) error {
	parent := filepath.Dir(path)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return err
	}
	return vfs.OS{}.SyncDir(filepath.Dir(parent))
}

// sideName is the one directory that engines make in a side directory.
const sideName = "side"

// own gives the directory of w to its owner where it, or what an engine needs first in it,
// is another's: also where an earlier run ended between the making and this. All of a
// store is its owner's. Of a side directory, which may be anybody's, that is what engines
// write there.
func own(w Want) error {
	root, err := os.OpenRoot(w.Path) // no link in it leads out
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }() // nothing is written through it
	names := []string{store.FileName, store.LockName, "."}
	if w.Store == nil {
		names = []string{sideName, "."}
	}
	foreign := false
	for _, name := range names {
		fi, err := root.Lstat(name)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if owned(fi, *w.Owner) {
			continue
		}
		if w.Store == nil && name == sideName {
			if err := Give(root, sideName, *w.Owner); err != nil {
				return err
			}
		}
		foreign = true
	}
	switch {
	case !foreign:
		return nil
	case w.Store != nil:
		err = Give(root, ".", *w.Owner)
	default:
		err = errors.Join(root.Lchown(".", w.Owner.UID, w.Owner.GID), vfs.OS{}.SyncDir(w.Path))
	}
	return errors.Join(err, vfs.OS{}.SyncDir(filepath.Dir(w.Path)))
}

// makeDir makes a directory and waits until its name is durable.
func makeDir(path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	return vfs.OS{}.SyncDir(filepath.Dir(path))
}
