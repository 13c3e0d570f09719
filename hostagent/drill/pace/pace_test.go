// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package pace

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// record keeps what was done.
type record struct {
	mu struct {
		sync.Mutex
		ops []Op
	}
}

func (r *record) add(o Op) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.ops = append(r.mu.ops, o)
}

func begin(t *testing.T, p Plan, do func(ctx context.Context, client, seq int) error) (*Load, *record) {
	t.Helper()
	var r record
	l, err := Start(t.Context(), p, do, r.add)
	if err != nil {
		t.Fatal(err)
	}
	return l, &r
}

func TestRateAndSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		started := time.Now()
		l, r := begin(t, Plan{Clients: 4, Rate: 200}, func(context.Context, int, int) error {
			time.Sleep(5 * time.Millisecond)
			return nil
		})
		time.Sleep(2*time.Second - time.Millisecond)
		if unsent := l.Stop(time.Minute); unsent != 0 || len(r.mu.ops) != 400 {
			t.Errorf("%d operations in 2 s, %d never sent; want 400 and none", len(r.mu.ops), unsent)
		}
		due := map[time.Duration]bool{}
		for _, o := range r.mu.ops {
			if o.Latency() != 5*time.Millisecond || o.Sent != o.Due {
				t.Fatalf("%+v took %v, want 5ms", o, o.Latency())
			}
			due[o.Due.Sub(started)] = true
		}
		for i := range 400 { // 4 clients, each every 20 ms, spread
			if !due[time.Duration(i)*5*time.Millisecond] {
				t.Fatalf("nothing was due at %d × 5ms", i)
			}
		}
	})
}

// A server that hangs for five seconds is five seconds late for whoever came at
// its beginning, and a bit less for each who came later. Seen to fail with Due set
// to the time of sending: one late operation per client, and a median of 1ms.
func TestStallCountsFromTheSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		started := time.Now()
		from, until := started.Add(time.Second), started.Add(6*time.Second)
		l, r := begin(t, Plan{Clients: 16, Rate: 200}, func(context.Context, int, int) error {
			if now := time.Now(); !now.Before(from) && now.Before(until) {
				time.Sleep(until.Sub(now))
			}
			time.Sleep(time.Millisecond)
			return nil
		})
		time.Sleep(5 * time.Second)
		if w := l.Waiting(); w < 3900*time.Millisecond || w > 4*time.Second {
			t.Errorf("waiting for %v in the stall's fourth second", w)
		}
		time.Sleep(5*time.Second - time.Millisecond)
		if w := l.Waiting(); w > 100*time.Millisecond {
			t.Errorf("waiting for %v long after the stall", w)
		}
		if unsent := l.Stop(time.Minute); unsent != 0 || len(r.mu.ops) != 2000 {
			t.Errorf("%d operations in 10 s, %d never sent; want 2000: none is left out for the stall", len(r.mu.ops), unsent)
		}
		var during []Op
		for _, o := range r.mu.ops {
			if !o.Due.Before(from) && o.Due.Before(until) {
				during = append(during, o)
			}
		}
		s := Summarize(during)
		if s.Acknowledged != 1000 || s.Worst < 4900*time.Millisecond || s.P50 < 2400*time.Millisecond || s.P50 > 2700*time.Millisecond {
			t.Errorf("what was due in the stall: %+v; want 1000, the worst near 5s and half of them above 2.5s", s)
		}
		if began, pause := Pause(r.mu.ops, started, started.Add(9*time.Second)); pause < 5*time.Second || pause > 5010*time.Millisecond || began.Before(from.Add(-10*time.Millisecond)) {
			t.Errorf("no progress for %v from %v on", pause, began.Sub(started))
		}
	})
}

// Stop gives up what hangs on, and says what was never sent.
func TestStopGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, r := begin(t, Plan{Clients: 2, Rate: 20}, func(ctx context.Context, _, _ int) error {
			<-ctx.Done()
			return ctx.Err()
		})
		time.Sleep(time.Second - time.Millisecond)
		began := time.Now()
		unsent := l.Stop(3 * time.Second)
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("it took %v, want the grace of 3s", took)
		}
		if len(r.mu.ops) != 2 || unsent != 18 || !errors.Is(r.mu.ops[0].Err, context.Canceled) {
			t.Errorf("%d done, %d never sent; want 2 and 18 of 20", len(r.mu.ops), unsent)
		}
	})
}

func TestTimeoutAndErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refused := errors.New("refused")
		l, r := begin(t, Plan{Clients: 1, Rate: 10, Timeout: 50 * time.Millisecond}, func(ctx context.Context, _, seq int) error {
			switch seq % 5 {
			case 0:
				return refused
			case 1:
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		})
		time.Sleep(999 * time.Millisecond)
		l.Stop(time.Minute)
		if diff := cmp.Diff(Summary{Acknowledged: 6, Errors: 4}, Summarize(r.mu.ops)); diff != "" {
			t.Error(diff)
		}
		if late := slices.ContainsFunc(r.mu.ops, func(o Op) bool { return o.Ended.Sub(o.Sent) > 50*time.Millisecond }); late {
			t.Error("an operation outlived its timeout")
		}
	})
}

func TestContextEndsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var r record
		l, err := Start(ctx, Plan{Clients: 3, Rate: 30}, func(context.Context, int, int) error { return nil }, r.add)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(999 * time.Millisecond)
		cancel()
		synctest.Wait()
		n := len(r.mu.ops)
		time.Sleep(time.Second)
		if l.Stop(0); n != 30 || len(r.mu.ops) != n {
			t.Errorf("%d operations, then %d; want 30 and none after the end", n, len(r.mu.ops))
		}
	})
}

func TestQuantiles(t *testing.T) {
	var ops []Op
	for i := range 1000 {
		ops = append(ops, Op{Ended: time.Time{}.Add(time.Duration(1000-i) * time.Millisecond)})
	}
	ops = append(ops, Op{Err: errors.New("x"), Ended: time.Time{}.Add(time.Hour)})
	want := Summary{Acknowledged: 1000, Errors: 1, P50: 500 * time.Millisecond, P99: 990 * time.Millisecond, P999: 999 * time.Millisecond, Worst: time.Second}
	if diff := cmp.Diff(want, Summarize(ops)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(Summary{}, Summarize(nil)); diff != "" {
		t.Error(diff)
	}
	one := []Op{{Ended: time.Time{}.Add(time.Second)}}
	if s := Summarize(one); s.P50 != time.Second || s.P999 != time.Second {
		t.Errorf("of one: %+v", s)
	}
}

func TestRefused(t *testing.T) {
	for _, p := range []Plan{{Clients: 0, Rate: 1}, {Clients: 1}, {Clients: 1, Rate: -1}, {Clients: 20000, Rate: 1}, {Clients: 1, Rate: 1e9}, {Clients: 1, Rate: 1, Timeout: -1}} {
		if _, err := Start(t.Context(), p, nil, nil); err == nil {
			t.Errorf("%+v is accepted", p)
		}
	}
}
