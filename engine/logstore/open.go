// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package logstore

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/logstore/boltstore"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/logstore/walstore"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs"
)

// DefaultWALSegmentSizeMB is the size of a wal segment where none is configured.
const DefaultWALSegmentSizeMB = walstore.DefaultSegmentSizeMB

// Options say how to open a log. The zero value is usable.
type Options struct {
	// Backend is the configured one; Default if empty. It decides only where
	// there is no log yet.
	Backend Backend

	// WALSegmentSizeMB is raft_logstore.wal.segment_size_mb, in MiB; 0 means
	// DefaultWALSegmentSizeMB. It applies to segments made from now on.
	WALSegmentSizeMB int

	// NoFreelistSync is raft_logstore.boltdb.no_freelist_sync: commits leave
	// the list of free pages out, and the next open reads the whole file.
	NoFreelistSync bool

	// Logger may be nil.
	Logger hclog.Logger

	// Metrics receives the wal's counters and gauges, nil for none.
	Metrics Metrics
}

// Metrics is what the wal counts into, under names such as log_appends and
// segment_rotations; the caller adds its prefix (raft.wal). raft-wal's
// metrics.Collector has the same methods.
type Metrics interface {
	IncrementCounter(name string, delta uint64)
	SetGauge(name string, val uint64)
}

// Validate names the first field with a value that cannot be used.
func (o Options) Validate() error {
	if _, err := Parse(string(o.Backend)); err != nil {
		return err
	}
	if err := walstore.ValidateSegmentSizeMB(o.WALSegmentSizeMB); err != nil {
		return fmt.Errorf("segment_size_mb: %w", err)
	}
	return nil
}

// Open opens the log in dir, one partition's directory, and makes an empty one
// of the configured backend where there is none. A missing dir is created (its
// parent must exist).
//
// If dir holds a log of the other backend that one is opened and warning says
// so, for log and status; it is empty otherwise. The store's Backend is the
// effective one.
//
// A new log is made under a temporary name and renamed, so that a crash leaves
// either no log or one that opens.
//
// What the page cache has of an old log is dropped first. Linux counts a write for the control group
// in which the file's pages came into the cache, and gives the files of a group that is gone to the one
// above it; systemd makes a group for each run of a service. So what is written to the files of an
// earlier process would count for nobody, and io.max, io.weight and io.stat of the service would know of
// nothing but flushes until the segments of then are full. Read again, the pages are of this
// process, and a few writes later the files are, too.
func Open(dir string, o Options) (s Store, warning string, err error) {
	if err := o.Validate(); err != nil {
		return nil, "", fmt.Errorf("opening raft log %s: %w", dir, err)
	}
	configured, _ := Parse(string(o.Backend)) // Validate has parsed it
	if err := makeDir(dir); err != nil {
		return nil, "", fmt.Errorf("opening raft log: %w", err)
	}
	held, err := lock(dir)
	if err != nil {
		return nil, "", fmt.Errorf("opening raft log: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, held.Close())
		}
	}()
	if err := vfs.DropCache(dir); err != nil && o.Logger != nil {
		o.Logger.Warn("what is written to the log may not count for this service's control group yet", "dir", dir, "error", err)
	}
	effective, found, err := Detect(dir)
	if err != nil {
		return nil, "", fmt.Errorf("opening raft log: %w", err)
	}
	if !found {
		effective = configured
		if err := clearEmpty(dir); err != nil {
			return nil, "", fmt.Errorf("opening raft log: %w", err)
		}
	}
	if effective != configured {
		warning = fmt.Sprintf("raft log in %s is of backend %q and stays in use, although raft_logstore.backend is %q; only a conversion of the log changes it",
			dir, effective, configured)
	}
	b, err := openBackend(dir, effective, o)
	if errors.Is(err, boltstore.ErrTimeout) {
		err = fmt.Errorf("%w: a process other than holdfast has %s open: %w", ErrLocked, boltstore.FileName, err)
	}
	if err != nil {
		return nil, "", fmt.Errorf("opening raft log %s (%s): %w", dir, effective, err)
	}
	return &store{backendStore: b, backend: effective, lock: held}, warning, nil
}

// makeDir makes dir if it is missing, durably.
func makeDir(dir string) error {
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return vfs.OS{}.SyncDir(filepath.Dir(dir))
}

// clearEmpty removes databases that Detect has found to hold nothing: neither
// backend opens them.
func clearEmpty(dir string) error {
	for _, name := range []string{
		boltstore.FileName,
		filepath.Join(walstore.DirName, walstore.MetaFileName),
	} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// backendStore is a Store without its name.
type backendStore interface {
	raft.LogStore
	raft.StableStore
	raft.MonotonicLogStore
	io.Closer
	Err() error
	Failed() <-chan struct{}
}

var (
	_ backendStore = (*walstore.Store)(nil)
	_ backendStore = (*boltstore.Store)(nil)
)

func openBackend(dir string, b Backend, o Options) (backendStore, error) {
	if b == BoltDB {
		return boltstore.Open(dir, boltstore.Options{NoFreelistSync: o.NoFreelistSync})
	}
	return walstore.Open(filepath.Join(dir, walstore.DirName), walstore.Options{
		SegmentSizeMB: o.WALSegmentSizeMB,
		Logger:        o.Logger,
		Metrics:       o.Metrics,
	})
}

// store is an open backend with its name and the lock on its directory.
type store struct {
	backendStore
	backend Backend
	lock    *os.File
}

// Backend implements Store.
func (s *store) Backend() Backend { return s.backend }

// Close implements Store. The lock goes last, so that whoever gets it finds the
// files at rest.
func (s *store) Close() error {
	err := s.backendStore.Close()
	if lerr := s.lock.Close(); lerr != nil && !errors.Is(lerr, fs.ErrClosed) {
		err = errors.Join(err, lerr)
	}
	return err
}
