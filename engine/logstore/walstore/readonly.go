// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package walstore

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/metadb"
	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"
	"go.etcd.io/bbolt"
)

// errReadOnly is returned to raft-wal where it would write.
var errReadOnly = errors.New("the log is open for reading only")

// metaLockTimeout is for somebody's tool that has wal-meta.db open.
const metaLockTimeout = time.Second

// ReadOnly is a log that is only looked at: no file is made, changed or removed,
// and what a crash left half done stays so.
type ReadOnly struct {
	dir string
	wal *wal.WAL
}

// OpenReadOnly opens the log in dir, which is there, for reading. The caller
// keeps engines away from it.
func OpenReadOnly(dir string) (*ReadOnly, error) {
	w, err := wal.Open(dir,
		wal.WithMetaStore(readOnlyMeta{}),
		wal.WithSegmentFiler(segment.NewFiler(dir, readOnlyFiles{})),
	)
	if err != nil {
		return nil, err
	}
	return &ReadOnly{dir: dir, wal: w}, nil
}

// FirstIndex is as in raft.LogStore.
func (r *ReadOnly) FirstIndex() (uint64, error) { return r.wal.FirstIndex() }

// LastIndex is as in raft.LogStore.
func (r *ReadOnly) LastIndex() (uint64, error) { return r.wal.LastIndex() }

// GetLog is as in raft.LogStore.
func (r *ReadOnly) GetLog(index uint64, log *raft.Log) error {
	// raft-wal still finds deleted entries in the segment that the log begins in.
	if first, err := r.wal.FirstIndex(); err != nil || first == 0 || index < first {
		return errors.Join(err, raft.ErrLogNotFound)
	}
	return r.wal.GetLog(index, log)
}

// Scan checks every batch of every segment against the checksum that it was
// written with, whether its entries were deleted since or not. damage has one
// error per segment.
//
// torn is how long the remains are of a write behind the last sound batch, 0
// after a clean stop. A crash cut that write short, and nobody was told that it is
// there; or the last batch is damaged, which looks the same.
func (r *ReadOnly) Scan() (damage []error, torn int64, err error) {
	state, err := (readOnlyMeta{}).Load(r.dir)
	if err != nil {
		return nil, 0, err
	}
	for i, s := range state.Segments {
		path := filepath.Join(r.dir, segment.FileName(s))
		sealed := !s.SealTime.IsZero()
		f, err := os.Open(path)
		if errors.Is(err, os.ErrNotExist) && !sealed && i == len(state.Segments)-1 {
			continue // a crash came before it was made
		}
		if err != nil {
			return damage, 0, err
		}
		scan, rest, err := scanSegment(f)
		err = errors.Join(err, f.Close())
		switch want := s.MaxIndex - s.BaseIndex + 1; {
		case errors.Is(err, types.ErrCorrupt):
			damage = append(damage, fmt.Errorf("segment %s: %w", path, err))
		case err != nil:
			return damage, 0, err
		case !sealed:
			torn = rest
		case scan.entries < want:
			damage = append(damage, fmt.Errorf("segment %s: %w: %d entries are sound, %d were written", path, types.ErrCorrupt, scan.entries, want))
		}
	}
	return damage, torn, nil
}

// scanSegment scans a segment, and measures what is not zero behind its last sound
// batch.
func scanSegment(f *os.File) (scan tailScan, rest int64, err error) {
	info, err := f.Stat()
	if err != nil {
		return scan, 0, err
	}
	if scan, err = scanTail(f, info.Size()); err != nil {
		return scan, 0, err
	}
	buf := make([]byte, 1<<20)
	for off := scan.end; off < info.Size(); off += int64(len(buf)) {
		b := buf[:min(int64(len(buf)), info.Size()-off)]
		if _, err := f.ReadAt(b, off); err != nil {
			return scan, 0, err
		}
		if n := len(bytes.TrimRight(b, "\x00")); n > 0 {
			rest = off + int64(n) - scan.end
		}
	}
	return scan, rest, nil
}

// Close implements io.Closer.
func (r *ReadOnly) Close() error { return r.wal.Close() }

// readOnlyMeta is raft-wal's meta database, read once.
type readOnlyMeta struct{}

var _ types.MetaStore = readOnlyMeta{}

// Load implements types.MetaStore.
func (readOnlyMeta) Load(dir string) (state types.PersistentState, err error) {
	db, err := bbolt.Open(filepath.Join(dir, MetaFileName), 0, &bbolt.Options{ReadOnly: true, Timeout: metaLockTimeout})
	if err != nil {
		return state, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	err = db.View(func(tx *bbolt.Tx) error {
		b := tx.Bucket([]byte(metadb.MetaBucket))
		if b == nil {
			return fmt.Errorf("%s has no list of segments", MetaFileName)
		}
		raw := b.Get([]byte(metadb.MetaKey))
		if raw == nil {
			return nil // a log that nothing was written to
		}
		return json.Unmarshal(raw, &state)
	})
	return state, err
}

// CommitState implements types.MetaStore: raft-wal begins the first segment of an
// empty log, in memory.
func (readOnlyMeta) CommitState(types.PersistentState) error { return nil }

// GetStable implements types.MetaStore. Nobody asks.
func (readOnlyMeta) GetStable([]byte) ([]byte, error) { return nil, errReadOnly }

// SetStable implements types.MetaStore.
func (readOnlyMeta) SetStable(_, _ []byte) error { return errReadOnly }

// Close implements io.Closer.
func (readOnlyMeta) Close() error { return nil }

// readOnlyFiles is a directory of segments that stays as it is.
type readOnlyFiles struct{}

var _ types.VFS = readOnlyFiles{}

// ListDir implements types.VFS: there is nothing that raft-wal could find left over.
func (readOnlyFiles) ListDir(string) ([]string, error) { return nil, nil }

// Create implements types.VFS, for a segment that is listed and was not made
// before a crash. It is empty.
func (readOnlyFiles) Create(_, _ string, _ uint64) (types.WritableFile, error) {
	return readOnlySegment{bytes.NewReader(nil), func() error { return nil }}, nil
}

// Delete implements types.VFS.
func (readOnlyFiles) Delete(_, _ string) error { return nil }

// OpenReader implements types.VFS.
func (readOnlyFiles) OpenReader(dir, name string) (types.ReadableFile, error) {
	return os.Open(filepath.Join(dir, name))
}

// OpenWriter implements types.VFS.
func (readOnlyFiles) OpenWriter(dir, name string) (types.WritableFile, error) {
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return nil, err
	}
	return readOnlySegment{f, f.Close}, nil
}

type readOnlySegment struct {
	readerAt
	close func() error
}

type readerAt interface {
	ReadAt(p []byte, off int64) (int, error)
}

func (readOnlySegment) WriteAt([]byte, int64) (int, error) { return 0, errReadOnly }
func (readOnlySegment) Sync() error                        { return errReadOnly }
func (s readOnlySegment) Close() error                     { return s.close() }
