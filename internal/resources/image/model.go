// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package image

import (
	"context"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework-timeouts/resource/timeouts"
	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform/gce"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/resources/steps"
)

type model struct {
	Project   types.String `tfsdk:"project"`
	Name      types.String `tfsdk:"name"`
	Source    types.String `tfsdk:"source_image"`
	DiskGB    types.Int64  `tfsdk:"disk_gb"`
	Provision types.List   `tfsdk:"provision"`
	Secrets   types.Map    `tfsdk:"provision_secrets"`
	Triggers  types.Map    `tfsdk:"triggers"`

	Family types.String `tfsdk:"family"`
	Labels types.Map    `tfsdk:"labels"`

	Zone        types.String `tfsdk:"zone"`
	MachineType types.String `tfsdk:"machine_type"`
	Network     types.String `tfsdk:"network"`
	Subnetwork  types.String `tfsdk:"subnetwork"`
	BootDisk    types.String `tfsdk:"boot_disk_type"`
	Tags        types.List   `tfsdk:"tags"`
	External    types.Bool   `tfsdk:"external_address"`
	User        types.String `tfsdk:"user"`

	ID        types.String   `tfsdk:"id"`
	ImageName types.String   `tfsdk:"image_name"`
	Image     types.String   `tfsdk:"image"`
	MadeFrom  types.String   `tfsdk:"made_from"`
	Binary    types.String   `tfsdk:"binary_sha256"`
	Timeouts  timeouts.Value `tfsdk:"timeouts"`
}

// known tells whether values are known, with all that is in them.
func known(ctx context.Context, values ...attr.Value) bool {
	for _, v := range values {
		raw, err := v.ToTerraformValue(ctx)
		if err != nil || !raw.IsFullyKnown() {
			return false
		}
	}
	return true
}

// recipe is what decides the image; false where a part of that is not known yet.
func (m *model) recipe(ctx context.Context, ds *diag.Diagnostics) (gce.Recipe, bool) {
	if !known(ctx, m.Name, m.Source, m.DiskGB, m.Provision, m.Triggers) {
		return gce.Recipe{}, false
	}
	r := gce.Recipe{Name: m.Name.ValueString(), Source: m.Source.ValueString(), SizeGB: m.DiskGB.ValueInt64(), Steps: m.steps(ctx, ds),
		Triggers: texts(ctx, m.Triggers, ds), Family: m.Family.ValueString(), Labels: texts(ctx, m.Labels, ds)}
	return r, !ds.HasError()
}

// steps are the provisioning steps, which are known.
func (m *model) steps(ctx context.Context, ds *diag.Diagnostics) (all []agentapi.Step) {
	var objects []steps.Object
	if !m.Provision.IsNull() {
		ds.Append(m.Provision.ElementsAs(ctx, &objects, false)...)
	}
	for _, o := range objects {
		all = append(all, o.Spec())
	}
	return all
}

// texts are the values of a map; nil where it is null or not all of it is known.
func texts(ctx context.Context, m types.Map, ds *diag.Diagnostics) (out map[string]string) {
	if !m.IsNull() && known(ctx, m) {
		ds.Append(m.ElementsAs(ctx, &out, false)...)
	}
	return out
}

// oven is the machine that it is baked on.
func (m *model) oven(ctx context.Context, ds *diag.Diagnostics) (gce.Oven, bool) {
	if !known(ctx, m.Zone, m.MachineType, m.Network, m.Subnetwork, m.BootDisk, m.Tags, m.External, m.User) {
		return gce.Oven{}, false
	}
	o := gce.Oven{Zone: m.Zone.ValueString(), MachineType: m.MachineType.ValueString(), Network: m.Network.ValueString(), Subnetwork: m.Subnetwork.ValueString(),
		DiskType: m.BootDisk.ValueString(), External: m.External.ValueBool(), User: m.User.ValueString()}
	if !m.Tags.IsNull() {
		ds.Append(m.Tags.ElementsAs(ctx, &o.Tags, false)...)
	}
	return o, !ds.HasError()
}

// show writes what the project says of the image.
func (m *model) show(ctx context.Context, i gce.Image, ds *diag.Diagnostics) {
	m.ImageName, m.Image = types.StringValue(i.Name), types.StringValue("projects/"+m.Project.ValueString()+"/global/images/"+i.Name)
	m.ID = types.StringValue(m.Project.ValueString() + "/" + i.Name)
	m.MadeFrom, m.Binary = types.StringValue(i.Source), types.StringValue(i.Binary)
	m.Name = types.StringValue(i.Recipe)
	if i.Family != "" || !m.Family.IsNull() {
		m.Family = types.StringValue(i.Family)
	}
	if len(i.Labels) > 0 || !m.Labels.IsNull() {
		labels, more := types.MapValueFrom(ctx, types.StringType, i.Labels)
		ds.Append(more...)
		m.Labels = labels
	}
}

// parseID reads PROJECT/IMAGE.
func parseID(id string) (project, image string, ok bool) {
	project, image, ok = strings.Cut(id, "/")
	return project, image, ok && project != "" && image != "" && !strings.Contains(image, "/")
}
