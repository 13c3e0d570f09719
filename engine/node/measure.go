// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package node

import (
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/api"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/failover"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/telemetry"
)

// measureEvery is how old a gauge of the failover log may be.
const measureEvery = time.Second

// measure sets the gauges of every store's failover log, and those of the
// certificates (seconds since 1970, as CockroachDB's), until stop is closed.
// It reads memory alone, so it goes on while every disk hangs.
func (n *Node) measure(stop <-chan struct{}) {
	tick := time.NewTicker(measureEvery)
	defer tick.Stop()
	for {
		for _, st := range n.stores {
			s := st.partition.logs.Status()
			st.partition.stats.failover.set(&s)
		}
		if n.cfg.Security != nil {
			for name, at := range n.cfg.Security.Expirations() {
				telemetry.Process().Gauge("security.certificate.expiration." + name).Set(float64(at.Unix()))
			}
		}
		select {
		case <-tick.C:
		case <-stop:
			return
		}
	}
}

func (g *failoverGauges) set(s *failover.Status) {
	g.secondary.Set(float64(s.Secondary))
	g.primary.Set(float64(s.Primary))
	g.switches.Set(float64(s.Switches))
	g.hedges.Set(float64(s.Hedges))
	g.hung.Set(float64(s.Hung))
	g.active.Set(truth(s.Active == "secondary"))
	healthy, armed := len(s.Sides) > 0, len(s.Sides) > 0
	for _, side := range s.Sides {
		healthy, armed = healthy && side.Healthy, armed && side.Armed
	}
	g.healthy.Set(truth(healthy))
	g.armed.Set(truth(armed))
	g.journal.Set(float64(s.Budget.Used))
	g.budget.Set(float64(s.Budget.Bytes))
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// failoverStatus is what /_status/stores says of a store's log.
func (n *Node) failoverStatus(st *openStore) api.Failover {
	p := st.partition
	s := p.logs.Status()
	f := api.Failover{
		Mode: n.cfg.Failover.Mode, Active: s.Active, Sides: []api.Side{}, Off: s.Off,
		SwitchCount: s.Switches, HedgeCount: s.Hedges,
		PrimaryDurationNS: s.Primary.Nanoseconds(), SecondaryDurationNS: s.Secondary.Nanoseconds(),
		HedgeNS: s.Hedge.Nanoseconds(), Replayed: s.Replayed, Pending: s.Pending, PendingBytes: int64(s.Bytes), HungNS: s.Hung.Nanoseconds(),
		PrimaryError: s.PrimaryErr,
	}
	if !s.LastSwitch.IsZero() {
		f.LastSwitch = &api.Switch{At: s.LastSwitch, Reason: s.LastReason}
	}
	for _, of := range s.Sides {
		f.Sides = append(f.Sides, api.Side{
			Path: of.Path, Healthy: of.Healthy, Armed: of.Armed, JournalBytes: s.Budget.Used, BudgetBytes: s.Budget.Bytes,
			Alarm: s.Budget.Alarm, Error: of.Err,
		})
	}
	if p.side == nil || len(f.Sides) == 0 {
		return f
	}
	f.Sides[0].Device, f.Sides[0].FreeBytes = p.side.mount.Load().Device(), p.side.size.Load().free
	return f
}
