// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package node

import (
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/telemetry"
)

// partitionStats are the engine's own measurements of one partition.
type partitionStats struct {
	apply    *telemetry.Series // kv.apply: ms, from a client's request to its answer
	commands *telemetry.Series // kv.entry.commands: how many share a log entry
	bytes    *telemetry.Series // kv.entry.bytes
	forward  *telemetry.Series // kv.forwarded: attempts sent to another node
	retries  *telemetry.Series // kv.retries: attempts after the first
	won      *telemetry.Series // kv.elected
}

func newStats(m *telemetry.Sink, partition string) *partitionStats {
	at := telemetry.Label{Name: "partition", Value: partition}
	return &partitionStats{
		apply:    m.Sample("kv.apply", at),
		commands: m.Sample("kv.entry.commands", at),
		bytes:    m.Sample("kv.entry.bytes", at),
		forward:  m.Counter("kv.forwarded", at),
		retries:  m.Counter("kv.retries", at),
		won:      m.Counter("kv.elected", at),
	}
}

func (s *partitionStats) applied(d time.Duration) {
	s.apply.Add(float64(d) / float64(time.Millisecond))
}
func (s *partitionStats) forwarded() { s.forward.Add(1) }
func (s *partitionStats) retried()   { s.retries.Add(1) }
func (s *partitionStats) elected()   { s.won.Add(1) }

func (s *partitionStats) entry(commands, bytes int) {
	s.commands.Add(float64(commands))
	s.bytes.Add(float64(bytes))
}

// stats counts for a log store into the process's metrics.
type stats struct{ prefix string }

// IncrementCounter implements logstore.Metrics.
func (s stats) IncrementCounter(name string, delta uint64) {
	telemetry.Process().Counter(s.prefix + name).Add(float64(delta))
}

// SetGauge implements logstore.Metrics.
func (s stats) SetGauge(name string, val uint64) {
	telemetry.Process().Gauge(s.prefix + name).Set(float64(val))
}
