// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package console

import (
	"fmt"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/api"
)

// chart is one figure of the page; console.js draws the columns that its
// lines name.
type chart struct {
	ID     string
	Title  string
	Metric string // its name in /v1/agent/metrics, where it is one
	Note   string // else what is measured
	Help   string
	Unit   string // ms | s | /s | count
	Scale  string // linear | log
	Steps  bool   // the value holds until the next one
	Empty  string // why there may be no data
	Lines  []line
}

// line is a column in a chart.
type line struct {
	Key, Label string
	Color      int // 1 to 6, a variable of the style sheet
}

// charts are those of a node with these stores.
func charts(s *api.NodeStores) []chart {
	out := []chart{{
		ID: "throughput", Title: "Throughput", Unit: "/s", Scale: "linear", Empty: "no data yet",
		Note: "writes per second",
		Help: "Writes per second: those of the whole cluster as this node applied them, and those of this node's own clients.",
		Lines: []line{
			{Key: commonKeys[colApplied], Label: "cluster", Color: 1},
			{Key: commonKeys[colWrites], Label: "through this node", Color: 2},
		},
	}, {
		ID: "latency", Title: "Write latency", Unit: "ms", Scale: "log", Empty: "no data: nobody wrote through this node",
		Note: "through this node, from request to answer",
		Help: "From a client's request to its answer, of this node's own clients. The axis is logarithmic.",
		Lines: []line{
			{Key: commonKeys[colMax], Label: "max", Color: 3},
			{Key: commonKeys[colP99], Label: "p99", Color: 2},
			{Key: commonKeys[colP50], Label: "p50", Color: 1},
		},
	}}
	empty := "no data: no side was armed"
	if !anyConfigured(s) {
		empty = "no data: failover is disabled"
	}
	for _, c := range []struct {
		kind                          int
		id, title, metric, help, unit string
		steps                         bool
	}{
		{storeSecondary, "secondary", "Time on the secondary", "storage.wal.failover.secondary.duration",
			"Time in which the log wrote to a side disk. It rises only while a data disk is slow or hangs.", "s", false},
		{storePrimary, "primary", "Time on the primary", "storage.wal.failover.primary.duration",
			"Time in which the log wrote to its data disk. It stands still while the log is failed over.", "s", false},
		{storeSwitches, "switches", "Switches", "storage.wal.failover.switch.count",
			"How many times a log was failed over since the engine started.", "count", true},
	} {
		f := chart{ID: c.id, Title: c.title, Metric: c.metric, Help: c.help, Unit: c.unit, Scale: "linear", Steps: c.steps, Empty: empty}
		for i := range s.Stores {
			f.Lines = append(f.Lines, line{
				Key: columnKey(commonColumns + i*storeColumns + c.kind), Label: label(s, i), Color: i%6 + 1,
			})
		}
		out = append(out, f)
	}
	return out
}

func anyConfigured(s *api.NodeStores) bool {
	for i := range s.Stores {
		if s.Stores[i].Failover.Mode != modeDisabled {
			return true
		}
	}
	return false
}

// label is a store's name in a chart: its partition, which is shorter than its
// path and on the page, too.
func label(s *api.NodeStores, i int) string {
	if p := s.Stores[i].Partitions; len(p) > 0 {
		return p[0].Name
	}
	return fmt.Sprintf("store %d", i+1)
}
