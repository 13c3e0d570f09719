// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package vfstest

import (
	"fmt"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs"
)

const walSegment = 4 << 10 // small, so that a few entries rotate it

// TestWALPowerCuts appends to a raft-wal, rotations, truncations and terms
// included, cuts the power before every change, and wants back what was
// acknowledged. Without its syncs it is caught.
func TestWALPowerCuts(t *testing.T) {
	for _, tc := range []struct {
		name   string
		forget Match
		caught bool
	}{
		{"sound", Match{Under: "/nowhere"}, false},
		{"without SyncData", Match{Kind: SyncData, Name: "*.wal"}, true},
		{"without SyncDir", Match{Kind: SyncDir}, true},
		{"meta without SyncData", Match{Kind: SyncData, Name: metaName + "*"}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var acked atomic.Pointer[walImage]
			var next atomic.Pointer[walImage]
			acked.Store(&walImage{first: 1})
			next.Store(acked.Load())
			var failures []error
			err := CrashPoints(NewMem("/wal"), 1, func(fsys vfs.FS) error {
				return runWAL(Forgetful(fsys, tc.forget), &acked, &next)
			}, func(p Point, m *Mem) {
				if err := checkWAL(m, acked.Load(), next.Load()); err != nil {
					failures = append(failures, fmt.Errorf("%v: %w", p, err))
				}
			})
			ok(t, err)
			if caught := len(failures) > 0; caught != tc.caught {
				t.Errorf("caught: %v, want %v: %d failures, the first: %v", caught, tc.caught, len(failures), failures[:min(3, len(failures))])
			}
		})
	}
}

// walImage is what a log should hold.
type walImage struct{ first, last, term uint64 }

func runWAL(fsys vfs.FS, acked, next *atomic.Pointer[walImage]) error {
	w, err := OpenWAL(fsys, "/wal", walSegment)
	if err != nil {
		return err
	}
	do := func(to walImage, call func() error) error {
		next.Store(&to)
		if err := call(); err != nil {
			return err
		}
		acked.Store(&to)
		return nil
	}
	at := walImage{first: 1}
	for i := range uint64(24) {
		at.last++
		if err := do(at, func() error { return w.StoreLog(walEntry(at.last)) }); err != nil {
			return err
		}
		if i%8 == 7 {
			at.term++
			if err := do(at, func() error { return w.SetUint64([]byte("term"), at.term) }); err != nil {
				return err
			}
			at.first += 3
			if err := do(at, func() error { return w.DeleteRange(at.first-3, at.first-1) }); err != nil {
				return err
			}
			at.last -= 2
			if err := do(at, func() error { return w.DeleteRange(at.last+1, at.last+2) }); err != nil {
				return err
			}
		}
	}
	return w.Close()
}

func walEntry(index uint64) *raft.Log {
	return &raft.Log{Index: index, Term: 1, Data: fmt.Appendf(nil, "%0500d", index)}
}

// checkWAL reopens the log on m and wants acked, or next, which was asked for.
func checkWAL(m *Mem, acked, next *walImage) (err error) {
	w, err := OpenWAL(m, "/wal", walSegment)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := w.Close(); err == nil {
			err = cerr
		}
	}()
	var got walImage
	if got.first, err = w.FirstIndex(); err != nil {
		return err
	}
	if got.last, err = w.LastIndex(); err != nil {
		return err
	}
	if got.term, err = w.GetUint64([]byte("term")); err != nil {
		return err
	}
	if got.last == 0 {
		got.first = 1
	}
	if got != *acked && got != *next {
		return fmt.Errorf("found %+v; acknowledged %+v, in progress %+v", got, *acked, *next)
	}
	for i := got.first; i <= got.last; i++ {
		var l raft.Log
		if err := w.GetLog(i, &l); err != nil {
			return fmt.Errorf("entry %d: %w", i, err)
		}
		if string(l.Data) != string(walEntry(i).Data) {
			return fmt.Errorf("entry %d is %.20q…", i, l.Data)
		}
	}
	return nil
}

// TestWALLateAppend is what the failover log exists for: an append that hangs
// lands on the disk of the dead process, not on its successor's.
func TestWALLateAppend(t *testing.T) {
	for _, moment := range []Moment{Before, After} {
		m := NewMem("/wal")
		disk := NewStall(m)
		w, err := OpenWAL(disk, "/wal", walSegment)
		ok(t, err)
		ok(t, w.StoreLog(walEntry(1)))
		h := disk.Hang(Match{Kind: Write, Name: "*.wal"}, moment)
		done := make(chan error, 1) // one send, by the goroutine
		go func() { done <- w.StoreLog(walEntry(2)) }()
		h.Wait(1)
		clone := m.CrashClone(KeepAll())
		h.Release()
		ok(t, <-done, w.Close())
		landed := walImage{first: 1, last: 1}
		if moment == After {
			landed.last = 2
		}
		ok(t, checkWAL(clone, &landed, &landed))
		both := walImage{first: 1, last: 2}
		ok(t, checkWAL(m, &both, &both))
	}
}

func TestMetaStoreChecksum(t *testing.T) {
	m := NewMem("/wal")
	s := NewMetaStore(m)
	_, err := s.Load("/wal")
	ok(t, err, s.SetStable([]byte("k"), []byte("v")))
	f := must[vfs.File](t)(m.OpenReadWrite("/wal/" + metaName))
	write(t, f, 20, []byte("X"))
	if _, err := NewMetaStore(m).Load("/wal"); err == nil {
		t.Error("a damaged file was loaded")
	}
	faults := NewFaults(NewMem("/wal"))
	s = NewMetaStore(faults)
	_, err = s.Load("/wal")
	ok(t, err)
	faults.Add(Fault{Match: Match{Kind: Write}, Err: syscall.ENOSPC, Times: 1})
	if err := s.SetStable([]byte("k"), []byte("v")); err == nil {
		t.Fatal("no error")
	}
	if v, err := s.GetStable([]byte("k")); v != nil || err != nil {
		t.Errorf("%q, %v: what failed is not there", v, err)
	}
}
