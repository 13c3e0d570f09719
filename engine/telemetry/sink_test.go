// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package telemetry

import (
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	metrics "github.com/hashicorp/go-metrics"
)

func TestSummary(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New()
		for _, v := range []float32{1, 2, 6} {
			s.AddSampleWithLabels([]string{"raft", "net", "rpc"}, v, []metrics.Label{{Name: "peer_id", Value: "b"}})
		}
		s.IncrCounter([]string{"raft", "apply"}, 2)
		s.SetGauge([]string{"raft", "peers"}, 3)
		time.Sleep(Interval)
		s.IncrCounter([]string{"raft", "apply"}, 40) // of the interval that runs
		sum := s.Summary(time.Now())
		if len(sum.Samples) != 1 || len(sum.Counters) != 1 || len(sum.Gauges) != 1 {
			t.Fatalf("%+v", sum)
		}
		if m := sum.Samples[0]; m.Name != "raft.net.rpc" || m.Count != 3 || m.Mean != 3 || m.Min != 1 || m.Max != 6 || m.DisplayLabels["peer_id"] != "b" {
			t.Errorf("sample: %+v %+v", m, m.AggregateSample)
		}
		if m := sum.Counters[0]; m.Sum != 2 || m.Rate != 0.2 {
			t.Errorf("counter: %+v", m.AggregateSample)
		}
		time.Sleep(3 * Interval)
		if sum := s.Summary(time.Now()); len(sum.Samples) != 0 {
			t.Errorf("an old sample is shown: %+v", sum.Samples)
		}
	})
}

func TestPrometheus(t *testing.T) {
	s := New()
	s.Counter("kv.retries", Label{Name: "partition", Value: "p2"}).Add(2)
	s.Sample("kv.apply").Add(1.5)
	w := httptest.NewRecorder()
	s.Prometheus().ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	for _, want := range []string{`kv_retries{partition="p2"} 2`, "kv_apply_sum 1.5", "kv_apply_count 1", "go_goroutines"} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("without %q", want)
		}
	}
}

// TestNoAllocation: measuring is on the way of every write.
func TestNoAllocation(t *testing.T) {
	s := New()
	key := []string{"raft", "fsm", "apply"}
	if n := testing.AllocsPerRun(100, func() { s.AddSample(key, 1) }); n != 0 {
		t.Errorf("%v allocations per measurement", n)
	}
}
