// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Package provider is the provider holdfast: its configuration, and what it
// registers. It decides nothing about clusters.
package provider

import (
	"cmp"
	"context"
	"os"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/provider"
	"github.com/hashicorp/terraform-plugin-framework/provider/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/holdfastdb/terraform-provider-holdfast/internal/env"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform/gce"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform/local"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform/ssh"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/progress"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/resources/cluster"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/resources/clusterstatus"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/resources/image"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/resources/kv"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/resources/stores"
)

type holdfast struct {
	version string
	// local returns the platform of the cluster in a directory of this machine.
	local func(directory string) (platform.Platform, error)
	// ssh returns that of the cluster on machines over SSH.
	ssh func(a Access, machines map[string]env.Machine) (platform.Platform, error)
	// gce returns that of the cluster in a place of Compute Engine.
	gce func(a Access, api gce.API, project, cluster string) (*gce.Platform, error)
}

// New returns the provider's constructor.
func New(version string) func() provider.Provider {
	return func() provider.Provider {
		return &holdfast{version: version, local: onThisMachine, ssh: overSSH, gce: onGCE}
	}
}

func onThisMachine(directory string) (platform.Platform, error) {
	return local.New(local.Config{Directory: directory})
}

// overSSH binds the provider's configuration and a cluster's place to the platform.
func overSSH(a Access, machines map[string]env.Machine) (platform.Platform, error) {
	nodes := map[string]ssh.Node{}
	for name, m := range machines {
		nodes[name] = ssh.Node{User: m.User, Address: m.Address, Port: m.Port, HostKeys: m.HostKeys, ClusterAddress: m.ClusterAddress}
	}
	return ssh.New(ssh.Config{Nodes: nodes, Access: ssh.Access(a)})
}

type model struct {
	Binary types.String `tfsdk:"binary"`
	SSH    types.Object `tfsdk:"ssh"`
	GCE    types.Object `tfsdk:"gce"`
}

func (p *holdfast) Metadata(_ context.Context, _ provider.MetadataRequest, resp *provider.MetadataResponse) {
	resp.TypeName, resp.Version = "holdfast", p.version
}

func (p *holdfast) Schema(_ context.Context, _ provider.SchemaRequest, resp *provider.SchemaResponse) {
	resp.Schema = schema.Schema{
		MarkdownDescription: "Builds and operates Holdfast: replicated, strongly consistent key-value clusters.",
		Attributes: map[string]schema.Attribute{
			"binary": schema.StringAttribute{
				Optional: true,
				MarkdownDescription: "Path of the `holdfast` binary that machines shall run: agent, engine and command line in one. " +
					"Default: `HOLDFAST_BINARY`, one beside the provider's executable, one on `PATH`.",
			},
			"ssh": sshAttribute(),
			"gce": gceAttribute(),
		},
	}
}

func (p *holdfast) Configure(ctx context.Context, req provider.ConfigureRequest, resp *provider.ConfigureResponse) {
	var m model
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	a, unknown := access(ctx, m.SSH, &resp.Diagnostics)
	api, unknownAPI := cloudAPI(ctx, m.GCE, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	var knownHosts types.String
	if v, ok := m.SSH.Attributes()["known_hosts_file"].(types.String); ok {
		knownHosts = v
	}
	e := &env.Env{
		Binary:        m.Binary.ValueString(),
		BinaryUnknown: m.Binary.IsUnknown(),
		Local:         p.local,
		SSH:           p.opener(a, unknown),
		GCE:           p.cloudOpener(a, knownHosts.ValueString(), api, cmp.Or(unknown, unknownAPI)),
		Progress:      &progress.Log{Path: os.Getenv("HOLDFAST_PROGRESS")},
	}
	resp.ResourceData, resp.DataSourceData = e, e
}

func (p *holdfast) Resources(context.Context) []func() resource.Resource {
	return []func() resource.Resource{cluster.New, image.New, kv.New}
}

func (p *holdfast) DataSources(context.Context) []func() datasource.DataSource {
	return []func() datasource.DataSource{clusterstatus.New, stores.New}
}
