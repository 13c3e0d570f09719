// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package logstore_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/logstore"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs"
)

// benchDir is where the benchmarks write: HOLDFAST_BENCH_DIR, so that the disk
// can be chosen, or a temporary directory.
func benchDir(b *testing.B) string {
	if base := os.Getenv("HOLDFAST_BENCH_DIR"); base != "" {
		dir, err := os.MkdirTemp(base, "bench") //nolint:usetesting // the disk is chosen
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() {
			if err := os.RemoveAll(dir); err != nil {
				b.Error(err)
			}
		})
		return dir
	}
	return b.TempDir()
}

// arm is one of several things measured against each other in one run.
type arm struct {
	name  string
	step  func() error
	times []time.Duration
}

func (a *arm) quantile(q float64) time.Duration {
	slices.Sort(a.times)
	return a.times[min(int(q*float64(len(a.times))), len(a.times)-1)]
}

// runArms takes turns, some 20 steps at a time, so that what else happens on the
// machine happens to all, and the journal that one arm commits is its own.
func runArms(b *testing.B, arms []*arm) {
	const turn = 20
	for done := 0; done < b.N; done += turn {
		for i := range arms {
			a := arms[(done/turn+i)%len(arms)]
			for range min(turn, b.N-done) {
				start := time.Now()
				if err := a.step(); err != nil {
					b.Fatalf("%s: %v", a.name, err)
				}
				a.times = append(a.times, time.Since(start))
			}
		}
	}
}

// BenchmarkAppend measures the durable append of one entry by each backend, and
// by raft-wal as it comes, beside a raw append and fdatasync to a file that was
// written with zeros: /raw is the ratio of the medians.
func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{400, 20_000} {
		b.Run(fmt.Sprintf("%dB", size), func(b *testing.B) {
			dir := benchDir(b)
			data := make([]byte, size)
			for i := range data {
				data[i] = byte(i*7 + 1)
			}
			arms := []*arm{
				{name: "raw", step: rawAppend(b, dir, data)},
				{name: "wal", step: storeAppend(openBench(b, dir, logstore.WAL), data)},
				{name: "stock-wal", step: storeAppend(openStock(b, dir), data)},
				{name: "boltdb", step: storeAppend(openBench(b, dir, logstore.BoltDB), data)},
			}
			b.ResetTimer()
			runArms(b, arms)
			b.StopTimer()
			base := arms[0].quantile(0.5)
			for _, a := range arms {
				b.ReportMetric(float64(a.quantile(0.5).Microseconds()), a.name+"-p50-µs")
				b.ReportMetric(float64(a.quantile(0.99).Microseconds()), a.name+"-p99-µs")
				if a != arms[0] {
					b.ReportMetric(float64(a.quantile(0.5))/float64(base), a.name+"/raw")
				}
			}
		})
	}
}

// BenchmarkRotation appends through many segments: what the append that meets a
// rotation waits. A segment of 64 MiB takes 3,300 steps.
func BenchmarkRotation(b *testing.B) {
	for _, mb := range []int{1, 64} {
		b.Run(fmt.Sprintf("%dMiB", mb), func(b *testing.B) {
			dir := benchDir(b)
			data := make([]byte, 20_000)
			stock := filepath.Join(dir, "stock")
			if err := os.Mkdir(stock, 0o700); err != nil {
				b.Fatal(err)
			}
			w, err := wal.Open(stock, wal.WithSegmentSize(mb<<20))
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { _ = w.Close() })
			s, _, err := logstore.Open(filepath.Join(dir, "wal"), logstore.Options{WALSegmentSizeMB: mb})
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { _ = s.Close() })
			arms := []*arm{{name: "wal", step: storeAppend(s, data)}, {name: "stock-wal", step: storeAppend(w, data)}}
			b.ResetTimer()
			runArms(b, arms)
			b.StopTimer()
			for _, a := range arms {
				for _, q := range []float64{0.5, 0.9, 0.99, 0.999, 1} {
					b.ReportMetric(float64(a.quantile(q).Microseconds()), fmt.Sprintf("%s-p%v-µs", a.name, 100*q))
				}
			}
		})
	}
}

// rawAppend is the least that a durable append can cost.
func rawAppend(b *testing.B, dir string, data []byte) func() error {
	const size = 64 << 20
	f, err := vfs.OS{}.Create(filepath.Join(dir, "raw"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = f.Close() })
	zeros := make([]byte, 1<<20)
	for off := int64(0); off < size; off += int64(len(zeros)) {
		if _, err := f.WriteAt(zeros, off); err != nil {
			b.Fatal(err)
		}
	}
	if err := f.SyncData(); err != nil {
		b.Fatal(err)
	}
	off := int64(0)
	return func() error {
		if off+int64(len(data)) > size {
			off = 0
		}
		if _, err := f.WriteAt(data, off); err != nil {
			return err
		}
		off += int64(len(data))
		return f.SyncData()
	}
}

func storeAppend(s raft.LogStore, data []byte) func() error {
	next := uint64(0)
	return func() error {
		next++
		return s.StoreLogs([]*raft.Log{{Index: next, Term: 1, Data: data}})
	}
}

func openBench(b *testing.B, dir string, backend logstore.Backend) logstore.Store {
	s, _, err := logstore.Open(filepath.Join(dir, string(backend)), logstore.Options{Backend: backend})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	return s
}

func openStock(b *testing.B, dir string) *wal.WAL {
	dir = filepath.Join(dir, "stock")
	if err := os.Mkdir(dir, 0o700); err != nil {
		b.Fatal(err)
	}
	w, err := wal.Open(dir)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = w.Close() })
	return w
}

// BenchmarkOpen measures the opening of a new log.
func BenchmarkOpen(b *testing.B) {
	for _, backend := range logstore.Backends() {
		b.Run(string(backend), func(b *testing.B) {
			dir := benchDir(b)
			for i := range b.N {
				s, _, err := logstore.Open(filepath.Join(dir, fmt.Sprint(i)), logstore.Options{Backend: backend})
				if err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				if err := s.Close(); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
		})
	}
}
