// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package telemetry

import (
	"math"
	"sync"
	"time"

	metrics "github.com/hashicorp/go-metrics"
)

// Interval is what the JSON form sums up, as in Consul.
const Interval = 10 * time.Second

// Label qualifies a metric.
type Label = metrics.Label

// kind of a series.
type kind byte

const (
	gauge kind = iota
	counter
	sample
)

// Sink holds every metric; it is a sink of go-metrics. Safe for concurrent use.
type Sink struct {
	mu     sync.RWMutex
	series map[string]*Series // by id; only grows
}

var (
	_ metrics.MetricSink               = (*Sink)(nil)
	_ metrics.PrecisionGaugeMetricSink = (*Sink)(nil)
)

// New returns an empty sink.
func New() *Sink { return &Sink{series: make(map[string]*Series)} }

// Process returns the sink of the process, which hashicorp/raft counts into:
// it knows only the global of go-metrics, and so there is one per process.
var Process = sync.OnceValue(func() *Sink {
	s := New()
	cfg := metrics.DefaultConfig("")
	cfg.EnableHostname = false
	cfg.EnableRuntimeMetrics = false // it stops the world; Prometheus has its own
	if _, err := metrics.NewGlobal(cfg, s); err != nil {
		panic(err) // only for a bad filter, and there is none
	}
	return s
})

// Series is one metric with its labels.
type Series struct {
	name   string
	labels []Label
	kind   kind

	mu struct {
		sync.Mutex
		value      float64 // of a gauge
		count      uint64  // since the start, with sum
		sum        float64
		epoch      int64 // the interval that now is of
		now, prior aggregate
	}
}

// aggregate is what happened to a series within one interval.
type aggregate struct {
	count                int
	sum, sumSq, min, max float64
	last                 time.Time
}

// Add adds a measurement to a sample, or to a counter.
func (s *Series) Add(v float64) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.turnLocked(now)
	s.mu.count++
	s.mu.sum += v
	a := &s.mu.now
	if a.count == 0 {
		a.min, a.max = v, v
	}
	a.count++
	a.sum += v
	a.sumSq += v * v
	a.min, a.max = min(a.min, v), max(a.max, v)
	a.last = now
}

// Set sets a gauge.
func (s *Series) Set(v float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.value = v
}

// turnLocked begins a new interval where it is time.
func (s *Series) turnLocked(now time.Time) {
	epoch := now.UnixNano() / int64(Interval)
	switch epoch {
	case s.mu.epoch:
		return
	case s.mu.epoch + 1:
		s.mu.prior = s.mu.now
	default:
		s.mu.prior = aggregate{}
	}
	s.mu.epoch, s.mu.now = epoch, aggregate{}
}

// finished is the last interval that is over, or the running one where
// nothing was measured before it.
func (s *Series) finished(now time.Time) aggregate {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.turnLocked(now)
	if s.mu.prior.count == 0 {
		return s.mu.now
	}
	return s.mu.prior
}

func (a *aggregate) mean() float64 {
	if a.count == 0 {
		return 0
	}
	return a.sum / float64(a.count)
}

func (a *aggregate) stddev() float64 {
	n := float64(a.count)
	if n < 2 {
		return 0
	}
	return math.Sqrt(max(n*a.sumSq-a.sum*a.sum, 0) / (n * (n - 1)))
}

// Gauge, Counter and Sample return a metric, made on first use.
func (s *Sink) Gauge(name string, labels ...Label) *Series { return s.named(gauge, name, labels) }

// Counter returns a metric that sums up.
func (s *Sink) Counter(name string, labels ...Label) *Series { return s.named(counter, name, labels) }

// Sample returns a metric of measurements.
func (s *Sink) Sample(name string, labels ...Label) *Series { return s.named(sample, name, labels) }

func (s *Sink) named(k kind, name string, labels []Label) *Series {
	return s.find(k, []string{name}, labels)
}

// find looks a series up by the parts of its name.
func (s *Sink) find(k kind, key []string, labels []Label) *Series {
	var room [160]byte
	id := append(room[:0], byte('0'+k))
	for i, part := range key {
		if i > 0 {
			id = append(id, '.')
		}
		id = append(id, part...)
	}
	end := len(id)
	for _, l := range labels {
		id = append(append(append(append(id, ';'), l.Name...), '='), l.Value...)
	}
	s.mu.RLock()
	found := s.series[string(id)] // the compiler does not copy id for this
	s.mu.RUnlock()
	if found != nil {
		return found
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if found = s.series[string(id)]; found == nil {
		found = &Series{name: string(id[1:end]), labels: append([]Label(nil), labels...), kind: k}
		s.series[string(id)] = found
	}
	return found
}

// SetGauge implements metrics.MetricSink.
func (s *Sink) SetGauge(key []string, val float32) { s.find(gauge, key, nil).Set(float64(val)) }

// SetGaugeWithLabels implements metrics.MetricSink.
func (s *Sink) SetGaugeWithLabels(key []string, val float32, labels []Label) {
	s.find(gauge, key, labels).Set(float64(val))
}

// SetPrecisionGauge implements metrics.PrecisionGaugeMetricSink.
func (s *Sink) SetPrecisionGauge(key []string, val float64) { s.find(gauge, key, nil).Set(val) }

// SetPrecisionGaugeWithLabels implements metrics.PrecisionGaugeMetricSink.
func (s *Sink) SetPrecisionGaugeWithLabels(key []string, val float64, labels []Label) {
	s.find(gauge, key, labels).Set(val)
}

// EmitKey implements metrics.MetricSink; raft does not use it.
func (s *Sink) EmitKey(key []string, val float32) { s.find(sample, key, nil).Add(float64(val)) }

// IncrCounter implements metrics.MetricSink.
func (s *Sink) IncrCounter(key []string, val float32) { s.find(counter, key, nil).Add(float64(val)) }

// IncrCounterWithLabels implements metrics.MetricSink.
func (s *Sink) IncrCounterWithLabels(key []string, val float32, labels []Label) {
	s.find(counter, key, labels).Add(float64(val))
}

// AddSample implements metrics.MetricSink.
func (s *Sink) AddSample(key []string, val float32) { s.find(sample, key, nil).Add(float64(val)) }

// AddSampleWithLabels implements metrics.MetricSink.
func (s *Sink) AddSampleWithLabels(key []string, val float32, labels []Label) {
	s.find(sample, key, labels).Add(float64(val))
}
