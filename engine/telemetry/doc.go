// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Package telemetry keeps the process's metrics in memory and shows them as
// Consul's JSON and as Prometheus' text.
//
// hashicorp/raft measures some twenty things per write, into the global of
// go-metrics. The sinks that come with that package build strings and take a
// lock for all metrics each time; this one finds a metric without allocating
// and locks only that, so that measuring does not show in a write's time.
//
// It puts nothing on disk and starts no goroutine. Quantiles are not kept: a
// sample has count, sum, squares, smallest and largest.
package telemetry
