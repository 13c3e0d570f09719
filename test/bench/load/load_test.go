// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package load

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// store answers after a while that its test says.
type store struct {
	puts, gets atomic.Int64
	latency    func(n int64) time.Duration
	err        func(n int64) error
}

func (s *store) Put(ctx context.Context, _ string, _ []byte) error {
	n := s.puts.Add(1)
	select {
	case <-time.After(s.latency(n)):
	case <-ctx.Done():
		return ctx.Err()
	}
	if s.err != nil {
		return s.err(n)
	}
	return nil
}

func (s *store) Get(context.Context, string, string) error {
	n := s.gets.Add(1)
	time.Sleep(s.latency(n))
	return nil
}

func spec() Spec {
	return Spec{Operation: Put, Clients: 4, ValueSize: 256, Keys: 100, Warmup: time.Second, Duration: 10 * time.Second, Timeout: time.Minute}
}

func TestWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &store{latency: func(int64) time.Duration { return 10 * time.Millisecond }}
		r, err := Run(t.Context(), spec(), func(int) Client { return s })
		if err != nil {
			t.Fatal(err)
		}
		if r.Throughput < 399 || r.Throughput > 401 {
			t.Errorf("%v per second, want 400: four clients at 10 ms each, warm-up not counted", r.Throughput)
		}
		for name, got := range map[string]time.Duration{"p50": r.P50, "p99": r.P99, "max": r.Max} {
			if d := got - 10*time.Millisecond; d < -20*time.Microsecond || d > 20*time.Microsecond {
				t.Errorf("%s is %v, want 10ms", name, got)
			}
		}
	})
}

// A stall that begins in the window and ends long after it is the maximum.
func TestStallAtTheEndCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		s := &store{latency: func(int64) time.Duration {
			if time.Since(began) > 5*time.Second {
				return 30 * time.Second
			}
			return time.Millisecond
		}}
		r, err := Run(t.Context(), spec(), func(int) Client { return s })
		if err != nil {
			t.Fatal(err)
		}
		if r.Max < 29*time.Second {
			t.Errorf("max is %v, want the stall of 30s", r.Max)
		}
		if r.Throughput > 4*400+1 {
			t.Errorf("%v per second: what ended after the window was counted", r.Throughput)
		}
	})
}

func TestErrorsAreCountedApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refused := errors.New("refused")
		s := &store{
			latency: func(int64) time.Duration { return 10 * time.Millisecond },
			err: func(n int64) error {
				if n%2 == 0 {
					return refused
				}
				return nil
			},
		}
		r, err := Run(t.Context(), spec(), func(int) Client { return s })
		if err != nil {
			t.Fatal(err)
		}
		if r.Errors < 1990 || r.Errors > 2010 || r.FirstError != "refused" || r.Throughput > 201 {
			t.Errorf("%d errors, first %q, %v per second; want half of 400 per second", r.Errors, r.FirstError, r.Throughput)
		}
	})
}

func TestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &store{latency: func(int64) time.Duration { return time.Hour }}
		sp := spec()
		sp.Timeout = 2 * time.Second
		r, err := Run(t.Context(), sp, func(int) Client { return s })
		if err != nil || r.Errors == 0 || r.Operations != 0 {
			t.Errorf("%+v, %v; want timeouts and nothing else", r, err)
		}
	})
}

func TestFill(t *testing.T) {
	s := &store{latency: func(int64) time.Duration { return 0 }}
	sp := spec()
	sp.Operation, sp.Keys = Fill, 101
	if _, err := Run(t.Context(), sp, func(int) Client { return s }); err != nil || s.puts.Load() != 101 {
		t.Errorf("%d puts, %v; want one for each of 101 keys", s.puts.Load(), err)
	}
	sp.Operation = "erase"
	if _, err := Run(t.Context(), sp, func(int) Client { return s }); !errors.Is(err, ErrSpec) {
		t.Errorf("error %v, want ErrSpec", err)
	}
}
