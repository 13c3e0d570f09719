// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package failover

import (
	"testing"

	"github.com/hashicorp/raft"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs"
)

// BenchmarkAdded is what the failover log adds to an append while both disks
// are well: the same store without it and with it, in turn.
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
