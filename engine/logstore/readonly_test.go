// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package logstore_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/raft"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/logstore"
)

// fill makes a log of entries 3 to 2000, over several segments of a wal, of which
// the last 100 were written twice.
func fill(t *testing.T, dir string, b logstore.Backend) {
	t.Helper()
	s, _, err := logstore.Open(dir, logstore.Options{Backend: b, WALSegmentSizeMB: 1})
	if err != nil {
		t.Fatal(err)
	}
	write := func(first, last, term uint64) {
		var batch []*raft.Log
		for i := first; i <= last; i++ {
			batch = append(batch, &raft.Log{Index: i, Term: term, Data: fmt.Appendf(nil, "entry %d of term %d %s", i, term, strings.Repeat("x", 5000))})
			if len(batch) == 50 || i == last {
				if err := s.StoreLogs(batch); err != nil {
					t.Fatal(err)
				}
				batch = nil
			}
		}
	}
	write(1, 2000, 1)
	if err := s.DeleteRange(1901, 2000); err != nil {
		t.Fatal(err)
	}
	write(1901, 2000, 2)
	if err := s.DeleteRange(1, 2); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// files is every file below dir with its content's hash and its time.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		all[path] = fmt.Sprintf("%x %v", sha256.Sum256(b), info.ModTime())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestReadOnly: everything is there, nothing is changed, and no engine starts
// meanwhile.
func TestReadOnly(t *testing.T) {
	for _, b := range logstore.Backends() {
		t.Run(string(b), func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "default")
			fill(t, dir, b)
			before := files(t, dir)
			r, err := logstore.OpenReadOnly(dir)
			if err != nil {
				t.Fatal(err)
			}
			second, err := logstore.OpenReadOnly(dir)
			if err != nil {
				t.Fatalf("two may look: %v", err)
			}
			if err := second.Close(); err != nil {
				t.Error(err)
			}
			if _, _, err := logstore.Open(dir, logstore.Options{}); !errors.Is(err, logstore.ErrLocked) {
				t.Errorf("an engine beside it: %v", err)
			}
			first, err1 := r.FirstIndex()
			last, err2 := r.LastIndex()
			if err := errors.Join(err1, err2); err != nil || first != 3 || last != 2000 || r.Backend() != b {
				t.Errorf("%d to %d of %s, %v", first, last, r.Backend(), err)
			}
			var e raft.Log
			for i := first; i <= last; i++ {
				term := uint64(1)
				if i > 1900 {
					term = 2
				}
				if err := r.GetLog(i, &e); err != nil || e.Index != i || e.Term != term || !bytes.HasPrefix(e.Data, fmt.Appendf(nil, "entry %d of term %d ", i, term)) {
					t.Fatalf("entry %d: %d, term %d, %.20q, %v", i, e.Index, e.Term, e.Data, err)
				}
			}
			for _, i := range []uint64{0, 2, 2001} {
				if err := r.GetLog(i, &e); !errors.Is(err, raft.ErrLogNotFound) {
					t.Errorf("entry %d: %v", i, err)
				}
			}
			if damage, torn, err := r.Scan(); err != nil || len(damage) != 0 || torn != 0 {
				t.Errorf("scan: %v, %d torn, %v", damage, torn, err)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff(before, files(t, dir)); diff != "" {
				t.Errorf("looking changed it:\n%s", diff)
			}
			s, _, err := logstore.Open(dir, logstore.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := logstore.OpenReadOnly(dir); !errors.Is(err, logstore.ErrLocked) {
				t.Errorf("beside an engine: %v", err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestReadOnlyScan: a bit in the middle of a wal is found by the checksums that
// it was written with; one in the last batch looks like a write cut short.
func TestReadOnlyScan(t *testing.T) {
	for _, tc := range []struct {
		name, mark string
		damage     string
		torn       bool
		last       uint64
	}{
		{"in a sealed segment", "entry 30 of term 1 ", "fails its checksum and is not the last one", false, 2000},
		{"in the tail", "entry 1920 of term 2 ", "fails its checksum and is not the last one", false, 2000},
		{"in the last batch", "entry 1990 of term 2 ", "", true, 1950},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "default")
			fill(t, dir, logstore.WAL)
			flip(t, dir, tc.mark)
			before := files(t, dir)
			r, err := logstore.OpenReadOnly(dir)
			if err != nil {
				t.Fatal(err)
			}
			damage, torn, err := r.Scan()
			if err != nil || torn > 0 != tc.torn {
				t.Errorf("%d torn, %v", torn, err)
			}
			if text := errors.Join(damage...); tc.damage != "" && (text == nil || !strings.Contains(text.Error(), tc.damage)) || tc.damage == "" && text != nil {
				t.Errorf("damage: %v", text)
			}
			if last, err := r.LastIndex(); err != nil || last != tc.last {
				t.Errorf("the last entry is %d, %v", last, err)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff(before, files(t, dir)); diff != "" {
				t.Errorf("looking changed it:\n%s", diff)
			}
		})
	}
}

func flip(t *testing.T, dir, mark string) {
	t.Helper()
	for path := range files(t, dir) {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if at := bytes.Index(b, []byte(mark)); at >= 0 {
			b[at] ^= 1
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatalf("no file has %q", mark)
}

func TestReadOnlyNothingThere(t *testing.T) {
	dir := t.TempDir()
	if _, err := logstore.OpenReadOnly(dir); !errors.Is(err, logstore.ErrNoLog) {
		t.Errorf("an empty directory: %v", err)
	}
	if _, err := logstore.OpenReadOnly(filepath.Join(dir, "none")); !errors.Is(err, logstore.ErrNoLog) {
		t.Errorf("no directory: %v", err)
	}
	for _, b := range logstore.Backends() {
		dir := filepath.Join(dir, string(b))
		s, _, err := logstore.Open(dir, logstore.Options{Backend: b})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		r, err := logstore.OpenReadOnly(dir)
		if err != nil {
			t.Fatalf("%s: an empty log: %v", b, err)
		}
		if last, err := r.LastIndex(); err != nil || last != 0 {
			t.Errorf("%s: the last entry is %d, %v", b, last, err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}
