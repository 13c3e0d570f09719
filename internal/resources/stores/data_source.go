// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Package stores is the data source holdfast_stores: what every store of a cluster
// measures, as GET /_status/stores answers it, and what its disk was measured to take
// before, as the node's agent has it on record. It changes nothing. An engine that
// does not answer has no stores here, and a warning says so.
package stores

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/api"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/diags"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/env"
)

// DataSource is holdfast_stores.
type DataSource struct{ env *env.Env }

var _ datasource.DataSourceWithConfigure = (*DataSource)(nil)

// New returns the data source.
func New() datasource.DataSource { return &DataSource{} }

type model struct {
	Local     *env.LocalObject `tfsdk:"local"`
	Location  types.String     `tfsdk:"location"`
	ClusterID types.String     `tfsdk:"cluster_id"`
	Stores    []store          `tfsdk:"stores"`
}

type store struct {
	Node              string      `tfsdk:"node"`
	ID                string      `tfsdk:"id"`
	Path              string      `tfsdk:"path"`
	Mountpoint        string      `tfsdk:"mountpoint"`
	Device            string      `tfsdk:"device"`
	MajMin            string      `tfsdk:"maj_min"`
	SizeBytes         int64       `tfsdk:"size_bytes"`
	FreeBytes         int64       `tfsdk:"free_bytes"`
	Attrs             []string    `tfsdk:"attrs"`
	ConfiguredBackend string      `tfsdk:"configured_backend"`
	EffectiveBackend  string      `tfsdk:"effective_backend"`
	Partitions        []partition `tfsdk:"partitions"`
	Failover          failover    `tfsdk:"failover"`
	Rates             *rates      `tfsdk:"rates"`
}

type rates struct {
	DataIOPS      float64 `tfsdk:"data_iops"`
	DataBandwidth float64 `tfsdk:"data_bandwidth"`
	SideIOPS      float64 `tfsdk:"side_iops"`
	SideBandwidth float64 `tfsdk:"side_bandwidth"`
	Enough        bool    `tfsdk:"enough"`
	Verdict       string  `tfsdk:"verdict"`
}

type partition struct {
	Name          string `tfsdk:"name"`
	State         string `tfsdk:"state"`
	Leader        string `tfsdk:"leader"`
	Term          int64  `tfsdk:"term"`
	CommitIndex   int64  `tfsdk:"commit_index"`
	AppliedIndex  int64  `tfsdk:"applied_index"`
	LastIndex     int64  `tfsdk:"last_index"`
	Index         int64  `tfsdk:"index"`
	Keys          int64  `tfsdk:"keys"`
	LastContactMS int64  `tfsdk:"last_contact_ms"`
	Error         string `tfsdk:"error"`
}

type failover struct {
	Mode                string      `tfsdk:"mode"`
	Active              string      `tfsdk:"active"`
	Off                 string      `tfsdk:"off"`
	Sides               []side      `tfsdk:"sides"`
	SwitchCount         int64       `tfsdk:"switch_count"`
	HedgeCount          int64       `tfsdk:"hedge_count"`
	PrimaryDurationNS   int64       `tfsdk:"primary_duration_ns"`
	SecondaryDurationNS int64       `tfsdk:"secondary_duration_ns"`
	HedgeNS             int64       `tfsdk:"hedge_ns"`
	LastSwitch          *lastSwitch `tfsdk:"last_switch"`
	Replayed            int64       `tfsdk:"replayed"`
	Pending             int64       `tfsdk:"pending"`
	PendingBytes        int64       `tfsdk:"pending_bytes"`
	HungNS              int64       `tfsdk:"hung_ns"`
	PrimaryError        string      `tfsdk:"primary_error"`
}

type lastSwitch struct {
	At     string `tfsdk:"at"`
	Reason string `tfsdk:"reason"`
}

type side struct {
	Path         string `tfsdk:"path"`
	Device       string `tfsdk:"device"`
	Healthy      bool   `tfsdk:"healthy"`
	Armed        bool   `tfsdk:"armed"`
	FreeBytes    int64  `tfsdk:"free_bytes"`
	JournalBytes int64  `tfsdk:"journal_bytes"`
	BudgetBytes  int64  `tfsdk:"budget_bytes"`
	Alarm        bool   `tfsdk:"alarm"`
	Error        string `tfsdk:"error"`
}

// Metadata implements datasource.DataSource.
func (d *DataSource) Metadata(_ context.Context, req datasource.MetadataRequest, resp *datasource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_stores"
}

// Configure implements datasource.DataSourceWithConfigure.
func (d *DataSource) Configure(_ context.Context, req datasource.ConfigureRequest, resp *datasource.ConfigureResponse) {
	e, err := env.Of(req.ProviderData)
	if err != nil {
		resp.Diagnostics.AddError("The provider is not configured", err.Error())
		return
	}
	d.env = e
}

// Read implements datasource.DataSource.
func (d *DataSource) Read(ctx context.Context, req datasource.ReadRequest, resp *datasource.ReadResponse) {
	var m model
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	c, err := d.env.ReachWhere(ctx, m.Local, m.Location, m.ClusterID.ValueString())
	if err != nil {
		resp.Diagnostics.Append(diags.FromError("The stores could not be read", err, "").Diagnostic())
		return
	}
	nodes := c.Nodes(ctx)
	m.Stores = []store{}
	for _, name := range nodes.Names() {
		n := nodes[name]
		if n.Status.Engine.Stores == nil {
			why := "its engine is " + n.Status.Engine.State
			if !n.Reachable() {
				why = n.Err.Error()
			}
			resp.Diagnostics.AddWarning("A node's stores are missing", fmt.Sprintf("node %s: %s.", name, why))
			continue
		}
		for _, s := range n.Status.Engine.Stores.Stores {
			d := describe(name, s)
			d.Rates = describeRates(s.Path, n.Status.Rates)
			m.Stores = append(m.Stores, d)
		}
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, &m)...)
}

func describe(node string, s api.Store) store {
	d := store{
		Node: node, ID: s.ID, Path: s.Path, Mountpoint: s.Mountpoint, Device: s.Device, MajMin: s.MajMin,
		SizeBytes: s.SizeBytes, FreeBytes: s.FreeBytes, Attrs: append([]string{}, s.Attrs...),
		ConfiguredBackend: s.ConfiguredBackend, EffectiveBackend: s.EffectiveBackend,
		Partitions: []partition{}, Failover: describeFailover(s.Failover),
	}
	for _, p := range s.Partitions {
		d.Partitions = append(d.Partitions, partition{
			Name: p.Name, State: p.State, Leader: p.Leader, Term: int64(p.Term),
			CommitIndex: int64(p.CommitIndex), AppliedIndex: int64(p.AppliedIndex), LastIndex: int64(p.LastIndex),
			Index: int64(p.Index), Keys: p.Keys, LastContactMS: p.LastContactMS, Error: p.Error,
		})
	}
	return d
}

// describeRates is nil where the store's disk was not measured.
func describeRates(path string, r *agentapi.Rates) *rates {
	if r == nil {
		return nil
	}
	i := slices.IndexFunc(r.Data, func(d agentapi.DiskRate) bool { return d.Path == path })
	if i < 0 {
		return nil
	}
	return &rates{
		DataIOPS: r.Data[i].IOPS, DataBandwidth: r.Data[i].BandwidthBytes,
		SideIOPS: r.Side.IOPS, SideBandwidth: r.Side.BandwidthBytes, Enough: r.Enough, Verdict: r.Verdict,
	}
}

func describeFailover(f api.Failover) failover {
	d := failover{
		Mode: f.Mode, Active: f.Active, Off: f.Off, Sides: []side{},
		SwitchCount: int64(f.SwitchCount), HedgeCount: int64(f.HedgeCount),
		PrimaryDurationNS: f.PrimaryDurationNS, SecondaryDurationNS: f.SecondaryDurationNS, HedgeNS: f.HedgeNS,
		Replayed: int64(f.Replayed), Pending: int64(f.Pending), PendingBytes: f.PendingBytes,
		HungNS: f.HungNS, PrimaryError: f.PrimaryError,
	}
	if s := f.LastSwitch; s != nil {
		d.LastSwitch = &lastSwitch{At: s.At.Format(time.RFC3339Nano), Reason: s.Reason}
	}
	for _, s := range f.Sides {
		d.Sides = append(d.Sides, side(s))
	}
	return d
}
