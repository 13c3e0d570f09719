// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package atomicfile

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs/vfstest"
)

const path = "/node/spec.json"

// read returns the number in the file, 0 where there is none.
func read(t *testing.T, fsys vfs.FS) int {
	t.Helper()
	f, err := fsys.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	size, err := f.Size()
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(io.NewSectionReader(f, 0, size))
	if err != nil {
		t.Fatal(err)
	}
	var n int
	if err := json.Unmarshal(b, &n); err != nil {
		t.Fatalf("a file of %q: %v", b, err)
	}
	return n
}

// Whatever is cut, the file has the old record or the new one, and never an
// older one than was acknowledged; the next write is hindered by nothing.
func TestPowerCut(t *testing.T) {
	mem := vfstest.NewMem("/node")
	acked := 0
	err := vfstest.CrashPoints(mem, 3, func(fsys vfs.FS) error {
		for n := 1; n <= 3; n++ {
			if err := write(fsys, path, n); err != nil {
				return err
			}
			acked = n
		}
		return nil
	}, func(p vfstest.Point, after *vfstest.Mem) {
		if got := read(t, after); got != acked && got != acked+1 {
			t.Errorf("%v: %d, acknowledged was %d", p, got, acked)
		}
		if err := write(after, path, 9); err != nil || read(t, after) != 9 {
			t.Errorf("%v: the next write: %v", p, err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A step that fails is told, the record stays whole, and the next write works.
func TestFailure(t *testing.T) {
	failed := 0
	for step := 1; ; step++ {
		mem := vfstest.NewMem("/node")
		if err := write(mem, path, 1); err != nil {
			t.Fatal(err)
		}
		faults := vfstest.NewFaults(mem)
		in := faults.Add(vfstest.Fault{Skip: step - 1, Times: 1, Err: unix.EIO})
		err := write(faults, path, 2)
		if in.Hits() == 0 {
			break // the write has fewer steps
		}
		if !errors.Is(err, unix.EIO) {
			t.Errorf("step %d failed: %v", step, err)
		}
		failed++
		if got := read(t, mem); got != 1 && got != 2 {
			t.Errorf("step %d failed: the file has %d", step, got)
		}
		if err := write(faults, path, 3); err != nil || read(t, mem) != 3 {
			t.Errorf("after step %d failed: %v", step, err)
		}
	}
	if failed < 5 {
		t.Errorf("%d steps failed: create, write, sync, rename and the directory's sync can", failed)
	}
}

// The real thing: owner only, also where the file was open to others before.
func TestMode(t *testing.T) {
	path := filepath.Join(t.TempDir(), "record.json")
	for range 2 {
		if err := WriteJSON(path, map[string]int{"a": 1}); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(path)
		if want := "{\n  \"a\": 1\n}\n"; err != nil || string(b) != want {
			t.Errorf("%q %v", b, err)
		}
		fi, err := os.Stat(path)
		if err != nil || fi.Mode().Perm() != 0o600 {
			t.Errorf("%v %v", fi.Mode(), err)
		}
		if _, err := os.Stat(path + ".new"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the second file: %v", err)
		}
		if err := os.Chmod(path, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := WriteJSON(filepath.Join(path, "below-a-file"), 1); err == nil {
		t.Error("written below a file")
	}
	if err := WriteJSON(path, func() {}); err == nil {
		t.Error("a function was encoded")
	}
}
