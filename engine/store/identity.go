// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// FileName is the identity file's name in a store's directory.
const FileName = "holdfast-store.json"

const (
	formatMagic   = "holdfast-store"
	formatVersion = 1
)

var (
	// ErrNoIdentity is returned by Read and Check for a directory that is
	// missing or empty: it is free to be made a store with Create.
	ErrNoIdentity = errors.New("no store here yet")
	// ErrForeign is returned for a directory that belongs to another cluster,
	// node or store, or holds files but no identity.
	ErrForeign = errors.New("the directory is not this store's")
	// ErrCorrupt is returned for an identity file that cannot be believed.
	ErrCorrupt = errors.New("the identity file is damaged")
	// ErrVersion is returned for an identity file of a newer Holdfast.
	ErrVersion = errors.New("the identity file was written by a newer version")
	// ErrExists is returned by Create where there is an identity already.
	ErrExists = errors.New("the directory has an identity already")
	// ErrLocked is returned by Open while another engine has the store open.
	ErrLocked = errors.New("the store is in use by another engine")
)

// Identity says whose a store is.
type Identity struct {
	Cluster   string `json:"cluster"`
	ClusterID string `json:"cluster_id"`
	Node      string `json:"node"`
	NodeID    string `json:"node_id"`
	StoreID   string `json:"store_id"`
	// Bootstrapped names the partitions whose raft log was begun here. A log
	// of one of them that is empty was lost.
	Bootstrapped []string `json:"bootstrapped,omitempty"`
	// Settings are the cluster's settings as this node last applied them. What
	// they say of disks is needed before the log that holds them is read.
	Settings map[string]string `json:"settings,omitempty"`
}

// envelope is the file: the identity and a checksum of its bytes without
// white space, so that a person may look at it in a readable form.
type envelope struct {
	Format   string          `json:"format"`
	Version  int             `json:"version"`
	Identity json.RawMessage `json:"identity"`
	CRC32C   string          `json:"crc32c"`
}

// Create makes dir a store: it writes the identity and returns once that is
// durable. dir is created where it is missing (with its parents, mode 0700);
// one that is not empty is refused, lost+found apart, and left as it is.
func Create(dir string, id Identity) error {
	switch _, err := Read(dir); {
	case err == nil:
		return fmt.Errorf("making a store in %s: %w", dir, ErrExists)
	case !errors.Is(err, ErrNoIdentity):
		return fmt.Errorf("making a store in %s: %w", dir, err)
	}
	if err := mkdirAll(dir); err != nil {
		return fmt.Errorf("making a store in %s: %w", dir, err)
	}
	if err := write(dir, id); err != nil {
		return fmt.Errorf("making a store in %s: %w", dir, err)
	}
	return nil
}

// Read returns the identity of the store in dir.
func Read(dir string) (Identity, error) {
	data, err := os.ReadFile(filepath.Join(dir, FileName))
	if errors.Is(err, fs.ErrNotExist) {
		return Identity{}, noIdentity(dir)
	}
	if err != nil {
		return Identity{}, fmt.Errorf("reading the store's identity: %w", err)
	}
	id, err := decode(data)
	if err != nil {
		return Identity{}, fmt.Errorf("%s: %w", filepath.Join(dir, FileName), err)
	}
	return id, nil
}

// noIdentity tells a directory that is free from one that is somebody's.
func noIdentity(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var names []string
	for _, e := range entries {
		if n := e.Name(); n != "lost+found" && n != LockName && n != tmpName {
			names = append(names, n)
		}
	}
	if len(names) == 0 {
		return fmt.Errorf("%s: %w", dir, ErrNoIdentity)
	}
	shown := names[:min(len(names), 3)]
	return fmt.Errorf("%w: %s has no %s but holds %s (%d entries): empty it yourself if it is not needed, or choose another directory",
		ErrForeign, dir, FileName, strings.Join(shown, ", "), len(names))
}

// Check returns the identity of the store in dir if it is the wanted one. An
// empty StoreID of want matches any. Nothing is changed.
func Check(dir string, want Identity) (Identity, error) {
	got, err := Read(dir)
	if err != nil {
		return Identity{}, err
	}
	for _, f := range []struct{ field, got, want string }{
		{"cluster", got.Cluster, want.Cluster},
		{"cluster_id", got.ClusterID, want.ClusterID},
		{"node", got.Node, want.Node},
		{"node_id", got.NodeID, want.NodeID},
		{"store_id", got.StoreID, want.StoreID},
	} {
		if f.got != f.want && (f.field != "store_id" || f.want != "") {
			return Identity{}, fmt.Errorf("%w: %s says %s %q, this one is %q: nothing was changed; give the directory that is this node's, or an empty one",
				ErrForeign, filepath.Join(dir, FileName), f.field, f.got, f.want)
		}
	}
	return got, nil
}

// MarkBootstrapped records that the log of a partition was begun, durably.
// The caller holds the store's lock.
func MarkBootstrapped(dir, partition string) error {
	id, err := Read(dir)
	if err != nil {
		return err
	}
	if slices.Contains(id.Bootstrapped, partition) {
		return nil
	}
	id.Bootstrapped = append(id.Bootstrapped, partition)
	slices.Sort(id.Bootstrapped)
	return write(dir, id)
}

// CacheSettings records the settings of the cluster, durably. It writes only
// where they differ. The caller holds the store's lock, and makes one call at
// a time for a store; it waits as long as the disk does.
func CacheSettings(dir string, set map[string]string) error {
	id, err := Read(dir)
	if err != nil {
		return err
	}
	if maps.Equal(id.Settings, set) {
		return nil
	}
	id.Settings = set
	return write(dir, id)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func encode(id Identity) ([]byte, error) {
	body, err := json.Marshal(id)
	if err != nil {
		return nil, err
	}
	b, err := json.MarshalIndent(envelope{Format: formatMagic, Version: formatVersion, Identity: body, CRC32C: checksum(body)}, "", "  ")
	if err != nil {
		return nil, err
	}
	return append(b, '\n'), nil
}

func checksum(body []byte) string {
	return fmt.Sprintf("%08x", crc32.Checksum(body, castagnoli))
}

func decode(data []byte) (Identity, error) {
	var e envelope
	if err := json.Unmarshal(data, &e); err != nil {
		return Identity{}, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	switch {
	case e.Format != formatMagic:
		return Identity{}, fmt.Errorf("%w: format %q, want %q", ErrCorrupt, e.Format, formatMagic)
	case e.Version != formatVersion:
		return Identity{}, fmt.Errorf("%w: version %d, this program knows %d", ErrVersion, e.Version, formatVersion)
	}
	var body bytes.Buffer
	if err := json.Compact(&body, e.Identity); err != nil {
		return Identity{}, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if got := checksum(body.Bytes()); got != e.CRC32C {
		return Identity{}, fmt.Errorf("%w: checksum %s, the file says %q: it was edited or damaged", ErrCorrupt, got, e.CRC32C)
	}
	var id Identity
	if err := json.Unmarshal(body.Bytes(), &id); err != nil {
		return Identity{}, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return id, nil
}
