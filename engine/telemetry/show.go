// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package telemetry

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	metrics "github.com/hashicorp/go-metrics"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// all returns the series in order of name and labels.
func (s *Sink) all() []*Series {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := make([]*Series, 0, len(s.series))
	for _, id := range slices.Sorted(maps.Keys(s.series)) {
		out = append(out, s.series[id])
	}
	return out
}

// Summary is the last finished interval in the form of Consul's
// /v1/agent/metrics.
func (s *Sink) Summary(now time.Time) metrics.MetricsSummary {
	sum := metrics.MetricsSummary{
		Timestamp: now.Add(-Interval).Truncate(Interval).UTC().Format("2006-01-02 15:04:05 +0000 UTC"),
		Gauges:    []metrics.GaugeValue{}, PrecisionGauges: []metrics.PrecisionGaugeValue{}, Points: []metrics.PointValue{},
		Counters: []metrics.SampledValue{}, Samples: []metrics.SampledValue{},
	}
	for _, m := range s.all() {
		labels := make(map[string]string, len(m.labels))
		for _, l := range m.labels {
			labels[l.Name] = l.Value
		}
		if m.kind == gauge {
			m.mu.Lock()
			v := m.mu.value
			m.mu.Unlock()
			sum.Gauges = append(sum.Gauges, metrics.GaugeValue{Name: m.name, Value: float32(v), DisplayLabels: labels})
			continue
		}
		a := m.finished(now)
		if a.count == 0 {
			continue
		}
		v := metrics.SampledValue{Name: m.name, DisplayLabels: labels, Mean: a.mean(), Stddev: a.stddev(), AggregateSample: &metrics.AggregateSample{
			Count: a.count, Rate: a.sum / Interval.Seconds(), Sum: a.sum, SumSq: a.sumSq, Min: a.min, Max: a.max, LastUpdated: a.last,
		}}
		if m.kind == counter {
			sum.Counters = append(sum.Counters, v)
		} else {
			sum.Samples = append(sum.Samples, v)
		}
	}
	return sum
}

// JSON answers with Summary.
func (s *Sink) JSON() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		b, err := json.Marshal(s.Summary(time.Now()))
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(b) // a client that left is no news
	})
}

// Prometheus answers in Prometheus' text form, the Go runtime's and the
// process's metrics included.
func (s *Sink) Prometheus() http.Handler {
	r := prometheus.NewRegistry()
	r.MustRegister(collector{s}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError})
}

// collector shows a sink to Prometheus.
type collector struct{ s *Sink }

// Describe implements prometheus.Collector: nothing is known beforehand.
func (collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	for _, m := range c.s.all() {
		names := make([]string, len(m.labels))
		values := make([]string, len(m.labels))
		for i, l := range m.labels {
			names[i], values[i] = promName(l.Name), l.Value
		}
		desc := prometheus.NewDesc(promName(m.name), m.name, names, nil)
		m.mu.Lock()
		value, count, sum := m.mu.value, m.mu.count, m.mu.sum
		m.mu.Unlock()
		switch m.kind {
		case gauge:
			ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, values...)
		case counter:
			ch <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, sum, values...)
		default:
			ch <- prometheus.MustNewConstSummary(desc, count, sum, nil, values...)
		}
	}
}

// promName replaces what Prometheus does not allow in a name.
func promName(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '_', r == ':':
			return r
		}
		return '_'
	}, s)
}
