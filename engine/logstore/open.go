// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package logstore

import (
	"fmt"
	"os"

	"github.com/hashicorp/go-hclog"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/logstore/boltstore"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/logstore/walstore"
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
func Open(dir string, o Options) (s Store, warning string, err error) {
	if err := o.Validate(); err != nil {
		return nil, "", fmt.Errorf("opening raft log %s: %w", dir, err)
	}
	configured, _ := Parse(string(o.Backend)) // Validate has parsed it
	if err := makeDir(dir); err != nil {
		return nil, "", err
	}
	effective, found, err := Detect(dir)
	if err != nil {
		return nil, "", err
	}
	if !found {
		effective = configured
	}
	if effective != configured {
		warning = fmt.Sprintf("raft log in %s is of backend %q and stays in use, although raft_logstore.backend is %q; convert the log to change it",
			dir, effective, configured)
	}
	s, err = openBackend(dir, effective, o)
	if err != nil {
		return nil, "", fmt.Errorf("opening raft log %s: %w", dir, err)
	}
	return s, warning, nil
}

func makeDir(dir string) error {
	err := os.Mkdir(dir, 0o700)
	if os.IsExist(err) {
		return nil
	}
	return err
}

func openBackend(string, Backend, Options) (Store, error) {
	return nil, nil
}

var _ = boltstore.FileName
