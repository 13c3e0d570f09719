// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package logstore_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/raft"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/logstore"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/logstore/logstoretest"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs/vfstest"
	"github.com/holdfastdb/terraform-provider-holdfast/test/wait"
)

func TestParse(t *testing.T) {
	for in, want := range map[string]logstore.Backend{"": logstore.WAL, "wal": logstore.WAL, "boltdb": logstore.BoltDB} {
		if got, err := logstore.Parse(in); err != nil || got != want {
			t.Errorf("Parse(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
	_, err := logstore.Parse("rocksdb")
	if !errors.Is(err, logstore.ErrUnknownBackend) {
		t.Fatalf("Parse: %v", err)
	}
	if diff := cmp.Diff(`unknown raft log backend "rocksdb": use one of "wal", "boltdb"`, err.Error()); diff != "" {
		t.Error(diff)
	}
}

func TestOptionsValidate(t *testing.T) {
	for _, o := range []logstore.Options{{WALSegmentSizeMB: -1}, {WALSegmentSizeMB: 5000}, {Backend: "x"}} {
		if _, _, err := logstore.Open(t.TempDir(), o); err == nil {
			t.Errorf("Open with %+v succeeded", o)
		}
	}
}

// TestDetect lays files out and asks what they are, then opens them with each
// backend configured.
func TestDetect(t *testing.T) {
	db := string(make([]byte, 300)) + "content"
	blank := string(make([]byte, 16<<10))
	const meta, segment = "wal/wal-meta.db", "wal/00000000000000000001-0000000000000000.wal"
	for _, c := range []struct {
		name  string
		files map[string]string // "" after the name's last slash: a directory
		want  logstore.Backend  // "" is none
		err   error
	}{
		{name: "nothing"},
		{name: "bolt", files: map[string]string{"raft.db": db}, want: logstore.BoltDB},
		{name: "bolt of no length", files: map[string]string{"raft.db": ""}},
		{name: "bolt of blank pages", files: map[string]string{"raft.db": blank}},
		{name: "bolt in the making", files: map[string]string{"raft.db.new": db}},
		{name: "wal", files: map[string]string{meta: db, segment: db}, want: logstore.WAL},
		{name: "wal before its first segment", files: map[string]string{meta: db}, want: logstore.WAL},
		{name: "wal directory alone", files: map[string]string{"wal/": ""}},
		{name: "wal in the making", files: map[string]string{meta + ".tmp": db}},
		{name: "wal with a spare alone", files: map[string]string{"wal/spare": blank, "wal/spare.tmp": ""}},
		{name: "wal with blank meta", files: map[string]string{meta: blank}},
		{name: "segments without meta", files: map[string]string{segment: db}, err: logstore.ErrIncomplete},
		{name: "segments with empty meta", files: map[string]string{meta: "", segment: db}, err: logstore.ErrIncomplete},
		{name: "both", files: map[string]string{"raft.db": db, meta: db, segment: db}, err: logstore.ErrBothBackends},
		{name: "bolt beside segments", files: map[string]string{"raft.db": db, segment: db}, err: logstore.ErrIncomplete},
		{name: "bolt beside an empty wal directory", files: map[string]string{"raft.db": db, "wal/": ""}, want: logstore.BoltDB},
		{name: "wal beside an empty bolt", files: map[string]string{"raft.db": "", meta: db, segment: db}, want: logstore.WAL},
		{name: "others' files", files: map[string]string{"peers.json": "[]", "snapshots/": "", "LOCK": ""}},
		{name: "bolt is a directory", files: map[string]string{"raft.db/": ""}, err: logstore.ErrIncomplete},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			layOut(t, dir, c.files)
			got, found, err := logstore.Detect(dir)
			if !errors.Is(err, c.err) || got != c.want || found != (c.want != "") {
				t.Fatalf("Detect = %q, %v, %v; want %q, %v", got, found, err, c.want, c.err)
			}
			if c.want != "" {
				return // the content is no database
			}
			for _, b := range logstore.Backends() {
				dir := t.TempDir()
				layOut(t, dir, c.files)
				s, warning, err := logstore.Open(dir, logstore.Options{Backend: b})
				if c.err != nil {
					if !errors.Is(err, c.err) {
						t.Fatalf("Open as %s: %v, want %v", b, err, c.err)
					}
					continue
				}
				if err != nil {
					t.Fatalf("Open as %s: %v", b, err)
				}
				if s.Backend() != b || warning != "" {
					t.Errorf("Open as %s: %s, %q", b, s.Backend(), warning)
				}
				if err := s.StoreLogs(logstoretest.Entries(1, 3, 1)); err != nil {
					t.Error(err)
				}
				if err := s.Close(); err != nil {
					t.Error(err)
				}
				if got, _, err := logstore.Detect(dir); err != nil || got != b {
					t.Errorf("afterwards Detect = %q, %v", got, err)
				}
			}
		})
	}
	if _, found, err := logstore.Detect(filepath.Join(t.TempDir(), "missing")); found || err != nil {
		t.Errorf("missing directory: %v, %v", found, err)
	}
}

func layOut(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if strings.HasSuffix(name, "/") {
			if err := os.MkdirAll(path, 0o700); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestBackendStays: the backend of an existing log is used whichever is
// configured, both ways, with its entries and votes.
func TestBackendStays(t *testing.T) {
	for _, old := range logstore.Backends() {
		for _, configured := range logstore.Backends() {
			t.Run(string(old+" as "+configured), func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), "default")
				s, warning, err := logstore.Open(dir, logstore.Options{Backend: old})
				if err != nil || warning != "" {
					t.Fatalf("%q, %v", warning, err)
				}
				want := logstoretest.Entries(1, 5, 2)
				if err := s.StoreLogs(want); err != nil {
					t.Fatal(err)
				}
				if err := s.SetUint64([]byte("CurrentTerm"), 2); err != nil {
					t.Fatal(err)
				}
				if got, found, err := logstore.Detect(dir); got != old || !found || err != nil {
					t.Errorf("Detect beside the open log: %q, %v, %v", got, found, err)
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				s, warning, err = logstore.Open(dir, logstore.Options{Backend: configured})
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close() //nolint:errcheck // read only from here on
				if s.Backend() != old || (warning != "") != (old != configured) {
					t.Errorf("opened as %s, warning %q", s.Backend(), warning)
				}
				if warning != "" && (!strings.Contains(warning, string(old)) || !strings.Contains(warning, string(configured))) {
					t.Errorf("warning names not both backends: %q", warning)
				}
				logstoretest.Check(t, s, want)
				if term, err := s.GetUint64([]byte("CurrentTerm")); term != 2 || err != nil {
					t.Errorf("term %d, %v", term, err)
				}
			})
		}
	}
}

// TestLocked opens a log that another process has open.
func TestLocked(t *testing.T) {
	if dir := os.Getenv("LOGSTORE_TEST_OPEN"); dir != "" {
		_, _, err := logstore.Open(dir, logstore.Options{})
		if !errors.Is(err, logstore.ErrLocked) {
			t.Fatalf("second open: %v, want ErrLocked", err)
		}
		return
	}
	for _, b := range logstore.Backends() {
		dir := t.TempDir()
		s, _, err := logstore.Open(dir, logstore.Options{Backend: b})
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestLocked$")
		cmd.Env = append(os.Environ(), "LOGSTORE_TEST_OPEN="+dir)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", b, err, out)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s, _, err = logstore.Open(dir, logstore.Options{})
		if err != nil {
			t.Fatalf("%s: open after close: %v", b, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestOpenDropsCache: the pages of an earlier process are dropped, and what is going to be written
// is read again: the tail to be checked, the spare so that appends to it need not.
//
// Seen to fail without the dropping, and without the reading ahead.
func TestOpenDropsCache(t *testing.T) {
	dir := t.TempDir()
	open := func() logstore.Store {
		s, _, err := logstore.Open(dir, logstore.Options{WALSegmentSizeMB: 1})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := open()
	for i, size := range []int{2 << 20, 2 << 20, 2 << 20, 1} { // each fills a segment but the last, which waits for a new one
		if err := s.StoreLog(&raft.Log{Index: uint64(i) + 1, Term: 1, Data: make([]byte, size)}); err != nil {
			t.Fatal(err)
		}
	}
	spare := filepath.Join(dir, "wal", "spare")
	wait.Within(t, time.Minute, "there is a spare", func() bool { _, err := os.Stat(spare); return err == nil })
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	segments, err := filepath.Glob(filepath.Join(dir, "wal", "*.wal"))
	if err != nil || len(segments) < 3 {
		t.Fatalf("%v, %v", segments, err)
	}
	if n, _ := vfstest.Cached(t, segments[0]); n == 0 {
		t.Error("what was written is not cached")
	}
	if err := vfs.DropCache(spare); err != nil {
		t.Fatal(err)
	}
	s = open()
	if n, all := vfstest.Cached(t, segments[0]); n == all {
		t.Errorf("all %d pages of a segment that is full are cached still", n)
	}
	wait.Within(t, time.Minute, "the spare is cached", func() bool {
		n, all := vfstest.Cached(t, spare)
		if n > 0 && n < all { // a kernel that takes cold pages by itself (DAMON) had some before the look: once more
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = open()
		}
		return n == all
	})
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
