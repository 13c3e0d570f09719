// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package failover

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs"
)

// BenchmarkAdded is what the failover log adds to an append while both disks
// are well: the same store without it and with it, in turn. The difference of the
// two has to be under 5 µs.
func BenchmarkAdded(b *testing.B) {
	run := func(b *testing.B, s raft.LogStore) {
		b.ReportAllocs()
		data := make([]byte, 256)
		for i := range b.N {
			if err := s.StoreLogs([]*raft.Log{{Index: uint64(i) + 1, Term: 1, Data: data}}); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.Run("store=bare", func(b *testing.B) { run(b, &discard{}) })
	b.Run("store=failover", func(b *testing.B) {
		side, err := OpenSide(b.Context(), vfs.OS{}, b.TempDir())
		if err != nil {
			b.Fatal(err)
		}
		l, err := Open(b.Context(), Config{
			Dir: b.TempDir(), Open: func() (Store, error) { return &discard{}, nil }, Side: side, Store: "s", Partition: "p",
		})
		if err != nil {
			b.Fatal(err)
		}
		b.ResetTimer()
		run(b, l)
		b.StopTimer()
		if err := l.Close(b.Context()); err != nil {
			b.Fatal(err)
		}
		if err := side.Close(b.Context()); err != nil {
			b.Fatal(err)
		}
	})
}

// BenchmarkRecovery is Open with 64 MiB of operations that only the side has,
// onto a store that costs nothing: reading, checking and handing over, and the
// fence. MB/s is of the journal. It has to take less than two seconds.
func BenchmarkRecovery(b *testing.B) {
	const full, size = 64 << 20, 4 << 10
	base := b.TempDir()
	side, err := OpenSide(b.Context(), vfs.OS{}, base)
	if err != nil {
		b.Fatal(err)
	}
	// A primary that hangs, so that all of it goes to the side.
	gate := make(chan struct{})
	dir := b.TempDir()
	cfg := Config{
		Dir: dir, Side: side, Store: "s", Partition: "p", JournalBudget: 2 * full, MaxSync: time.Hour,
		Open: func() (Store, error) { return &stuck{gate: gate}, nil },
	}
	l, err := Open(b.Context(), cfg)
	if err != nil {
		b.Fatal(err)
	}
	data := make([]byte, size)
	last := uint64(0)
	for range full / (64 * (size + entryOverhead)) {
		var batch []*raft.Log
		for range 64 {
			last++
			batch = append(batch, &raft.Log{Index: last, Term: 1, Data: data})
		}
		if err := l.StoreLogs(batch); err != nil {
			b.Fatal(err)
		}
	}
	// As after a power cut: the directories, copied.
	crashed := b.TempDir()
	if err := errors.Join(os.CopyFS(filepath.Join(crashed, "log"), os.DirFS(dir)), os.CopyFS(filepath.Join(crashed, "side"), os.DirFS(base))); err != nil {
		b.Fatal(err)
	}
	close(gate)
	if err := errors.Join(l.Close(b.Context()), side.Close(b.Context())); err != nil {
		b.Fatal(err)
	}
	// The record names the side's directory: it moves with it.
	armed, err := readRecord(vfs.OS{}, filepath.Join(crashed, "log"))
	if err != nil {
		b.Fatal(err)
	}
	armed.Armed = []string{filepath.Join(crashed, "side")}
	b.SetBytes(full)
	for b.Loop() {
		b.StopTimer()
		again := filepath.Join(b.TempDir(), fmt.Sprint(b.N))
		if err := errors.Join(os.RemoveAll(again), os.CopyFS(again, os.DirFS(filepath.Join(crashed, "log"))), writeRecord(vfs.OS{}, again, armed)); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		l, err := Open(b.Context(), Config{
			Dir: again, Previous: armed.Armed, Store: "s", Partition: "p", JournalBudget: 2 * full,
			Open: func() (Store, error) { return &discard{}, nil },
		})
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if got, _ := l.LastIndex(); got != last {
			b.Fatalf("the log ends at %d, want %d", got, last)
		}
		if err := errors.Join(l.Close(b.Context()), os.RemoveAll(again)); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

// stuck is a store whose appends wait for gate.
type stuck struct {
	discard
	gate chan struct{}
}

func (s *stuck) StoreLogs(l []*raft.Log) error {
	<-s.gate
	return s.discard.StoreLogs(l)
}

// discard is a store that costs nothing.
type discard struct {
	fakeHandle
	first, last uint64
}

func (d *discard) FirstIndex() (uint64, error) { return d.first, nil }
func (d *discard) LastIndex() (uint64, error)  { return d.last, nil }
func (d *discard) StoreLogs(l []*raft.Log) error {
	d.last = l[len(l)-1].Index
	d.first = 1
	return nil
}
func (d *discard) Close() error { return nil }
