// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package vfstest

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"maps"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/go-hclog"
	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs"
)

// OpenWAL opens the raft-wal in dir, which must exist, with segments of the
// size given. All of it is on fsys, terms and votes included.
func OpenWAL(fsys vfs.FS, dir string, segmentSize int) (*wal.WAL, error) {
	return wal.Open(dir,
		wal.WithMetaStore(NewMetaStore(fsys)),
		wal.WithSegmentFiler(segment.NewFiler(dir, WALFiles{fsys})),
		wal.WithSegmentSize(segmentSize),
		wal.WithLogger(hclog.NewNullLogger()),
	)
}

// WALFiles is an FS as raft-wal sees it; it syncs what raft-wal's own does.
type WALFiles struct{ FS vfs.FS }

var _ types.VFS = WALFiles{}

// ListDir implements types.VFS.
func (w WALFiles) ListDir(dir string) ([]string, error) { return w.FS.List(dir) }

// Create implements types.VFS. The name is durable after the first Sync.
func (w WALFiles) Create(dir, name string, size uint64) (types.WritableFile, error) {
	f, err := w.FS.Create(filepath.Join(dir, name))
	if err != nil {
		return nil, err
	}
	if err := f.Allocate(int64(size)); err != nil { //nolint:gosec // a segment's size
		return nil, errors.Join(err, f.Close())
	}
	return &walFile{File: f, fs: w.FS, dir: dir}, nil
}

// Delete implements types.VFS. Durable when it returns.
func (w WALFiles) Delete(dir, name string) error {
	if err := w.FS.Remove(filepath.Join(dir, name)); err != nil {
		return err
	}
	return w.FS.SyncDir(dir)
}

// OpenReader implements types.VFS.
func (w WALFiles) OpenReader(dir, name string) (types.ReadableFile, error) {
	return w.FS.Open(filepath.Join(dir, name))
}

// OpenWriter implements types.VFS.
func (w WALFiles) OpenWriter(dir, name string) (types.WritableFile, error) {
	f, err := w.FS.OpenReadWrite(filepath.Join(dir, name))
	if err != nil {
		return nil, err
	}
	return &walFile{File: f, fs: w.FS, dir: dir}, nil
}

type walFile struct {
	vfs.File
	fs    vfs.FS
	dir   string
	named atomic.Bool // the directory has been synced since the file was opened
}

// Sync implements types.WritableFile.
func (f *walFile) Sync() error {
	if err := f.SyncData(); err != nil {
		return err
	}
	if f.named.Load() {
		return nil
	}
	if err := f.fs.SyncDir(f.dir); err != nil {
		return err
	}
	f.named.Store(true)
	return nil
}

// metaName is the file of a MetaStore: a CRC-32C in hexadecimal, a space, JSON.
const metaName = "wal-meta.json"

// A MetaStore is raft-wal's metadata and stable store in one small file, replaced
// as a whole with every change.
type MetaStore struct {
	fs vfs.FS

	mu  sync.Mutex
	dir string
	now metaState
}

type metaState struct {
	State  types.PersistentState
	Stable map[string][]byte
}

var _ types.MetaStore = (*MetaStore)(nil)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// NewMetaStore returns one that Load has to be called on.
func NewMetaStore(fsys vfs.FS) *MetaStore { return &MetaStore{fs: fsys} }

// Load implements types.MetaStore.
func (m *MetaStore) Load(dir string) (types.PersistentState, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	state, err := readMeta(m.fs, filepath.Join(dir, metaName))
	if err != nil {
		return types.PersistentState{}, err
	}
	m.dir, m.now = dir, state
	return state.State, nil
}

func readMeta(fsys vfs.FS, path string) (state metaState, err error) {
	f, err := fsys.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return state, nil
	}
	if err != nil {
		return state, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	size, err := f.Size()
	if err != nil {
		return state, err
	}
	b := make([]byte, size)
	if _, err := f.ReadAt(b, 0); err != nil {
		return state, fmt.Errorf("%s: %w", path, err)
	}
	const head = 9
	if len(b) < head || string(b[:head]) != metaHead(b[head:]) {
		return state, fmt.Errorf("%w: the checksum of %s is wrong", types.ErrCorrupt, path)
	}
	return state, json.Unmarshal(b[head:], &state)
}

func metaHead(body []byte) string { return fmt.Sprintf("%08x ", crc32.Checksum(body, castagnoli)) }

// CommitState implements types.MetaStore.
func (m *MetaStore) CommitState(s types.PersistentState) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.commitLocked(metaState{State: s, Stable: m.now.Stable})
}

// SetStable implements types.MetaStore.
func (m *MetaStore) SetStable(key, value []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	next := metaState{State: m.now.State, Stable: map[string][]byte{}}
	maps.Copy(next.Stable, m.now.Stable)
	next.Stable[string(key)] = append([]byte{}, value...)
	return m.commitLocked(next)
}

func (m *MetaStore) commitLocked(next metaState) error {
	body, err := json.Marshal(next)
	if err != nil {
		return err
	}
	if err := vfs.WriteFileAtomic(m.fs, filepath.Join(m.dir, metaName), append([]byte(metaHead(body)), body...)); err != nil {
		return err
	}
	m.now = next
	return nil
}

// GetStable implements types.MetaStore.
func (m *MetaStore) GetStable(key []byte) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now.Stable[string(key)], nil
}

// Close implements types.MetaStore.
func (m *MetaStore) Close() error { return nil }
