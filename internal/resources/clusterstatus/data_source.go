// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Package clusterstatus is the data source holdfast_cluster_status: what every
// node of a cluster is at this moment, who leads included. It changes nothing; a
// node that does not answer is shown as such.
package clusterstatus

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/holdfastdb/terraform-provider-holdfast/internal/diags"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/env"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/observe"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
)

// DataSource is holdfast_cluster_status.
type DataSource struct{ env *env.Env }

var _ datasource.DataSourceWithConfigure = (*DataSource)(nil)

// New returns the data source.
func New() datasource.DataSource { return &DataSource{} }

type model struct {
	Local     *env.LocalObject `tfsdk:"local"`
	Location  types.String     `tfsdk:"location"`
	ClusterID types.String     `tfsdk:"cluster_id"`
	Name      types.String     `tfsdk:"name"`
	ID        types.String     `tfsdk:"id"`
	Leader    types.String     `tfsdk:"leader"`
	// OnSecondary are the nodes with a disk that hangs, in order.
	OnSecondary []string        `tfsdk:"on_secondary"`
	Nodes       map[string]node `tfsdk:"nodes"`
}

type node struct {
	Agent              string   `tfsdk:"agent"`
	AgentVersion       string   `tfsdk:"agent_version"`
	Engine             string   `tfsdk:"engine"`
	EngineVersion      string   `tfsdk:"engine_version"`
	Restarts           int64    `tfsdk:"engine_restarts"`
	LastExit           string   `tfsdk:"last_exit"`
	State              string   `tfsdk:"state"`
	Voter              bool     `tfsdk:"voter"`
	Address            string   `tfsdk:"address"`
	HTTPAddress        string   `tfsdk:"http_address"`
	Term               int64    `tfsdk:"term"`
	CommitIndex        int64    `tfsdk:"commit_index"`
	AppliedIndex       int64    `tfsdk:"applied_index"`
	Keys               int64    `tfsdk:"keys"`
	OnSecondary        []string `tfsdk:"on_secondary"`
	CertificateExpires string   `tfsdk:"certificate_expires"`
	CAExpires          string   `tfsdk:"ca_expires"`
	Problems           []string `tfsdk:"problems"`
}

// Metadata implements datasource.DataSource.
func (d *DataSource) Metadata(_ context.Context, req datasource.MetadataRequest, resp *datasource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_cluster_status"
}

// Schema implements datasource.DataSource.
func (d *DataSource) Schema(_ context.Context, _ datasource.SchemaRequest, resp *datasource.SchemaResponse) {
	text := func(s string) schema.StringAttribute {
		return schema.StringAttribute{Computed: true, MarkdownDescription: s}
	}
	number := func(s string) schema.Int64Attribute {
		return schema.Int64Attribute{Computed: true, MarkdownDescription: s}
	}
	resp.Schema = schema.Schema{
		MarkdownDescription: "What every node of a cluster is at this moment: its agent and engine, who leads, how far each is. " +
			"All of it changes by itself; an output of it makes `terraform plan` report a change after an election.",
		Attributes: map[string]schema.Attribute{
			"local":      env.LocalAttribute(),
			"location":   env.LocationAttribute(),
			"cluster_id": env.ClusterIDAttribute(),
			"name":       text("Name of the cluster."),
			"id":         text("UUID of the cluster."),
			"leader":     text("Name of the node that leads the partition `default`; empty where none does."),
			"on_secondary": schema.ListAttribute{ElementType: types.StringType, Computed: true,
				MarkdownDescription: "Names, in order, of the nodes of which a log writes to its side because its disk hangs. Empty when all disks are well."},
			"nodes": schema.MapNestedAttribute{
				Computed: true, MarkdownDescription: "The nodes by name.",
				NestedObject: schema.NestedAttributeObject{Attributes: map[string]schema.Attribute{
					"agent":               text("`running` or `unreachable`."),
					"agent_version":       text("Version of the host agent."),
					"engine":              text("`running`, `starting`, `stopped`, `failed`, `held`, `none`; `unknown` where the agent does not answer."),
					"engine_version":      text("Version of the engine."),
					"engine_restarts":     number("Starts of the engine that nobody asked for, since the agent started."),
					"last_exit":           text("How the engine's previous process ended, with the end of its log; empty where there was none."),
					"state":               text("Role in the partition `default`: `Leader`, `Follower`, `Candidate` or `Shutdown`; empty where the engine does not answer."),
					"voter":               schema.BoolAttribute{Computed: true, MarkdownDescription: "Whether the server votes, as its spec says."},
					"address":             text("Address of the server RPC, host:port."),
					"http_address":        text("Address of the HTTP API, host:port."),
					"term":                number("Raft's term as the node knows it."),
					"commit_index":        number("Last raft entry that the node knows to be committed."),
					"applied_index":       number("Last raft entry that the node has applied."),
					"keys":                number("Keys in the partition `default` as the node has them."),
					"on_secondary":        schema.ListAttribute{ElementType: types.StringType, Computed: true, MarkdownDescription: "Directories of the stores whose log writes to its side because the store's disk hangs. `holdfast_stores` says more."},
					"certificate_expires": text("When the node's certificate ends, in RFC 3339; empty where it has none. The agent makes the next one before."),
					"ca_expires":          text("When the newest CA that the node trusts ends, in RFC 3339; empty where it has none. Another word in the cluster's `tls.ca_rotation` replaces it."),
					"problems":            schema.ListAttribute{ElementType: types.StringType, Computed: true, MarkdownDescription: "What fails on the node, newest last. Empty on a healthy one."},
				}},
			},
		},
	}
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
		resp.Diagnostics.Append(diags.FromError("The cluster's status could not be read", err, "").Diagnostic())
		return
	}
	nodes := c.Nodes(ctx)
	m.Name, m.ID, m.Leader = types.StringValue(c.Name), types.StringValue(c.ID), types.StringValue(nodes.Leader())
	m.Nodes, m.OnSecondary = map[string]node{}, []string{}
	for _, name := range nodes.Names() {
		m.Nodes[name] = describe(nodes[name], c.Machines[name])
		if len(m.Nodes[name].OnSecondary) > 0 {
			m.OnSecondary = append(m.OnSecondary, name)
		}
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, &m)...)
}

func describe(n observe.Node, machine platform.Machine) node {
	if !n.Reachable() {
		return node{Agent: "unreachable", Engine: "unknown", Address: machine.Address, OnSecondary: []string{}, Problems: []string{n.Err.Error()}}
	}
	st := n.Status
	d := node{
		Agent: "running", AgentVersion: st.Agent.Version,
		Engine: st.Engine.State, EngineVersion: st.Engine.Version, Restarts: int64(st.Engine.Restarts), LastExit: st.Engine.LastExit,
		Address: machine.Address, HTTPAddress: st.Engine.HTTPAddress, OnSecondary: n.OnSecondary(), Problems: []string{},
	}
	if pki := st.PKI; pki != nil {
		if pki.Certificate != nil {
			d.CertificateExpires = pki.Certificate.NotAfter.Format(time.RFC3339)
		}
		if len(pki.CAs) > 0 {
			d.CAExpires = pki.CAs[0].NotAfter.Format(time.RFC3339)
		}
	}
	if st.Spec != nil {
		d.Address = net.JoinHostPort(st.Spec.BindAddress, strconv.Itoa(st.Spec.Ports.Server))
		for _, s := range st.Spec.Servers {
			if s.Name == n.Name {
				d.Voter = s.Voter
			}
		}
	}
	if p, ok := n.Partition(observe.DefaultPartition); ok {
		d.State, d.Keys = p.State, p.Keys
		d.Term, d.CommitIndex, d.AppliedIndex = int64(p.Term), int64(p.CommitIndex), int64(p.AppliedIndex)
		if p.Error != "" {
			d.Problems = append(d.Problems, "partition "+p.Name+": "+p.Error)
		}
	}
	for _, p := range st.Problems {
		d.Problems = append(d.Problems, fmt.Sprintf("%s: %s", p.What, p.Why))
	}
	return d
}
