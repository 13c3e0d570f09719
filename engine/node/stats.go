// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package node

import (
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/console"
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
	writes   *console.Latency  // of all partitions, with apply

	// Of the failover log. The first three are ms and measured as it happens;
	// the others are set by measure.
	write    *telemetry.Series // storage.wal.failover.write_and_sync.latency: to the first durable copy
	primary  *telemetry.Series // storage.wal.fsync.latency: one call on the primary
	side     *telemetry.Series // storage.wal.failover.side.fsync.latency
	failover failoverGauges
}

// failoverGauges show a store's failover log. Durations are ns, as CockroachDB
// counts them under the same names.
type failoverGauges struct {
	secondary, primary *telemetry.Series // storage.wal.failover.{secondary,primary}.duration
	switches, hedges   *telemetry.Series // storage.wal.failover.{switch,hedge}.count
	active             *telemetry.Series // .active: 0 primary, 1 secondary
	hung               *telemetry.Series // .primary.hung: ns that the call in progress takes
	healthy, armed     *telemetry.Series // .side.{healthy,armed}: 1 or 0
	journal, budget    *telemetry.Series // .journal.bytes, .journal.budget.bytes
}

func newStats(m *telemetry.Sink, partition, store string, writes *console.Latency) *partitionStats {
	at := telemetry.Label{Name: "partition", Value: partition}
	of := telemetry.Label{Name: "store", Value: store}
	gauge := func(name string) *telemetry.Series { return m.Gauge("storage.wal.failover."+name, at, of) }
	return &partitionStats{
		apply:    m.Sample("kv.apply", at),
		commands: m.Sample("kv.entry.commands", at),
		bytes:    m.Sample("kv.entry.bytes", at),
		forward:  m.Counter("kv.forwarded", at),
		retries:  m.Counter("kv.retries", at),
		won:      m.Counter("kv.elected", at),
		writes:   writes,
		write:    m.Sample("storage.wal.failover.write_and_sync.latency", at, of),
		primary:  m.Sample("storage.wal.fsync.latency", at, of),
		side:     m.Sample("storage.wal.failover.side.fsync.latency", at, of),
		failover: failoverGauges{
			secondary: gauge("secondary.duration"), primary: gauge("primary.duration"),
			switches: gauge("switch.count"), hedges: gauge("hedge.count"),
			active: gauge("active"), hung: gauge("primary.hung"),
			healthy: gauge("side.healthy"), armed: gauge("side.armed"),
			journal: gauge("journal.bytes"), budget: gauge("journal.budget.bytes"),
		},
	}
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// WriteAndSync implements failover.Metrics.
func (s *partitionStats) WriteAndSync(d time.Duration) { s.write.Add(ms(d)) }

// PrimarySync implements failover.Metrics.
func (s *partitionStats) PrimarySync(d time.Duration) { s.primary.Add(ms(d)) }

// SideSync implements failover.Metrics.
func (s *partitionStats) SideSync(d time.Duration) { s.side.Add(ms(d)) }

func (s *partitionStats) applied(d time.Duration) {
	s.apply.Add(ms(d))
	s.writes.Add(d)
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
