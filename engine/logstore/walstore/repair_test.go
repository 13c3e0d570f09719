// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package walstore

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/metadb"
	"github.com/hashicorp/raft-wal/types"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs"
)

var errTest = errors.New("test: disk error")

// failingMeta fails commits of the list of segments while it is told to.
type failingMeta struct {
	metadb.BoltMetaDB

	failing bool
}

func (m *failingMeta) CommitState(s types.PersistentState) error {
	if m.failing {
		return errTest
	}
	return m.BoltMetaDB.CommitState(s)
}

func testOpen(t *testing.T, dir string, meta types.MetaStore, size int) *Store {
	t.Helper()
	if meta == nil {
		meta = &metadb.BoltMetaDB{}
	}
	s, err := open(config{dir: dir, fs: vfs.OS{}, meta: meta, segmentSize: size})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() }) // of those that a test left open
	return s
}

func logs(first, last uint64) []*raft.Log {
	var out []*raft.Log
	for i := first; i <= last; i++ {
		out = append(out, &raft.Log{Index: i, Term: 1, Data: make([]byte, 1000)})
	}
	return out
}

// TestCrashBetweenSealAndRotation: the process dies after the append that fills
// a segment and before wal-meta.db knows. A stock raft-wal 0.4.1 opens such a
// log and refuses every append to it; the test shows that too, so that the
// repair can go when upstream's is there.
func TestCrashBetweenSealAndRotation(t *testing.T) {
	crashed := func(t *testing.T) (dir string, last uint64) {
		dir = t.TempDir()
		m := &failingMeta{}
		s := testOpen(t, dir, m, 64<<10)
		m.failing = true // before anything is appended, so without a race
		for s.Err() == nil {
			if err := s.StoreLogs(logs(last+1, last+1)); err != nil {
				break
			}
			last++
			if last > 200 {
				t.Fatal("200 entries and no rotation of a segment of 64 KiB")
			}
		}
		if err := s.StoreLogs(logs(last+1, last+1)); !errors.Is(err, errTest) {
			t.Fatalf("append after a failed rotation: %v", err)
		}
		if err := s.SetUint64([]byte("CurrentTerm"), 3); !errors.Is(err, errTest) {
			t.Fatalf("set after a failed rotation: %v", err)
		}
		if err := s.GetLog(last, new(raft.Log)); err != nil {
			t.Fatalf("read after a failed rotation: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		return dir, last
	}

	t.Run("stock", func(t *testing.T) {
		dir, last := crashed(t)
		w, err := wal.Open(dir, wal.WithLogger(hclog.NewNullLogger()))
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close() //nolint:errcheck // a failed log
		if err := w.StoreLogs(logs(last+1, last+1)); !errors.Is(err, wal.ErrSealed) {
			t.Fatalf("upstream appends now (%v): see whether the repair is still needed", err)
		}
	})
	t.Run("repaired", func(t *testing.T) {
		dir, last := crashed(t)
		for range 2 {
			s := testOpen(t, dir, nil, 64<<10)
			if got, err := s.LastIndex(); err != nil || got != last {
				t.Fatalf("last index %d, %v; want %d", got, err, last)
			}
			if err := s.StoreLogs(logs(last+1, last+5)); err != nil {
				t.Fatal(err)
			}
			last += 5
			for i := uint64(1); i <= last; i++ {
				if err := s.GetLog(i, new(raft.Log)); err != nil {
					t.Fatalf("entry %d: %v", i, err)
				}
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestTornTail writes into the file behind the last commit what a torn write
// leaves, and looks for it to be gone.
func TestTornTail(t *testing.T) {
	for name, tear := range map[string]func(b []byte) []byte{
		"nothing":                  func([]byte) []byte { return nil },
		"entries without a commit": func(b []byte) []byte { return b[:len(b)-8] },
		"commit without entries": func(b []byte) []byte {
			out := append([]byte(nil), b...)
			clear(out[8 : len(out)-8])
			return out
		},
		"second sector without the first": func(b []byte) []byte {
			out := append([]byte(nil), b...)
			clear(out[:512])
			return out
		},
		"half a header": func(b []byte) []byte { return b[:3] },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := testOpen(t, dir, nil, 64<<10)
			if err := s.StoreLogs(logs(1, 5)); err != nil {
				t.Fatal(err)
			}
			path := segmentPath(t, dir)
			before := scanFile(t, path)
			if err := s.StoreLogs(logs(6, 8)); err != nil {
				t.Fatal(err)
			}
			after := scanFile(t, path)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			content, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			batch := append([]byte(nil), content[before.end:after.end]...)
			clear(content[before.end:])
			copy(content[before.end:], tear(batch))
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}

			s = testOpen(t, dir, nil, 64<<10)
			if last, err := s.LastIndex(); err != nil || last != 5 {
				t.Fatalf("last index %d, %v; want the 5 that were acknowledged", last, err)
			}
			content, err = os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if !allZero(content[before.end:]) {
				t.Error("remains of the torn batch lie behind the tail")
			}
			if err := s.StoreLogs(logs(6, 6)); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestDamageIsNoTornTail: a bad batch with a good one behind it was acknowledged.
func TestDamageIsNoTornTail(t *testing.T) {
	dir := t.TempDir()
	s := testOpen(t, dir, nil, 64<<10)
	for i := uint64(1); i <= 3; i++ {
		if err := s.StoreLogs(logs(i, i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	path := segmentPath(t, dir)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{1}, 1500); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = open(config{dir: dir, fs: vfs.OS{}, meta: &metadb.BoltMetaDB{}, segmentSize: 64 << 10})
	if !errors.Is(err, types.ErrCorrupt) {
		t.Fatalf("opening a damaged log: %v, want ErrCorrupt", err)
	}
}

// TestSpare: it is prepared in the background, used by the rotation, kept over a
// reopen, and replaced when it does not fit.
func TestSpare(t *testing.T) {
	dir := t.TempDir()
	const size = 128 << 10
	s := testOpen(t, dir, nil, size)
	awaitSpare(t, s)
	spare, err := os.Stat(filepath.Join(dir, spareName))
	if err != nil || spare.Size() != size {
		t.Fatalf("spare: %v, %v", spare, err)
	}
	next := uint64(1)
	for len(segments(t, dir)) == 1 {
		if err := s.StoreLogs(logs(next, next)); err != nil {
			t.Fatal(err)
		}
		next++
	}
	second, err := os.Stat(segments(t, dir)[1])
	if err != nil || !os.SameFile(spare, second) {
		t.Fatalf("the second segment was not made from the spare (%v)", err)
	}
	awaitSpare(t, s)
	spare, err = os.Stat(filepath.Join(dir, spareName))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, spareTmpName), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}

	s = testOpen(t, dir, nil, size)
	if kept, err := os.Stat(filepath.Join(dir, spareName)); err != nil || !os.SameFile(spare, kept) {
		t.Errorf("the spare was not kept over a reopen (%v)", err)
	}
	if _, err := os.Stat(filepath.Join(dir, spareTmpName)); err == nil {
		t.Error("an unfinished spare was kept over a reopen")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	s = testOpen(t, dir, nil, 2*size)
	awaitSpare(t, s)
	if other, err := os.Stat(filepath.Join(dir, spareName)); err != nil || other.Size() != 2*size {
		t.Errorf("spare after a change of segment_size_mb: %v, %v", other, err)
	}
}

// TestDroppedSegmentsGo: the files of a prefix that was deleted are removed.
func TestDroppedSegmentsGo(t *testing.T) {
	dir := t.TempDir()
	s := testOpen(t, dir, nil, 64<<10)
	if err := s.StoreLogs(logs(1, 50)); err != nil {
		t.Fatal(err)
	}
	for i := uint64(51); i <= 400; i++ {
		if err := s.StoreLogs(logs(i, i)); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(segments(t, dir)); n < 4 {
		t.Fatalf("%d segments", n)
	}
	if err := s.DeleteRange(1, 399); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil { // waits for the background
		t.Fatal(err)
	}
	if n := len(segments(t, dir)); n > 2 {
		t.Errorf("%d segments remain of a log of one entry", n)
	}
}

func awaitSpare(t *testing.T, s *Store) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !s.keeper.hasSpare() {
		select {
		case <-deadline:
			t.Fatal("no spare after 30 s")
		case <-tick.C:
		}
	}
}

func segments(t *testing.T, dir string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*.wal"))
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

func segmentPath(t *testing.T, dir string) string {
	t.Helper()
	paths := segments(t, dir)
	if len(paths) != 1 {
		t.Fatalf("segments: %v", paths)
	}
	return paths[0]
}

func scanFile(t *testing.T, path string) tailScan {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // read only
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	scan, err := scanTail(f, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	return scan
}
