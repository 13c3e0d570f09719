// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package vfstest

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs"
)

func TestHang(t *testing.T) {
	for _, tc := range []struct {
		moment Moment
		during string // what the file holds while the write hangs
	}{{Before, "old"}, {After, "new"}} {
		synctest.Test(t, func(t *testing.T) {
			m := NewMem("/d", "/other")
			disk := NewStall(m)
			f := must[vfs.File](t)(disk.Create("/d/a"))
			write(t, f, 0, []byte("old"))
			h := disk.Hang(Match{Kind: Disk, Under: "/d"}, tc.moment)

			start := time.Now()
			var took time.Duration
			go func() {
				if _, err := f.WriteAt([]byte("new"), 0); err != nil {
					t.Error(err)
				}
				took = time.Since(start)
			}()
			go func() {
				if err := disk.SyncDir("/d"); err != nil {
					t.Error(err)
				}
			}()
			h.Wait(2)
			kinds := []Kind{h.Blocked()[0].Kind, h.Blocked()[1].Kind}
			slices.Sort(kinds)
			if diff := cmp.Diff([]Kind{SyncDir, Write}, kinds); diff != "" {
				t.Errorf("held (-want +got):\n%s", diff)
			}
			if got := read(t, m, "/d/a"); got != tc.during {
				t.Errorf("while it hangs the file is %q, want %q", got, tc.during)
			}
			// Elsewhere, and what needs no disk, goes on.
			other := must[vfs.File](t)(disk.Create("/other/a"))
			ok(t, other.SyncData(), other.Close())
			if got := read(t, disk, "/d/a"); got != tc.during {
				t.Errorf("a read says %q", got)
			}

			time.Sleep(30 * time.Second)
			synctest.Wait()
			if n := len(h.Blocked()); n != 2 {
				t.Errorf("%d calls are held", n)
			}
			h.Release()
			synctest.Wait()
			if took != 30*time.Second {
				t.Errorf("the write took %v", took)
			}
			if got := read(t, m, "/d/a"); got != "new" {
				t.Errorf("after it the file is %q", got)
			}
			if n := len(h.Blocked()); n != 0 {
				t.Errorf("%d calls are held", n)
			}
			write(t, f, 0, []byte("x"))
			ok(t, f.Close())
		})
	}
}

// TestHangsOverlap: a call that one hang lets go of is held by the next.
func TestHangsOverlap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := NewStall(NewMem("/d"))
		first := disk.Hang(Match{Kind: Create}, Before)
		second := disk.Hang(Match{Name: "*.wal"}, Before)
		after := disk.Hang(Match{Kind: Create}, After)
		done := make(chan error, 1) // one send, by the goroutine
		go func() {
			_, err := disk.Create("/d/1.wal")
			done <- err
		}()
		first.Wait(1)
		first.Release()
		second.Wait(1)
		if names := must[[]string](t)(disk.List("/d")); len(names) > 0 {
			t.Errorf("held, and yet there: %v", names)
		}
		second.Release()
		after.Wait(1)
		if names := must[[]string](t)(disk.List("/d")); len(names) != 1 {
			t.Errorf("happened, and not there: %v", names)
		}
		disk.Release()
		ok(t, <-done)
	})
}

func TestLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := NewStall(NewMem("/d"))
		disk.Latency = func(op Op) time.Duration {
			if op.Kind == SyncData {
				return 45 * time.Millisecond
			}
			return 0
		}
		start := time.Now()
		f := must[vfs.File](t)(disk.Create("/d/a"))
		for range 10 {
			ok(t, f.SyncData())
		}
		if d := time.Since(start); d != 450*time.Millisecond {
			t.Errorf("ten syncs took %v", d)
		}
	})
}
