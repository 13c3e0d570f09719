// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package kv

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// BenchmarkApply is the cost of one put in a batch of 64 random ones over
// 100,000 keys: ns/op and allocs/op are per put.
func BenchmarkApply(b *testing.B) {
	const keys, batch = 100_000, 64
	m := New()
	value := make([]byte, 256)
	key := func(i int) string { return fmt.Sprintf("bench/key-%08d", i) }
	var seq uint64
	entry := func(next func() int) []byte {
		e := AppendBatchHeader(nil)
		for range batch {
			seq++
			e = AppendCommand(e, &Command{ID: ID{Origin: 1, Seq: seq, Floor: seq - min(seq, 256)}, Op: OpPut, Key: key(next()), Value: value})
		}
		return e
	}
	n := 0
	for n < keys {
		if _, err := m.Apply(entry(func() int { n++; return n })); err != nil {
			b.Fatal(err)
		}
	}
	rng := rand.New(rand.NewPCG(1, 2))
	entries := make([][]byte, 4096)
	for i := range entries {
		entries[i] = entry(func() int { return rng.IntN(keys) })
	}
	// Without IDs every round applies: the entries are reused.
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < b.N; i += batch {
		if i/batch%len(entries) == 0 {
			m.dedup = newDedup()
		}
		if _, err := m.Apply(entries[i/batch%len(entries)]); err != nil {
			b.Fatal(err)
		}
	}
}
