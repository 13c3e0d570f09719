// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package console

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/api"
)

// What is kept: the last minutes by the second, the last hours by ten.
const (
	fineStep   = time.Second
	fineRows   = 600
	coarseRows = 6 * 360
	perCoarse  = 10 // fine rows in a coarse one
)

// Columns of a row. Those of the stores follow, storeColumns for each.
const (
	colApplied = iota // commands per second that the state machines applied
	colWrites         // writes per second of this node's own clients
	colP50            // ms, of those
	colP99
	colMax
	commonColumns
)

const (
	storeSecondary  = iota // s, storage.wal.failover.secondary.duration
	storePrimary           // s, storage.wal.failover.primary.duration
	storeSwitches          // storage.wal.failover.switch.count
	storeFailedOver        // 1 while the log writes to the secondary, else 0
	storeColumns
)

// storeKeys name a store's columns on the wire, before its number.
var (
	commonKeys = [commonColumns]string{"applied", "writes", "p50", "p99", "max"}
	storeKeys  = [storeColumns]string{"secondary", "primary", "switches", "over"}
)

// columnKey names a column on the wire: "p99", "secondary0".
func columnKey(column int) string {
	if column < commonColumns {
		return commonKeys[column]
	}
	store, kind := (column-commonColumns)/storeColumns, (column-commonColumns)%storeColumns
	return storeKeys[kind] + strconv.Itoa(store)
}

// interval is what happened between two samples.
type interval struct {
	length     time.Duration
	writes     spread
	applied    float64
	appliedFor time.Duration // the part of length of which applied is known
	stores     []float64     // storeColumns for each store, as at the end
}

// merge appends the interval that followed.
func (v *interval) merge(next *interval) {
	v.length += next.length
	v.writes.merge(&next.writes)
	v.applied += next.applied
	v.appliedFor += next.appliedFor
	for i, x := range next.stores {
		if i%storeColumns == storeFailedOver {
			x = max(x, v.stores[i]) // a short failover shows in the hours, too
		}
		v.stores[i] = x
	}
}

func (v *interval) row() []float64 {
	row := []float64{
		colApplied: rate(v.applied, v.appliedFor),
		colWrites:  rate(float64(v.writes.total), v.length),
		colP50:     v.writes.quantile(0.50),
		colP99:     v.writes.quantile(0.99),
		colMax:     v.writes.max(),
	}
	return append(row, v.stores...)
}

func rate(n float64, d time.Duration) float64 {
	if d <= 0 {
		return math.NaN()
	}
	return n / d.Seconds()
}

// history turns intervals into the rows of both rings.
type history struct {
	fine, coarse *ring
	pending      interval // of the coarse row that is not complete
	merged       int      // fine rows in pending
}

func newHistory(stores int) *history {
	columns := commonColumns + stores*storeColumns
	h := &history{
		fine:   newRing(fineStep, fineRows, columns),
		coarse: newRing(perCoarse*fineStep, coarseRows, columns),
	}
	h.pending.stores = make([]float64, stores*storeColumns)
	return h
}

func (h *history) add(at int64, v *interval) {
	h.fine.push(at, v.row())
	h.pending.merge(v)
	if h.merged++; h.merged < perCoarse {
		return
	}
	h.coarse.push(at, h.pending.row())
	stores := h.pending.stores
	clear(stores)
	h.pending, h.merged = interval{stores: stores}, 0
}

// catchingUp is how many entries a state machine may be behind its log before
// what it applies is called catching up and not throughput.
const catchingUp = 256

// progress is how far the state machines were at a sample.
type progress map[string]struct {
	index  uint64
	behind uint64 // entries of the log that are not applied
}

func progressOf(s *api.NodeStores) progress {
	p := make(progress)
	for _, st := range s.Stores {
		for _, part := range st.Partitions {
			at := p[part.Name]
			at.index = part.Index
			at.behind = part.LastIndex - min(part.AppliedIndex, part.LastIndex)
			p[part.Name] = at
		}
	}
	return p
}

// appliedSince is how many commands were applied since an earlier sample. It
// is not known while a log is replayed or a snapshot was installed: a start
// would otherwise look like the busiest second of the day.
func (p progress) appliedSince(earlier progress) (float64, bool) {
	var sum float64
	for name, now := range p {
		was, ok := earlier[name]
		if !ok || now.index < was.index || was.behind > catchingUp || now.behind > catchingUp {
			return 0, false
		}
		sum += float64(now.index - was.index)
	}
	return sum, true
}

// storeGauges are the columns of every store. A store whose log cannot fail
// over has no data there.
func storeGauges(s *api.NodeStores) []float64 {
	out := make([]float64, 0, len(s.Stores)*storeColumns)
	for i := range s.Stores {
		f := &s.Stores[i].Failover
		if !failsOver(f) {
			out = append(out, math.NaN(), math.NaN(), math.NaN(), 0)
			continue
		}
		over := 0.0
		if f.Active == activeSecondary {
			over = 1
		}
		out = append(out, float64(f.SecondaryDurationNS)/1e9, float64(f.PrimaryDurationNS)/1e9, float64(f.SwitchCount), over)
	}
	return out
}

// column is a column on the wire: five digits are more than a screen shows,
// and null is no data.
type column []float64

// MarshalJSON implements json.Marshaler.
func (c column) MarshalJSON() ([]byte, error) {
	b := make([]byte, 0, 8*len(c)+2)
	b = append(b, '[')
	for i, v := range c {
		if i > 0 {
			b = append(b, ',')
		}
		switch {
		case math.IsInf(v, 0):
			return nil, fmt.Errorf("console: a sample is %v", v)
		case math.IsNaN(v):
			b = append(b, "null"...)
		case v == math.Trunc(v) && math.Abs(v) < 1e15:
			b = strconv.AppendInt(b, int64(v), 10)
		default:
			b = strconv.AppendFloat(b, v, 'g', 5, 64)
		}
	}
	return append(b, ']'), nil
}
