// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package console

import (
	"encoding/json"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/api"
)

var nan = math.NaN()

func TestRing(t *testing.T) {
	r := newRing(time.Second, 3, 1)
	if times, cols := r.after(math.MinInt64); len(times) != 0 || len(cols[0]) != 0 || !math.IsNaN(r.last(0)) {
		t.Errorf("an empty ring has %v %v", times, cols)
	}
	for i := range int64(5) {
		r.push(1000*i, []float64{float64(i)})
	}
	check := func(after int64, wantTimes []int64, want []float64) {
		t.Helper()
		times, cols := r.after(after)
		if diff := cmp.Diff(wantTimes, times, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("times after %d: %s", after, diff)
		}
		if diff := cmp.Diff(want, cols[0], cmpopts.EquateNaNs(), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("values after %d: %s", after, diff)
		}
	}
	check(math.MinInt64, []int64{2000, 3000, 4000}, []float64{2, 3, 4})
	check(3000, []int64{4000}, []float64{4})
	check(4000, nil, nil)
	// The process stood still: a row without data says so.
	r.push(60000, []float64{60})
	check(3000, []int64{4000, 5000, 60000}, []float64{4, nan, 60})
}

// columns are the named columns of a ring.
func columns(c *Console, coarse bool) map[string][]float64 {
	_, _, cols := c.rows(coarse, math.MinInt64)
	out := make(map[string][]float64)
	for i, col := range cols {
		out[columnKey(i)] = col
	}
	return out
}

func find(t *testing.T, name string) *fixture {
	t.Helper()
	for _, f := range fixtures() {
		if f.name == name {
			return f
		}
	}
	t.Fatalf("no fixture %q", name)
	return nil
}

// TestSampler: a row per second with what happened in it, one per ten seconds
// with the same, and no more of either than is kept.
func TestSampler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, writes := find(t, "failed-over"), new(Latency)
		writes.Add(time.Hour) // before the console: in no row
		c := Start(Config{Source: f, Writes: writes})
		defer c.Close()
		synctest.Wait()
		for second := range 20 {
			time.Sleep(time.Second / 2)
			f.index.Add(300)
			for range 30 {
				writes.Add(time.Duration(2+second%10) * time.Millisecond)
			}
			if second == 3 {
				writes.Add(50 * time.Millisecond)
			}
			time.Sleep(time.Second / 2)
			synctest.Wait()
		}
		fine := columns(c, false)
		for key, want := range map[string]float64{"applied": 300, "writes": 30, "max": 2, "secondary0": 341, "switches0": 7, "over0": 1} {
			if got := fine[key]; len(got) != 20 || math.Abs(got[0]-want) > want/16 {
				t.Errorf("%s by the second: %v, want %v first", key, got, want)
			}
		}
		if got := fine["max"][3]; got != 50 {
			t.Errorf("the longest write of the fourth second took %v ms, want 50", got)
		}
		coarse := columns(c, true)
		for key, want := range map[string]float64{"applied": 300, "writes": 30.1, "p50": 7, "p99": 11, "max": 50, "over0": 1} {
			if got := coarse[key]; len(got) != 2 || math.Abs(got[0]-want) > want/15 {
				t.Errorf("%s by ten seconds: %v, want %v first", key, got, want)
			}
		}
		if step, times, _ := c.rows(true, math.MinInt64); step != 10*time.Second || times[1]-times[0] != 10000 {
			t.Errorf("rows each %v at %v", step, times)
		}
		time.Sleep(7 * time.Hour)
		synctest.Wait()
		if n, m := len(columns(c, false)["p50"]), len(columns(c, true)["p50"]); n != fineRows || m != coarseRows {
			t.Errorf("%d and %d rows are kept, want %d and %d", n, m, fineRows, coarseRows)
		}
		if got := columns(c, false)["p50"][0]; !math.IsNaN(got) {
			t.Errorf("nobody wrote, and the p50 is %v", got)
		}
	})
}

// TestCatchingUp: a log that is replayed is no throughput. With the check of
// how far a state machine is behind taken out, the start was seen as 40,000
// writes per second.
func TestCatchingUp(t *testing.T) {
	at := func(index, applied, last uint64) progress {
		return progressOf(&api.NodeStores{Stores: []api.Store{{Partitions: []api.Partition{{Name: "default", Index: index, AppliedIndex: applied, LastIndex: last}}}}})
	}
	for name, tc := range map[string]struct {
		was, now progress
		want     float64
		known    bool
	}{
		"steady":            {at(100, 50, 51), at(400, 90, 92), 300, true},
		"idle":              {at(100, 50, 50), at(100, 50, 50), 0, true},
		"replay begins":     {at(0, 0, 9000), at(40000, 8999, 9000), 0, false},
		"replay goes on":    {at(10000, 2000, 9000), at(20000, 4000, 9000), 0, false},
		"snapshot taken in": {at(10000, 2000, 2000), at(9, 3, 3), 0, false},
		"partition is new":  {progress{}, at(5, 5, 5), 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got, known := tc.now.appliedSince(tc.was); got != tc.want || known != tc.known {
				t.Errorf("%v, %v; want %v, %v", got, known, tc.want, tc.known)
			}
		})
	}
}

func TestColumnJSON(t *testing.T) {
	b, err := json.Marshal(column{0, nan, 1.23456789, 1e6, 26 * 3600, 0.00012345678})
	if want := `[0,null,1.2346,1000000,93600,0.00012346]`; err != nil || string(b) != want {
		t.Errorf("%s, %v; want %s", b, err, want)
	}
	if _, err := json.Marshal(column{math.Inf(1)}); err == nil {
		t.Error("infinity is no JSON")
	}
}
