// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package provision

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs"
)

// Record is what a host remembers of steps, by name.
type Record struct {
	Steps map[string]Entry `json:"steps"`
}

// States of an entry.
const (
	Started  = "started"  // and no end is known
	Finished = "finished" // with success
	Failed   = "failed"   // every attempt
	Due      = "due"      // finished once, and to be done again after an earlier step
)

// Entry is what is remembered of one step.
type Entry struct {
	Hash       string            `json:"hash"`
	Attributes map[string]string `json:"attributes"` // what the hash is over
	State      string            `json:"state"`
	At         time.Time         `json:"at"` // when it came to this state
	// Disk is the file that a file step wrote.
	Disk *Disk `json:"disk,omitempty"`
}

// Disk is a file as it is, or was when it was written.
type Disk struct {
	Path string `json:"path"`
	// Sum is the HMAC of the content: a file may hold secrets.
	Sum  string `json:"sum"`
	Mode uint32 `json:"mode"`
	UID  uint32 `json:"uid"`
	GID  uint32 `json:"gid"`
}

const (
	recordName = "provision.record"
	keyName    = "provision.key"
	lockName   = "provision.lock"

	recordMagic   = "holdfast-provision"
	recordVersion = "1"
	maxRecord     = 16 << 20
)

// encodeRecord returns the bytes of a record: one line, then JSON.
//
//	holdfast-provision 1 <sha256 of all that follows the line, 64 hex digits>\n
//	{"steps": {…}}\n
func encodeRecord(r Record) ([]byte, error) {
	body, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode the record: %w", err)
	}
	body = append(body, '\n')
	return append(fmt.Appendf(nil, "%s %s %x\n", recordMagic, recordVersion, sha256.Sum256(body)), body...), nil
}

// decodeRecord is the inverse of encodeRecord. Magic, version and checksum are each
// checked for themselves, in this order.
func decodeRecord(b []byte) (Record, error) {
	var r Record
	line, body, ok := bytes.Cut(b, []byte("\n"))
	words := bytes.Split(line, []byte(" "))
	if !ok || len(words) < 2 || string(words[0]) != recordMagic {
		return r, fmt.Errorf("%w: it does not begin with %q", ErrCorrupt, recordMagic)
	}
	if string(words[1]) != recordVersion {
		return r, fmt.Errorf("%w: %q, this program knows %s", ErrVersion, words[1], recordVersion)
	}
	if len(words) != 3 || string(words[2]) != fmt.Sprintf("%x", sha256.Sum256(body)) {
		return r, fmt.Errorf("%w: its checksum is wrong", ErrCorrupt)
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return Record{}, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	for name, e := range r.Steps {
		if !slices.Contains([]string{Started, Finished, Failed, Due}, e.State) {
			return Record{}, fmt.Errorf("%w: step %q is in state %q", ErrCorrupt, name, e.State)
		}
	}
	return r, nil
}

// readRecord returns the record in dir; none is an empty one.
func readRecord(fsys vfs.FS, dir string) (Record, error) {
	path := filepath.Join(dir, recordName)
	r := Record{Steps: map[string]Entry{}}
	b, err := readFile(fsys, path)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return r, err
	}
	got, err := decodeRecord(b)
	if err != nil {
		return r, fmt.Errorf("%s: %w", path, err)
	}
	if got.Steps != nil {
		r = got
	}
	return r, nil
}

func writeRecord(fsys vfs.FS, dir string, r Record) error {
	b, err := encodeRecord(r)
	if err != nil {
		return err
	}
	path := filepath.Join(dir, recordName)
	if err := vfs.WriteFileAtomic(fsys, path, b); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// readKey returns the host's key; ok is false where there is none yet.
func readKey(fsys vfs.FS, dir string) (key Key, ok bool, err error) {
	path := filepath.Join(dir, keyName)
	b, err := readFile(fsys, path)
	if errors.Is(err, fs.ErrNotExist) {
		return key, false, nil
	}
	if err != nil {
		return key, false, err
	}
	raw, err := hex.DecodeString(string(bytes.TrimSpace(b)))
	if err != nil || len(raw) != len(key) {
		return key, false, fmt.Errorf("%s: %w: it is not 64 hexadecimal digits", path, ErrCorrupt)
	}
	return Key(raw), true, nil
}

// makeKey returns the host's key and makes one where there is none. Under the lock.
func makeKey(fsys vfs.FS, dir string) (Key, error) {
	key, ok, err := readKey(fsys, dir)
	if ok || err != nil {
		return key, err
	}
	_, _ = rand.Read(key[:]) // never fails
	path := filepath.Join(dir, keyName)
	if err := vfs.WriteFileAtomic(fsys, path, []byte(hex.EncodeToString(key[:])+"\n")); err != nil {
		return key, fmt.Errorf("write %s: %w", path, err)
	}
	return key, nil
}

func readFile(fsys vfs.FS, path string) ([]byte, error) {
	f, err := fsys.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // read only
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	if size > maxRecord {
		return nil, fmt.Errorf("%s: %w: it has %d bytes", path, ErrCorrupt, size)
	}
	return io.ReadAll(io.NewSectionReader(f, 0, size))
}
