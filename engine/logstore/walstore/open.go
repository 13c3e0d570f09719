// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package walstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/hashicorp/go-hclog"
	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/metadb"
	"github.com/hashicorp/raft-wal/metrics"
	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/logstore/internal/guard"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs"
)

const (
	// DirName is the log's directory in the partition's.
	DirName = "wal"
	// MetaFileName is the database that makes a directory a log.
	MetaFileName = metadb.FileName

	// DefaultSegmentSizeMB is raft-wal's own default.
	DefaultSegmentSizeMB = 64
	maxSegmentSizeMB     = 1024
)

// Options say how to open a log. The zero value is usable.
type Options struct {
	// SegmentSizeMB is the length of new segments in MiB, DefaultSegmentSizeMB
	// if 0.
	SegmentSizeMB int
	// Logger may be nil.
	Logger hclog.Logger
	// Metrics may be nil.
	Metrics metrics.Collector
}

// ValidateSegmentSizeMB refuses a size that raft-wal cannot use. 0 stands for
// the default.
func ValidateSegmentSizeMB(mb int) error {
	if mb < 0 || mb > maxSegmentSizeMB {
		return fmt.Errorf("%d MiB is out of range: use 1 to %d, or leave it out for %d", mb, maxSegmentSizeMB, DefaultSegmentSizeMB)
	}
	return nil
}

// Open opens the log in dir, which is made if it is missing (its parent must
// exist), and begins an empty one where there is none. The caller keeps other
// processes away from it.
//
// It reads the tail segment once from end to end, to check it; it does not wait
// for the spare.
func Open(dir string, o Options) (*Store, error) {
	if err := ValidateSegmentSizeMB(o.SegmentSizeMB); err != nil {
		return nil, fmt.Errorf("segment size: %w", err)
	}
	if o.SegmentSizeMB == 0 {
		o.SegmentSizeMB = DefaultSegmentSizeMB
	}
	if err := os.Mkdir(dir, 0o700); err == nil {
		if err := (vfs.OS{}).SyncDir(filepath.Dir(dir)); err != nil {
			return nil, err
		}
	} else if !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	return open(config{
		dir:         dir,
		fs:          vfs.OS{},
		meta:        &metadb.BoltMetaDB{},
		segmentSize: o.SegmentSizeMB << 20,
		log:         o.Logger,
		metrics:     o.Metrics,
	})
}

// config is Options with the parts that tests replace.
type config struct {
	dir         string
	fs          vfs.FS
	meta        types.MetaStore
	segmentSize int
	log         hclog.Logger
	metrics     metrics.Collector
}

func open(c config) (*Store, error) {
	if c.log == nil {
		c.log = hclog.NewNullLogger()
	}
	if c.metrics == nil {
		c.metrics = &metrics.NoOpCollector{}
	}
	s := &Store{Guard: guard.New(c.dir), dir: c.dir}
	s.keeper = newKeeper(c.fs, c.dir, int64(c.segmentSize), c.log)
	if err := s.keeper.adopt(); err != nil {
		return nil, err
	}
	f := &files{fs: c.fs, dir: c.dir, keeper: s.keeper, log: c.log}
	m := &meta{MetaStore: c.meta, files: f, segmentSize: uint32(c.segmentSize), fail: s.Fail}

	go s.keeper.run()
	w, err := wal.Open(c.dir,
		wal.WithMetaStore(m),
		wal.WithSegmentFiler(&filer{Filer: segment.NewFiler(c.dir, f), files: f, fail: s.Fail}),
		wal.WithSegmentSize(c.segmentSize),
		wal.WithLogger(c.log),
		wal.WithMetricsCollector(c.metrics),
	)
	if err != nil {
		s.keeper.close()
		// raft-wal leaves the meta database open, and locked, when it fails.
		return nil, errors.Join(err, c.meta.Close())
	}
	s.wal = w
	s.keeper.prepare()
	return s, nil
}
