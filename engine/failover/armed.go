// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package failover

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs"
)

// The record beside the primary says which log it is and which sides may hold
// what the primary does not. A side is written only once it is recorded
// (rule 8), and the record changes only while the primary answers.
//
//	failover.json: {"format":"holdfast-failover","version":1,"crc32c":…,"record":{"log":"…","armed":["/side"],"journals":{"/side":"…"}}}
const (
	recordName = "failover.json"
	// lockName is the log's lock. The primary, which may be opened anew while it
	// is held, has one of its own.
	lockName      = "failover.lock"
	recordFormat  = "holdfast-failover"
	recordVersion = 1
)

type logRecord struct {
	// Log is the log's random id.
	Log string `json:"log"`
	// Armed are the side directories that may hold records above the fence.
	Armed []string `json:"armed"`
	// Journals are the ids of the journals there, by the directory in Armed: a disk that is
	// mounted there and has another one does not hold those records. None for a journal that has no id.
	Journals map[string]string `json:"journals,omitempty"`
}

// arm adds a side, with the journal that the log has there.
func (r *logRecord) arm(side string, j *journal) {
	r.Armed = append(r.Armed, side)
	if name := j.header.Journal; name != "" {
		if r.Journals == nil {
			r.Journals = map[string]string{}
		}
		r.Journals[side] = name
	}
}

type recordFile struct {
	Format  string          `json:"format"`
	Version int             `json:"version"`
	CRC     uint32          `json:"crc32c"`
	Record  json.RawMessage `json:"record"`
}

func (r *logRecord) equal(other logRecord) bool {
	return r.Log == other.Log && slices.Equal(r.Armed, other.Armed) && maps.Equal(r.Journals, other.Journals)
}

// readRecord reads the record of the log in dir, or makes one with a new id.
func readRecord(fsys vfs.FS, dir string) (logRecord, error) {
	var rec logRecord
	path := filepath.Join(dir, recordName)
	b, err := readFile(fsys, path)
	if errors.Is(err, fs.ErrNotExist) {
		rec.Log = rand.Text()
		return rec, writeRecord(fsys, dir, rec)
	}
	if err != nil {
		return rec, err
	}
	var f recordFile
	if err := json.Unmarshal(b, &f); err != nil {
		return rec, fmt.Errorf("%w: %s: %w", ErrDamaged, path, err)
	}
	if f.Format != recordFormat {
		return rec, fmt.Errorf("%s is a %q, not a %q", path, f.Format, recordFormat)
	}
	if f.Version != recordVersion {
		return rec, fmt.Errorf("%s has version %d; this program reads version %d: start the version that wrote it", path, f.Version, recordVersion)
	}
	if crc32.Checksum(f.Record, castagnoli) != f.CRC {
		return rec, fmt.Errorf("%w: %s: checksum", ErrDamaged, path)
	}
	if err := json.Unmarshal(f.Record, &rec); err != nil {
		return rec, fmt.Errorf("%w: %s: %w", ErrDamaged, path, err)
	}
	return rec, nil
}

// writeRecord replaces the record; durable when it returns.
func writeRecord(fsys vfs.FS, dir string, rec logRecord) error {
	body, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	b, err := json.Marshal(recordFile{recordFormat, recordVersion, crc32.Checksum(body, castagnoli), body})
	if err != nil {
		return err
	}
	return vfs.WriteFileAtomic(fsys, filepath.Join(dir, recordName), b)
}

func readFile(fsys vfs.FS, path string) ([]byte, error) {
	f, err := fsys.Open(path)
	if err != nil {
		return nil, err
	}
	size, err := f.Size()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	b := make([]byte, size)
	if size > 0 {
		if _, err := f.ReadAt(b, 0); err != nil {
			return nil, errors.Join(fmt.Errorf("reading %s: %w", path, err), f.Close())
		}
	}
	return b, f.Close()
}
