// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cluster

import (
	"context"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
)

// ModifyPlan implements resource.ResourceWithModifyPlan: it refuses what cannot be
// done, and shows what the configuration means for each node beside what the node is.
func (r *Resource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	if req.State.Raw.IsNull() { // a new cluster: all that is computed is unknown
		return
	}
	var was model
	resp.Diagnostics.Append(req.State.Get(ctx, &was)...)
	if resp.Diagnostics.HasError() {
		return
	}
	if req.Plan.Raw.IsNull() { // a destroy
		if was.DeletionProtection.ValueBool() {
			resp.Diagnostics.Append(protected(was.Name.ValueString()).Diagnostic())
		}
		return
	}
	var m model
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	m.ID = was.ID
	old, ok := was.desired(ctx, &resp.Diagnostics)
	want, known := m.desired(ctx, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	if !ok || !known {
		m.Effective, m.ReadyNodes, m.Endpoints = types.MapUnknown(effectiveType.ElemType), types.ListUnknown(types.StringType), types.MapUnknown(types.StringType)
		resp.Diagnostics.Append(resp.Plan.Set(ctx, &m)...)
		return
	}
	now := was.effectiveOf(ctx, &resp.Diagnostics)
	refused := refusals(old, want, now)
	for _, p := range refused {
		resp.Diagnostics.Append(p.Diagnostic())
	}
	if len(refused) > 0 {
		return
	}
	specs := want.specs(m.ID.ValueString(), r.machines(ctx, want.directory))
	for _, p := range notices(old, want, now, specs) {
		resp.Diagnostics.Append(p.Warning())
	}
	resp.Diagnostics.Append(m.plan(ctx, &was, want, now, specs)...)
	resp.Diagnostics.Append(resp.Plan.Set(ctx, &m)...)
}

// machines are those that are there; where they cannot be seen, what is planned of
// them stays as it was.
func (r *Resource) machines(ctx context.Context, directory string) map[string]platform.Machine {
	p, err := r.env.Local(directory)
	if err != nil {
		return nil // an apply says so
	}
	machines, err := p.Observe(ctx)
	if err != nil {
		return nil // the refresh before this plan said so
	}
	return machines
}

// plan sets what is computed to what the cluster will be after an apply. A node of
// which nothing was ever seen leaves it open.
func (m *model) plan(ctx context.Context, was *model, want desired, now map[string]effectiveNode, specs map[string]*agentapi.Spec) diag.Diagnostics {
	var ds, d diag.Diagnostics
	m.ReadyNodes, d = types.ListValueFrom(ctx, types.StringType, want.names())
	ds.Append(d...)

	m.Endpoints = was.Endpoints
	next := map[string]effectiveNode{}
	open := false
	for _, name := range want.names() {
		n, ok := now[name]
		open = open || !ok || len(n.Stores) == 0
		next[name] = want.planned(name, n, specs[name])
		if _, ok := was.Endpoints.Elements()[name]; !ok {
			m.Endpoints = types.MapUnknown(types.StringType)
		}
	}
	if open {
		m.Effective = types.MapUnknown(effectiveType.ElemType)
		return ds
	}
	m.Effective, d = effectiveValue(ctx, next)
	ds.Append(d...)
	return ds
}
