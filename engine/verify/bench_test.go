// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package verify

import (
	"fmt"
	"testing"

	"github.com/hashicorp/raft"
)

// nowhere takes appends and forgets them.
type nowhere struct{ raft.LogStore }

func (nowhere) StoreLogs([]*raft.Log) error { return nil }

// BenchmarkStoreLogs is what the layer adds to an append.
func BenchmarkStoreLogs(b *testing.B) {
	for _, size := range []int{512, 20_000, 1 << 20} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			l := New(nowhere{}, Options{})
			b.Cleanup(func() { _ = l.Close() })
			e := &raft.Log{Term: 1, Data: make([]byte, size)}
			logs := []*raft.Log{e}
			b.ReportAllocs()
			for b.Loop() {
				e.Index++
				if err := l.StoreLogs(logs); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
