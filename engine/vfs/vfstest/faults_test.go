// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package vfstest

import (
	"errors"
	"io"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs"
)

func TestFaultsAreCounted(t *testing.T) {
	disk := NewFaults(NewMem("/d"))
	f := must[vfs.File](t)(disk.Create("/d/a"))
	fault := disk.Add(Fault{Match: Match{Kind: Syncs}, Err: syscall.EIO, Skip: 2, Times: 2})
	var failed []bool
	for range 6 {
		err := f.SyncData()
		if err != nil && !errors.Is(err, syscall.EIO) {
			t.Error(err)
		}
		failed = append(failed, err != nil)
	}
	if diff := cmp.Diff([]bool{false, false, true, true, false, false}, failed); diff != "" {
		t.Error(diff)
	}
	if fault.Hits() != 2 {
		t.Errorf("%d hits", fault.Hits())
	}
	always := disk.Add(Fault{Match: Match{Under: "/d"}, Err: syscall.EROFS})
	if _, err := disk.Create("/d/b"); !errors.Is(err, syscall.EROFS) {
		t.Errorf("%v, want EROFS", err)
	}
	always.Remove()
	ok(t, must[vfs.File](t)(disk.Create("/d/b")).Close(), f.Close())
}

func TestShortWrite(t *testing.T) {
	for _, want := range []error{syscall.ENOSPC, nil} {
		disk := NewFaults(NewMem("/d"))
		f := must[vfs.File](t)(disk.Create("/d/a"))
		disk.Add(Fault{Match: Match{Kind: Write}, Err: want, Short: 3, Times: 1})
		n, err := f.WriteAt([]byte("abcdef"), 0)
		if want == nil {
			want = io.ErrShortWrite
		}
		if n != 3 || !errors.Is(err, want) {
			t.Errorf("%d, %v", n, err)
		}
		if got := read(t, disk, "/d/a"); got != "abc" {
			t.Errorf("the file is %q", got)
		}
	}
}

// TestLostWriteBack: whoever takes the second sync for an answer about the
// first one's data has lost it.
func TestLostWriteBack(t *testing.T) {
	for _, lost := range []bool{false, true} {
		m := NewMem("/d")
		disk := NewFaults(NewStall(m))
		f := must[vfs.File](t)(disk.Create("/d/a"))
		write(t, f, 0, []byte("old"))
		ok(t, f.SyncData(), disk.SyncDir("/d"))
		disk.Add(Fault{Match: Match{Kind: SyncData}, Err: syscall.EIO, Times: 1, Lost: lost})
		write(t, f, 0, []byte("new"))
		if err := f.SyncData(); !errors.Is(err, syscall.EIO) {
			t.Fatal(err)
		}
		ok(t, f.SyncData())
		if got := read(t, disk, "/d/a"); got != "new" {
			t.Errorf("it reads %q", got)
		}
		want := map[bool]string{false: "new", true: "old"}[lost]
		if got := read(t, m.CrashClone(LoseAll()), "/d/a"); got != want {
			t.Errorf("lost=%v: after a power cut it reads %q, want %q", lost, got, want)
		}
	}
}

func TestTrace(t *testing.T) {
	disk := NewFaults(NewMem("/d"))
	disk.Trace(Match{Kind: Changes})
	disk.Add(Fault{Match: Match{Kind: SyncDir}, Err: syscall.EIO, Times: 1})
	if err := vfs.WriteFileAtomic(disk, "/d/a", []byte("abc")); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	want := []string{
		"remove /d/a.new",
		"create /d/a.new",
		"write /d/a.new 0+3",
		"sync /d/a.new",
		"rename /d/a.new -> /d/a",
		"sync-dir /d: fails: input/output error",
	}
	if diff := cmp.Diff(want, disk.TakeTrace()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if left := disk.TakeTrace(); len(left) > 0 {
		t.Errorf("still there: %v", left)
	}
}

// TestRenamedFile: an open file is known by the name that it has now.
func TestRenamedFile(t *testing.T) {
	disk := NewFaults(NewMem("/d"))
	f := must[vfs.File](t)(disk.Create("/d/a.new"))
	ok(t, disk.Rename("/d/a.new", "/d/a"))
	disk.Trace(Match{Name: "a"})
	ok(t, f.Allocate(8), f.Close())
	if diff := cmp.Diff([]string{"allocate /d/a 8", "close /d/a"}, disk.TakeTrace()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
