// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package failover

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs"
)

// Store is a primary: a log store and a stable store in one place, such as
// raft-wal or raft-boltdb.
type Store interface {
	raft.LogStore
	raft.StableStore
	io.Closer
}

// Config is what a failover log is opened with.
type Config struct {
	// FS holds Dir. The OS's where nil.
	FS vfs.FS
	// Dir is the log's directory on the primary's disk: the log's id, the
	// fence and the record of armed sides live here, beside the primary's own files.
	Dir string
	// Open opens the primary. It is called again after an error of the
	// primary, once the failed handle is closed.
	Open func() (Store, error)

	// Cluster, Node, Store and Partition go into the identity that journals carry.
	Cluster, Node, Store, Partition string

	// Side is where writes go while the primary hangs; nil: no failover.
	Side *Side
	// Previous are side directories that were armed earlier and are not any
	// more: what they hold is drained at start (prev_path).
	Previous []string

	// Threshold is when an overdue operation makes it a failover; default
	// 100 ms. Above MaxSync it turns failover off.
	Threshold time.Duration
	// MaxSync is how long the primary may hang before Fatal is called; default 40 s.
	MaxSync time.Duration
	// Fatal is called once, from a goroutine of the log, when the primary has
	// been hanging for MaxSync. It should end the process.
	Fatal func(error)
	// Leader reports whether this node leads the log's raft group. Only a
	// leader's append ends with ErrStalled. Never where nil. Called without locks.
	Leader func() bool

	// Journal bounds, in bytes: of one file, and of all of this log's.
	JournalFileSize int64
	JournalBudget   int64
	// CompactionPiece is how many entries one call removes from the front of
	// the primary; default 512. A piece delays the operation behind it.
	CompactionPiece uint64

	Logger hclog.Logger
}

// Defaults of Config.
const (
	DefaultThreshold     = 100 * time.Millisecond
	DefaultMaxSync       = 40 * time.Second
	DefaultJournalBudget = 256 << 20
	DefaultPiece         = 512
)

func (c *Config) setDefaults() {
	def(&c.Threshold, DefaultThreshold)
	def(&c.MaxSync, DefaultMaxSync)
	def(&c.JournalFileSize, DefaultJournalFileSize)
	def(&c.JournalBudget, DefaultJournalBudget)
	def(&c.CompactionPiece, DefaultPiece)
	if c.FS == nil {
		c.FS = vfs.OS{}
	}
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	if c.Leader == nil {
		c.Leader = func() bool { return false }
	}
	if c.Fatal == nil {
		c.Fatal = func(error) {}
	}
}

func def[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

// Validate names the field and the value that will not do.
func (c *Config) Validate() error {
	switch {
	case c.Dir == "":
		return errors.New("failover: Dir is empty")
	case c.Open == nil:
		return errors.New("failover: Open is nil")
	case c.Partition == "" || c.Store == "":
		return fmt.Errorf("failover: Store is %q and Partition is %q; both name the journal's directory", c.Store, c.Partition)
	case c.Side != nil && within(c.Side.Dir(), c.Dir):
		return fmt.Errorf("failover: the side %s is inside the primary's directory %s: it would hang with it; put it on another disk", c.Side.Dir(), c.Dir)
	case c.JournalFileSize < 2*journalStart:
		return fmt.Errorf("failover: JournalFileSize is %d bytes; at least %d", c.JournalFileSize, 2*journalStart)
	}
	return nil
}

// within reports whether path is dir or below it.
func within(path, dir string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}
