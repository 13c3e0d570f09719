// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Package load drives a key-value store in a closed loop: so many clients,
// each of which sends its next operation when the last one was answered. Paced
// is another: it is for stalls.
//
// It knows no store. The program of each system links this package, so that
// both systems meet the same clock, the same keys and the same histogram. It
// runs in a process of its own, apart from the nodes and from the harness.
//
// A closed loop slows down with what it measures: while a node hangs, no new
// operation comes, and the stall counts once per client. That is what max and
// p99.9 are for; operations under way at the end of the window are waited
// for and counted with their whole latency.
package load

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Kinds of operations.
const (
	Fill = "fill" // every key once, not measured
	Put  = "put"
	Get  = "get"
)

// Consistency of reads. Each system translates them; see the README.
const (
	Default    = "default"
	Consistent = "consistent"
	Stale      = "stale"
)

// Spec is one cell of the benchmark.
type Spec struct {
	Endpoints   []string      `json:"endpoints"`
	Operation   string        `json:"operation"`
	Consistency string        `json:"consistency,omitempty"`
	Clients     int           `json:"clients"`
	Connections int           `json:"connections,omitempty"` // client objects to share, where the system has such
	ValueSize   int           `json:"value_size"`
	Keys        int           `json:"keys"`
	Seed        uint64        `json:"seed"`
	Warmup      time.Duration `json:"warmup"`
	Duration    time.Duration `json:"duration"`
	// Rate is that of a paced load, operations per second of all clients.
	Rate float64 `json:"rate,omitempty"`
	// Timeout bounds each operation.
	Timeout time.Duration `json:"timeout"`
}

// Result is what a cell measured. Latencies are of the operations that began
// in the window and succeeded; Throughput is of those that ended in it.
type Result struct {
	Operations int64         `json:"operations"`
	Errors     int64         `json:"errors"`
	FirstError string        `json:"first_error,omitempty"`
	Throughput float64       `json:"ops_per_second"`
	Mean       time.Duration `json:"mean_ns"`
	P50        time.Duration `json:"p50_ns"`
	P99        time.Duration `json:"p99_ns"`
	P999       time.Duration `json:"p999_ns"`
	Max        time.Duration `json:"max_ns"`
	// CPU is what the load generator itself used, in the window and around it.
	CPU time.Duration `json:"cpu_ns"`
	// Trace is there for a paced load.
	Trace *Trace `json:"trace,omitempty"`
}

// Client does one operation at a time.
type Client interface {
	Put(ctx context.Context, key string, value []byte) error
	Get(ctx context.Context, key, consistency string) error
}

// Key is the i-th key.
func Key(i int) string { return fmt.Sprintf("bench/%08d", i) }

// ErrSpec is returned for a cell that cannot be run.
var ErrSpec = errors.New("load: the cell makes no sense")

// Run runs a cell. client returns the client that the i-th goroutine uses; it
// may return the same one to several.
func Run(ctx context.Context, spec Spec, client func(i int) Client) (Result, error) {
	if spec.Clients < 1 || spec.Keys < 1 || spec.ValueSize < 0 {
		return Result{}, fmt.Errorf("%w: %d clients, %d keys, %d bytes", ErrSpec, spec.Clients, spec.Keys, spec.ValueSize)
	}
	switch spec.Operation {
	case Fill:
		return fill(ctx, spec, client)
	case Put, Get:
		return loop(ctx, spec, client)
	case Paced:
		return runPaced(ctx, spec, client)
	}
	return Result{}, fmt.Errorf("%w: operation %q", ErrSpec, spec.Operation)
}

// fill writes every key once.
func fill(ctx context.Context, spec Spec, client func(int) Client) (Result, error) {
	m := newMeter(time.Now(), time.Now().Add(365*24*time.Hour))
	var wg sync.WaitGroup
	for i := range spec.Clients {
		c := client(i)
		value := randomValue(spec, i)
		wg.Go(func() {
			for k := i; k < spec.Keys && ctx.Err() == nil; k += spec.Clients {
				one(ctx, spec.Timeout, m, func(ctx context.Context) error { return c.Put(ctx, Key(k), value) })
			}
		})
	}
	wg.Wait()
	return m.result(0), ctx.Err()
}

// loop keeps every client busy from now until the window is over.
func loop(ctx context.Context, spec Spec, client func(int) Client) (Result, error) {
	from := time.Now().Add(spec.Warmup)
	until := from.Add(spec.Duration)
	m := newMeter(from, until)
	var wg sync.WaitGroup
	for i := range spec.Clients {
		c := client(i)
		value := randomValue(spec, i)
		keys := rand.New(rand.NewPCG(spec.Seed, uint64(i)))
		wg.Go(func() {
			for time.Now().Before(until) && ctx.Err() == nil {
				key := Key(keys.IntN(spec.Keys))
				one(ctx, spec.Timeout, m, func(ctx context.Context) error {
					if spec.Operation == Put {
						return c.Put(ctx, key, value)
					}
					return c.Get(ctx, key, spec.Consistency)
				})
			}
		})
	}
	wg.Wait()
	return m.result(spec.Duration), ctx.Err()
}

func one(ctx context.Context, timeout time.Duration, m *meter, operation func(context.Context) error) {
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	began := time.Now()
	err := operation(ctx)
	m.record(began, time.Now(), err)
}

// randomValue is a value that does not compress, another one for each client.
func randomValue(spec Spec, i int) []byte {
	r := rand.NewChaCha8([32]byte{byte(spec.Seed), byte(i), byte(i >> 8)})
	value := make([]byte, spec.ValueSize)
	_, _ = r.Read(value) // never fails
	return value
}

// meter takes the measurements of all clients. One lock: it is held for some
// hundred nanoseconds, some ten thousand times a second.
type meter struct {
	from, until time.Time
	mu          struct {
		sync.Mutex
		histogram *hdrhistogram.Histogram // nanoseconds
		ended     int64                   // in the window
		failed    int64
		first     error
	}
}

// Latencies from a microsecond to five minutes, to three digits.
const shortest, longest, digits = int64(time.Microsecond), int64(5 * time.Minute), 3

func newMeter(from, until time.Time) *meter {
	m := &meter{from: from, until: until}
	m.mu.histogram = hdrhistogram.New(shortest, longest, digits)
	return m
}

func (m *meter) record(began, ended time.Time, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if began.Before(m.from) && ended.Before(m.from) {
		return // warming up
	}
	if err != nil {
		m.mu.failed++
		if m.mu.first == nil {
			m.mu.first = err
		}
		return
	}
	if !ended.Before(m.from) && !ended.After(m.until) {
		m.mu.ended++
	}
	if !began.Before(m.from) {
		latency := min(max(int64(ended.Sub(began)), shortest), longest)
		_ = m.mu.histogram.RecordValue(latency) // within its bounds
	}
}

func (m *meter) result(window time.Duration) Result {
	m.mu.Lock()
	defer m.mu.Unlock()
	h := m.mu.histogram
	r := Result{
		Operations: m.mu.ended,
		Errors:     m.mu.failed,
		Mean:       time.Duration(h.Mean()),
		P50:        time.Duration(h.ValueAtQuantile(50)),
		P99:        time.Duration(h.ValueAtQuantile(99)),
		P999:       time.Duration(h.ValueAtQuantile(99.9)),
		Max:        time.Duration(h.Max()),
	}
	if window > 0 {
		r.Throughput = float64(m.mu.ended) / window.Seconds()
	}
	if m.mu.first != nil {
		r.FirstError = m.mu.first.Error()
	}
	return r
}
