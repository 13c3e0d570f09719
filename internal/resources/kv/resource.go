// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package kv

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/api"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/diags"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/env"
)

// requestTimeout bounds one operation; the engine itself retries within it.
const requestTimeout = 30 * time.Second

// Resource is holdfast_kv.
type Resource struct{ env *env.Env }

var (
	_ resource.ResourceWithConfigure   = (*Resource)(nil)
	_ resource.ResourceWithImportState = (*Resource)(nil)
)

// New returns the resource.
func New() resource.Resource { return &Resource{} }

type model struct {
	Local       *env.LocalObject `tfsdk:"local"`
	Location    types.String     `tfsdk:"location"`
	ClusterID   types.String     `tfsdk:"cluster_id"`
	Endpoints   types.Map        `tfsdk:"endpoints"`
	Key         types.String     `tfsdk:"key"`
	Value       types.String     `tfsdk:"value"`
	ValueBase64 types.String     `tfsdk:"value_base64"`
	Flags       types.Int64      `tfsdk:"flags"`
	Partition   types.String     `tfsdk:"partition"`
	ModifyIndex types.Int64      `tfsdk:"modify_index"`
}

// Metadata implements resource.Resource.
func (r *Resource) Metadata(_ context.Context, req resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_kv"
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

// client reaches the cluster that the model names.
func (r *Resource) client(ctx context.Context, m *model) (*api.Client, error) {
	if m.Local == nil && m.Location.IsNull() {
		var addresses []string
		for _, v := range m.Endpoints.Elements() {
			if s, ok := v.(types.String); ok {
				addresses = append(addresses, s.ValueString())
			}
		}
		return api.New(api.Config{Addresses: addresses})
	}
	c, err := r.env.ReachWhere(ctx, m.Local, m.Location, m.ClusterID.ValueString())
	if err != nil {
		return nil, err
	}
	return c.Nodes(ctx).Client(c.Platform)
}

// Create implements resource.Resource. A key that is there already is an error.
func (r *Resource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var m model
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	if err := r.write(ctx, &m, 0); err != nil {
		p := diags.FromError("The key could not be written", err, "")
		if errors.Is(err, errTaken) {
			p = diags.Problem{At: "key", What: "The key is there already", Why: fmt.Sprintf("somebody else wrote %q, and creating it would overwrite their value", m.Key.ValueString()),
				Next: "Import it to take it over, or use another key."}
		}
		resp.Diagnostics.Append(p.Diagnostic())
		return
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, &m)...)
}

// Read implements resource.Resource.
func (r *Resource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var m model
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	pair, err := r.get(ctx, &m)
	switch {
	case errors.Is(err, api.ErrNotFound):
		resp.State.RemoveResource(ctx)
		return
	case err != nil:
		resp.Diagnostics.Append(diags.FromError("A key could not be read", fmt.Errorf("%s: %w", m.Key.ValueString(), err), "What is shown of it is what was last seen.").Warning())
		return
	}
	m.show(pair)
	resp.Diagnostics.Append(resp.State.Set(ctx, &m)...)
}

// Update implements resource.Resource.
func (r *Resource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	var m, was model
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	resp.Diagnostics.Append(req.State.Get(ctx, &was)...)
	if resp.Diagnostics.HasError() {
		return
	}
	if err := r.write(ctx, &m, uint64(was.ModifyIndex.ValueInt64())); err != nil {
		p := diags.FromError("The key could not be written", err, "")
		if errors.Is(err, errTaken) {
			p = changed(m.Key.ValueString())
		}
		resp.Diagnostics.Append(p.Diagnostic())
		return
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, &m)...)
}

// Delete implements resource.Resource.
func (r *Resource) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	var m model
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	err := r.remove(ctx, &m)
	switch {
	case errors.Is(err, errTaken):
		resp.Diagnostics.Append(changed(m.Key.ValueString()).Diagnostic())
	case err != nil:
		resp.Diagnostics.Append(diags.FromError("The key could not be deleted", err, "").Diagnostic())
	}
}

func changed(key string) diags.Problem {
	return diags.Problem{At: "key", What: "Somebody else changed the key",
		Why:  fmt.Sprintf("%q was written since this was planned, and applying would undo that", key),
		Next: "Plan again and look at what it shows; then apply. Nothing was changed."}
}

// ImportState implements resource.ResourceWithImportState.
func (r *Resource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	l, err := parseID(req.ID)
	if err != nil {
		resp.Diagnostics.AddError("The key cannot be imported", err.Error())
		return
	}
	set := func(name string, v any) {
		resp.Diagnostics.Append(resp.State.SetAttribute(ctx, path.Root(name), v)...)
	}
	switch {
	case l.endpoints != nil:
		set("endpoints", l.endpoints)
	case l.Remote():
		set("location", l.String())
	default:
		set("local", env.LocalObject{Directory: l.Directory})
	}
	set("key", l.key)
	set("partition", "default")
	set("flags", 0)
	set("modify_index", 0)

	// A read that finds nothing would say so of an object that Terraform never knew.
	var m model
	resp.Diagnostics.Append(resp.State.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	if _, err := r.get(ctx, &m); err != nil {
		resp.Diagnostics.Append(diags.FromError("The key cannot be imported", err, "Nothing was changed.").Diagnostic())
	}
}

// unavailable tells an answer that says: not now.
func unavailable(err error) bool {
	e, ok := errors.AsType[*api.Error](err)
	return ok && e.Status >= http.StatusInternalServerError
}
