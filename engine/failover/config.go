// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package failover

import (
	"errors"
	"fmt"
	"io"
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

	// Side is where writes go while the primary hangs; nil: no failover. It
	// has to outlive the log; any number of logs may share it.
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
	// been hanging or failing for MaxSync, be there a side or not. It should end
	// the process.
	Fatal func(error)
	// Leader reports whether this node leads the log's raft group. Only a
	// leader's append ends with ErrStalled. Never where nil. Called without locks.
	Leader func() bool
	// Metrics is told how long things took; nil: nobody.
	Metrics Metrics

	// Journal bounds, in bytes: of one file, and of all of this log's.
	JournalFileSize int64
	JournalBudget   int64
	// CompactionPiece is how many entries the first call removes from the front
	// of the primary; default 512. Later ones are as large as takes a few
	// milliseconds, since a piece delays the operation behind it.
	CompactionPiece uint64

	Logger hclog.Logger
}

// Metrics gets durations as they are measured. It is called from the goroutines
// that wait for them, without a lock of the log held: it must not block, and
// should not allocate.
type Metrics interface {
	// WriteAndSync is an operation that somebody waited for, from its submission
	// to its acknowledgement by either disk.
	WriteAndSync(d time.Duration)
	// PrimarySync is one call on the primary: an append, a truncation, a vote, a
	// fence or a piece of compaction, successful or not.
	PrimarySync(d time.Duration)
	// SideSync is one write and sync of the side that had operations of this log in it.
	SideSync(d time.Duration)
}

type noMetrics struct{}

func (noMetrics) WriteAndSync(time.Duration) {}
func (noMetrics) PrimarySync(time.Duration)  {}
func (noMetrics) SideSync(time.Duration)     {}

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
	if c.Metrics == nil {
		c.Metrics = noMetrics{}
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
	case c.Threshold < 0 || c.MaxSync < 0:
		return fmt.Errorf("failover: Threshold is %s and MaxSync is %s; neither can be negative", c.Threshold, c.MaxSync)
	case c.JournalFileSize < 2*journalStart:
		return fmt.Errorf("failover: JournalFileSize is %d bytes; at least %d", c.JournalFileSize, 2*journalStart)
	case c.JournalBudget < c.JournalFileSize:
		return fmt.Errorf("failover: JournalBudget is %d bytes, less than one journal file of %d", c.JournalBudget, c.JournalFileSize)
	case c.Side != nil:
		return ValidateSide(c.Dir, c.Side.Dir())
	}
	return nil
}
