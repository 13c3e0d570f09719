// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package status

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/mountinfo"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
)

// Contents are what a directory holds, as far as this package does not know it
// itself: the store's id and the backend of its log. It may hang with the disk.
type Contents func(path string) (storeID, backend string, err error)

// Dirs observes directories. Safe for concurrent use.
type Dirs struct {
	Contents Contents
	// Bound is how long all directories of one call get together.
	Bound time.Duration

	work Bounded
	mu   struct {
		sync.Mutex
		last map[string]agentapi.StoreStatus // the last good look
	}
}

// Look returns the status of each directory, in order. Where one cannot be
// looked at, its error says why and its status is the last one that was had.
func (d *Dirs) Look(paths []string) ([]agentapi.StoreStatus, []error) {
	mounts, merr := mountinfo.Read()
	out, errs := make([]agentapi.StoreStatus, len(paths)), make([]error, len(paths))
	var wg sync.WaitGroup
	for i, path := range paths {
		wg.Go(func() { out[i], errs[i] = d.look(mounts, path) })
	}
	wg.Wait()
	if len(mounts) == 0 && merr != nil {
		return out, slices.Concat(errs, []error{fmt.Errorf("read the mount table: %w", merr)})
	}
	return out, errs
}

func (d *Dirs) look(mounts mountinfo.Table, path string) (agentapi.StoreStatus, error) {
	fresh := make(chan agentapi.StoreStatus, 1) // one answer, whether somebody waits or not
	err := d.work.Do(path, d.Bound, func() error {
		st, err := d.read(mounts, path)
		if err == nil {
			d.mu.Lock()
			if d.mu.last == nil {
				d.mu.last = map[string]agentapi.StoreStatus{}
			}
			d.mu.last[path] = st
			d.mu.Unlock()
			fresh <- st
		}
		return err
	})
	if err == nil {
		return <-fresh, nil
	}
	d.mu.Lock()
	st, ok := d.mu.last[path]
	d.mu.Unlock()
	if !ok {
		st = agentapi.StoreStatus{Path: path}
		locate(&st, mounts, path)
	}
	return st, err
}

// locate fills in what the mount table says, without touching the disk.
func locate(st *agentapi.StoreStatus, mounts mountinfo.Table, path string) {
	if m, ok := mounts.Of(path); ok {
		st.Mountpoint, st.Device, st.MajMin, st.FSType = m.Point, m.Device(), m.MajMin(), m.FSType
	}
}

func (d *Dirs) read(mounts mountinfo.Table, path string) (agentapi.StoreStatus, error) {
	st := agentapi.StoreStatus{Path: path}
	resolved, err := filepath.EvalSymlinks(path)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			err = fmt.Errorf("%s is not there: %w", path, os.ErrNotExist)
		}
		return st, err
	}
	locate(&st, mounts, resolved)
	var fs unix.Statfs_t
	if err := unix.Statfs(resolved, &fs); err != nil {
		return st, fmt.Errorf("statfs %s: %w", resolved, err)
	}
	// Free is what the engine may use: blocks reserved for root are not.
	st.SizeBytes, st.FreeBytes = int64(fs.Blocks)*fs.Frsize, int64(fs.Bavail)*fs.Frsize
	if d.Contents != nil {
		if st.ID, st.Backend, err = d.Contents(resolved); err != nil {
			return st, err
		}
	}
	return st, nil
}
