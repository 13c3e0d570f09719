// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cluster

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/httpapi"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/kv"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/node"
)

// The benchmarks run three nodes and the clients in one process, over TCP, on
// the directory that TMPDIR names. Closed loop: a client sends its next
// request when it has the answer to the last. Profiles: -cpuprofile.

const valueBytes = 256

// production sets the timing that a node has by default.
func production(c *node.Config) { c.Timing = node.Timing{EntriesInFlight: c.Timing.EntriesInFlight} }

func BenchmarkPut(b *testing.B) {
	for _, path := range []string{"node", "http"} {
		for _, clients := range []int{1, 16, 64, 256} {
			for _, flying := range []int{1, 2, 4} {
				b.Run(fmt.Sprintf("path=%s/clients=%d/inflight=%d", path, clients, flying), func(b *testing.B) {
					benchmarkPut(b, path, clients, flying)
				})
			}
		}
	}
}

func benchmarkPut(b *testing.B, path string, clients, flying int) {
	c := New(b, Options{Configure: func(c *node.Config) { production(c); c.Timing.EntriesInFlight = flying }})
	c.Leader("default")
	put := func(int, string, []byte) error { return nil }
	value := bytes.Repeat([]byte{'v'}, valueBytes)
	switch path {
	case "node":
		put = func(i int, key string, value []byte) error {
			_, err := c.Node(c.Names()[i%3]).Apply(context.Background(), "default", kv.Command{Op: kv.OpPut, Key: key, Value: value})
			return err
		}
	case "http":
		client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}}
		defer client.CloseIdleConnections()
		put = func(i int, key string, value []byte) error {
			return httpPut(client, c.Node(c.Names()[i%3]), key, value)
		}
	}
	load(b, clients, func(client, n int) error {
		return put(client, fmt.Sprintf("bench/%d/%d", client, n%100), value)
	})
}

func httpPut(client *http.Client, n *node.Node, key string, value []byte) error {
	req, err := http.NewRequest(http.MethodPut, "http://"+n.HTTPAddr()+"/v1/kv/"+key, bytes.NewReader(value))
	if err != nil {
		return err
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(res.Body)
	if cerr := res.Body.Close(); err == nil {
		err = cerr
	}
	if err == nil && (res.StatusCode != http.StatusOK || string(body) != "true") {
		err = fmt.Errorf("status %d: %s", res.StatusCode, body)
	}
	return err
}

// load runs do from many clients, b.N times in all, and reports quantiles.
func load(b *testing.B, clients int, do func(client, n int) error) {
	var next atomic.Int64
	lat := make([][]time.Duration, clients)
	var before, after unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &before); err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			for n := 0; next.Add(1) <= int64(b.N); n++ {
				begun := time.Now()
				if err := do(i, n); err != nil {
					b.Error(err)
					return
				}
				lat[i] = append(lat[i], time.Since(begun))
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	if err := unix.Getrusage(unix.RUSAGE_SELF, &after); err != nil {
		b.Fatal(err)
	}
	all := slices.Concat(lat...)
	slices.Sort(all)
	if len(all) == 0 {
		return
	}
	at := func(q float64) float64 {
		return float64(all[min(int(q*float64(len(all))), len(all)-1)]) / float64(time.Microsecond)
	}
	cpu := func(r *unix.Rusage) int64 { return r.Utime.Nano() + r.Stime.Nano() }
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "op/s")
	b.ReportMetric(at(0.5), "p50-µs")
	b.ReportMetric(at(0.99), "p99-µs")
	b.ReportMetric(float64(cpu(&after)-cpu(&before))/1e3/float64(b.N), "cpu-µs/op")
	b.ReportMetric(float64(after.Nvcsw-before.Nvcsw)/float64(b.N), "switches/op")
}

func BenchmarkRead(b *testing.B) {
	for name, how := range map[string]httpapi.Consistency{"default": httpapi.Default, "consistent": httpapi.Consistent, "stale": httpapi.Stale} {
		b.Run("consistency="+name, func(b *testing.B) {
			c := New(b, Options{Configure: production})
			c.Leader("default")
			c.Put("a", "k", "v")
			load(b, 64, func(client, _ int) error {
				_, _, err := c.Node(c.Names()[client%3]).Read(context.Background(), "default", kv.Query{Kind: kv.QueryGet, Key: "k"}, how)
				return err
			})
		})
	}
}

// BenchmarkFdatasync is what there is to compare with: a preallocated file,
// appended to and synced, by one writer.
func BenchmarkFdatasync(b *testing.B) {
	f, err := os.Create(filepath.Join(b.TempDir(), "raw"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	const size = 64 << 20
	if _, err := f.Write(make([]byte, size)); err != nil {
		b.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		b.Fatal(err)
	}
	rec := make([]byte, 512)
	load(b, 1, func(_, n int) error {
		if _, err := f.WriteAt(rec, int64(n*len(rec))%size); err != nil {
			return err
		}
		return unix.Fdatasync(int(f.Fd()))
	})
}
