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
	"strings"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/logstore/boltstore"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/logstore/walstore"
)

// Detect says which backend's log lies in dir, one partition's directory. A
// missing or empty dir, and one in which the making of a log was cut short
// before it could hold anything, has none: found is false.
//
// It reads names, sizes and at most a few pages, opens no database and takes
// no lock, so it is safe beside a running engine.
//
// What the states on disk mean:
//
//	raft.db                          wal/wal-meta.db  segments  answer
//	absent or empty                  absent or empty  none      none
//	absent or empty                  present          any       wal
//	absent or empty                  absent or empty  some      ErrIncomplete
//	present                          absent or empty  none      boltdb
//	present                          present          any       ErrBothBackends
//	present                          absent or empty  some      ErrIncomplete
//
// Empty is no byte, or a few pages of zeros: a file that some other program
// began and never wrote to. Neither backend here leaves one: both make their
// database under another name and rename it when it is whole. Nor does any crash
// leave segments without a database, which is there, durably, before them.
func Detect(dir string) (b Backend, found bool, err error) {
	bolt, err := holdsData(filepath.Join(dir, boltstore.FileName))
	if err != nil {
		return "", false, err
	}
	walDir := filepath.Join(dir, walstore.DirName)
	wal, err := holdsData(filepath.Join(walDir, walstore.MetaFileName))
	if err != nil {
		return "", false, err
	}
	if !wal {
		segment, err := anySegment(walDir)
		if err != nil {
			return "", false, err
		}
		if segment != "" {
			return "", false, fmt.Errorf("%w: %s has log segments (%s) but no %s; restore the file. This server's vote is in %s: do not move it away while the server is a voter",
				ErrIncomplete, walDir, segment, walstore.MetaFileName, dir)
		}
	}
	switch {
	case bolt && wal:
		return "", false, fmt.Errorf("%w: %s holds %s (boltdb) and %s (wal); find out which one the node used last (its engine's log says so at each start) and move the other one away",
			ErrBothBackends, dir, boltstore.FileName, walstore.DirName)
	case bolt:
		return BoltDB, true, nil
	case wal:
		return WAL, true, nil
	}
	return "", false, nil
}

// emptyLimit is more than either database has written when it holds its first
// byte of content.
const emptyLimit = 64 << 10

// holdsData says whether a database file is there and could hold anything.
func holdsData(path string) (bool, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if !info.Mode().IsRegular() {
		return false, fmt.Errorf("%w: %s is no regular file (%s)", ErrIncomplete, path, info.Mode().Type())
	}
	if info.Size() == 0 {
		return false, nil
	}
	if info.Size() > emptyLimit {
		return true, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	content, err := io.ReadAll(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return false, err
	}
	return strings.Trim(string(content), "\x00") != "", nil
}

// anySegment returns the name of a log segment in dir, "" if there is none.
func anySegment(dir string) (string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	for _, e := range entries {
		if filepath.Ext(e.Name()) == ".wal" {
			return e.Name(), nil
		}
	}
	return "", nil
}
