// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/holdfastdb/terraform-provider-holdfast/internal/diags"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/env"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform/gce"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/resources/steps"
)

// How long an operation may take where timeouts says nothing.
const (
	createTimeout = time.Hour // steps install packages
	changeTimeout = 10 * time.Minute
)

// Resource is holdfast_image.
type Resource struct{ env *env.Env }

var (
	_ resource.ResourceWithConfigure      = (*Resource)(nil)
	_ resource.ResourceWithModifyPlan     = (*Resource)(nil)
	_ resource.ResourceWithValidateConfig = (*Resource)(nil)
	_ resource.ResourceWithImportState    = (*Resource)(nil)
)

// New returns the resource.
func New() resource.Resource { return &Resource{} }

// Metadata implements resource.Resource.
func (r *Resource) Metadata(_ context.Context, req resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_image"
}

// Configure implements resource.ResourceWithConfigure.
func (r *Resource) Configure(_ context.Context, req resource.ConfigureRequest, resp *resource.ConfigureResponse) {
	e, err := env.Of(req.ProviderData)
	if err != nil {
		resp.Diagnostics.AddError("The provider is not configured", err.Error())
		return
	}
	r.env = e
}

// ValidateConfig implements resource.ResourceWithValidateConfig.
func (r *Resource) ValidateConfig(ctx context.Context, req resource.ValidateConfigRequest, resp *resource.ValidateConfigResponse) {
	var m model
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	if m.Network.IsNull() && m.Subnetwork.IsNull() {
		resp.Diagnostics.Append(diags.Problem{At: "network", What: "Something is missing", Why: "neither network nor subnetwork says where the machine is", Next: "Name one of them."}.Diagnostic())
	}
	if !known(ctx, m.Provision) {
		return
	}
	var secrets []string
	if !m.Secrets.IsUnknown() {
		secrets = append([]string{}, slices.Sorted(maps.Keys(m.Secrets.Elements()))...)
	}
	for _, p := range steps.Problems(m.steps(ctx, &resp.Diagnostics), nil, secrets) {
		resp.Diagnostics.Append(p.Diagnostic())
	}
}

// bakery is that of the project. An image shares the connections of a cluster of its name.
func (r *Resource) bakery(m *model) (*gce.Bakery, error) {
	p, err := r.env.Open(env.Location{Project: m.Project.ValueString(), Cluster: m.Name.ValueString()})
	if err != nil {
		return nil, err
	}
	at, ok := p.(*gce.Platform)
	if !ok {
		return nil, fmt.Errorf("%T is no place on Compute Engine, which is a bug of the provider: please report it", p)
	}
	return at.Bakery(), nil
}

// ModifyPlan implements resource.ResourceWithModifyPlan: it names the image, and asks whether it can be made.
func (r *Resource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	if req.Plan.Raw.IsNull() || r.env == nil {
		return
	}
	var m model
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	var was types.String // the image that there is
	if !req.State.Raw.IsNull() {
		resp.Diagnostics.Append(req.State.GetAttribute(ctx, path.Root("image_name"), &was)...)
	}
	recipe, ok := m.recipe(ctx, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	name := types.StringUnknown()
	if ok {
		name = types.StringValue(recipe.Image())
	}
	if name.Equal(was) {
		return
	}
	resp.Diagnostics.Append(resp.Plan.SetAttribute(ctx, path.Root("image_name"), name)...)
	for _, unknown := range []string{"id", "image", "made_from", "binary_sha256"} {
		resp.Diagnostics.Append(resp.Plan.SetAttribute(ctx, path.Root(unknown), types.StringUnknown())...)
	}
	if !was.IsNull() {
		resp.RequiresReplace = append(resp.RequiresReplace, path.Root("image_name"))
	}
	oven, ovenKnown := m.oven(ctx, &resp.Diagnostics)
	if !ok || !ovenKnown || !known(ctx, m.Project) || resp.Diagnostics.HasError() {
		return
	}
	b, err := r.bakery(&m)
	if err == nil {
		_, err = r.env.FindBinary("")
	}
	if err == nil {
		err = b.Preflight(ctx, recipe, oven)
	}
	if err != nil && !errors.Is(err, env.ErrUnknown) {
		resp.Diagnostics.Append(diags.FromError("The image cannot be made", err, "Nothing was changed.").Diagnostic())
	}
}

// heldKey is of the private state: the hold on the image.
const heldKey = "hold"

type held struct {
	Hold string `json:"hold"`
}

func encode(hold string) []byte {
	b, err := json.Marshal(held{hold})
	if err != nil {
		return nil // a string always can be
	}
	return b
}

// Create implements resource.Resource.
func (r *Resource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var m model
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	recipe, ok := m.recipe(ctx, &resp.Diagnostics)
	oven, ovenKnown := m.oven(ctx, &resp.Diagnostics)
	var secrets types.Map
	resp.Diagnostics.Append(req.Config.GetAttribute(ctx, path.Root("provision_secrets"), &secrets)...)
	with := gce.Ingredients{Oven: oven, Secrets: texts(ctx, secrets, &resp.Diagnostics)}
	timeout, ds := m.Timeouts.Create(ctx, createTimeout)
	resp.Diagnostics.Append(ds...)
	if !ok || !ovenKnown || resp.Diagnostics.HasError() {
		if !resp.Diagnostics.HasError() {
			resp.Diagnostics.AddError("The configuration is not known", "A part of it is still unknown while it is applied, which is a bug of the provider: please report it.")
		}
		return
	}
	fail := func(err error) {
		resp.Diagnostics.Append(diags.FromError("The image could not be made", err, "Apply again: it begins anew, and removes what is left.").Diagnostic())
	}
	b, err := r.bakery(&m)
	if err == nil {
		with.Binary, err = r.env.FindBinary("")
	}
	if err != nil {
		fail(err)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var made gce.Image
	if _, err = b.Bake(ctx, recipe, with, r.progress(ctx, &m)); err == nil {
		made, err = b.Change(ctx, recipe, r.progress(ctx, &m)) // one that was taken over may have another family
	}
	if err != nil {
		fail(err)
		return
	}
	m.show(ctx, made, &resp.Diagnostics)
	resp.Diagnostics.Append(resp.Private.SetKey(ctx, heldKey, encode(made.Hold))...)
	resp.Diagnostics.Append(resp.State.Set(ctx, &m)...)
}

func (r *Resource) progress(ctx context.Context, m *model) func(string) {
	return func(line string) { r.env.Progress.Step(ctx, m.Name.ValueString(), "%s", line) }
}

// Read implements resource.Resource.
func (r *Resource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var m model
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	b, err := r.bakery(&m)
	var is *gce.Image
	if err == nil {
		is, err = b.Find(ctx, m.ImageName.ValueString())
	}
	switch {
	case err != nil:
		resp.Diagnostics.Append(diags.FromError("The image could not be looked at", err, "The state is kept as it is.").Warning())
	case is == nil:
		resp.Diagnostics.Append(diags.Problem{What: "The image is gone", Why: m.Image.ValueString() + " is not there any more", Next: "It is taken out of the state; an apply makes it anew."}.Warning())
		resp.State.RemoveResource(ctx)
	case is.Recipe != m.Name.ValueString():
		resp.Diagnostics.Append(diags.Problem{What: "Another image is in its place", Why: m.Image.ValueString() + " was not made by holdfast_image, or has lost its labels",
			Next: "Delete that image, or take this resource out of the state: terraform state rm."}.Diagnostic())
	default:
		m.show(ctx, *is, &resp.Diagnostics)
		resp.Diagnostics.Append(resp.State.Set(ctx, &m)...)
	}
}

// Update implements resource.Resource. Only family and labels change anything.
func (r *Resource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	var m model
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	recipe, ok := m.recipe(ctx, &resp.Diagnostics)
	timeout, ds := m.Timeouts.Update(ctx, changeTimeout)
	resp.Diagnostics.Append(ds...)
	if !ok || resp.Diagnostics.HasError() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	b, err := r.bakery(&m)
	var is gce.Image
	if err == nil {
		is, err = b.Change(ctx, recipe, r.progress(ctx, &m))
	}
	if err != nil {
		resp.Diagnostics.Append(diags.FromError("The image could not be changed", err, "Apply again.").Diagnostic())
		return
	}
	m.show(ctx, is, &resp.Diagnostics)
	resp.Diagnostics.Append(resp.State.Set(ctx, &m)...)
}

// Delete implements resource.Resource.
func (r *Resource) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	var m model
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	kept, ds := req.Private.GetKey(ctx, heldKey)
	resp.Diagnostics.Append(ds...)
	timeout, ds := m.Timeouts.Delete(ctx, changeTimeout)
	resp.Diagnostics.Append(ds...)
	if resp.Diagnostics.HasError() {
		return
	}
	var h held
	if err := json.Unmarshal(kept, &h); err != nil {
		resp.Diagnostics.AddError("The image cannot be deleted", "The state does not say by which word it is held, which is a bug of the provider: please report it. The image was not touched.")
		return
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	b, err := r.bakery(&m)
	if err == nil {
		err = b.Delete(ctx, m.Name.ValueString(), m.ImageName.ValueString(), h.Hold, r.progress(ctx, &m))
	}
	if err != nil {
		resp.Diagnostics.Append(diags.FromError("The image could not be deleted", err, "Destroy it again.").Diagnostic())
	}
}

// ImportState implements resource.ResourceWithImportState: PROJECT/IMAGE.
func (r *Resource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	project, name, ok := parseID(req.ID)
	if !ok {
		resp.Diagnostics.AddError("Not the id of an image", fmt.Sprintf("%q is not PROJECT/IMAGE.\n\nWrite acme-prod/base-0123456789: gcloud compute images list shows the names.", req.ID))
		return
	}
	refuse := func(p diag.Diagnostic) { resp.Diagnostics.Append(p) }
	m := model{Project: types.StringValue(project), Name: types.StringValue(name)}
	b, err := r.bakery(&m)
	var is *gce.Image
	if err == nil {
		is, err = b.Find(ctx, name)
	}
	switch {
	case err != nil:
		refuse(diags.FromError("The image could not be looked at", err, "").Diagnostic())
		return
	case is == nil:
		refuse(diags.Problem{What: "There is no such image", Why: req.ID + " is not there", Next: "gcloud compute images list shows those that are."}.Diagnostic())
		return
	case is.Recipe == "" || is.Hold == "":
		refuse(diags.Problem{What: "Not an image of holdfast_image", Why: req.ID + " lacks the labels of one", Next: "Name it in gce.image of holdfast_cluster as it is: that needs no resource."}.Diagnostic())
		return
	}
	m.show(ctx, *is, &resp.Diagnostics)
	for name, v := range map[string]types.String{"project": m.Project, "name": m.Name, "id": m.ID, "image_name": m.ImageName, "image": m.Image, "made_from": m.MadeFrom, "binary_sha256": m.Binary} {
		resp.Diagnostics.Append(resp.State.SetAttribute(ctx, path.Root(name), v)...)
	}
	resp.Diagnostics.Append(resp.Private.SetKey(ctx, heldKey, encode(is.Hold))...)
}
