// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/diags"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/env"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/observe"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
)

// ModifyPlan implements resource.ResourceWithModifyPlan: it refuses what cannot be
// done, and shows what the configuration means for each node beside what the node is.
func (r *Resource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	if req.State.Raw.IsNull() { // a new cluster: all that is computed is unknown
		r.planNew(ctx, req, resp)
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
		m.Pending = types.ListUnknown(types.StringType)
		m.Location = types.StringUnknown()
		if where, ok := m.place(ctx, &resp.Diagnostics); ok {
			m.Location = types.StringValue(where.String())
		}
		resp.Diagnostics.Append(resp.Plan.Set(ctx, &m)...)
		return
	}
	now := was.effectiveOf(ctx, &resp.Diagnostics)
	refused := refusals(old, want, now)
	for _, p := range refused {
		resp.Diagnostics.Append(p.Diagnostic())
	}
	if _, err := r.env.FindBinary(want.binary); err != nil && !errors.Is(err, env.ErrUnknown) {
		resp.Diagnostics.Append(diags.FromError("The holdfast binary is missing", err, "").Diagnostic())
	}
	if resp.Diagnostics.HasError() {
		return
	}
	machines, err := r.machines(ctx, m.ID.ValueString(), want.location)
	if err != nil && want.location.String() != old.location.String() && !unanswered(err) { // else the refresh before this plan said so
		resp.Diagnostics.Append(diags.FromError("The machines cannot be those of the cluster", err, "Nothing was changed.").Diagnostic())
		return
	}
	if p := strangers(want, now, machines); p != nil {
		resp.Diagnostics.Append(p.Diagnostic())
		return
	}
	specs := want.specs(m.ID.ValueString(), machines)
	cloud, err := r.cloud(ctx, want, m.ID.ValueString(), now)
	switch {
	case err != nil && unanswered(err): // the refresh before this plan said so
	case err != nil:
		for _, err := range causes(err) {
			resp.Diagnostics.Append(diags.FromError("This cannot be done on Compute Engine", err, "Nothing was changed.").Diagnostic())
		}
		return
	}
	var told []diags.Problem
	if !was.SecretsVersion.Equal(m.SecretsVersion) || !reflect.DeepEqual(old.machinery(), want.machinery()) {
		told = r.onMachines(ctx, want, specs, req.Config, cloud)
	}
	for _, p := range append(notices(old, want, now, specs), told...) {
		resp.Diagnostics.Append(p.Warning())
	}
	m.Location = types.StringValue(want.location.String())
	resp.Diagnostics.Append(m.plan(ctx, &was, want, now, specs)...)
	resp.Diagnostics.Append(resp.Plan.Set(ctx, &m)...)
}

// onMachines is what agents say that they would do for a configuration that means
// something else for their machines than the last one. What is pending anyhow is in effective.
func (r *Resource) onMachines(ctx context.Context, want desired, specs map[string]*agentapi.Spec, config tfsdk.Config, cloud platform.Pending) []diags.Problem {
	if !want.location.Remote() {
		return nil
	}
	p, err := r.env.Open(want.location)
	if err != nil {
		return nil // an apply says so
	}
	var given types.Map
	var ds diag.Diagnostics // what is not known yet is not asked for
	ds.Append(config.GetAttribute(ctx, path.Root("provision_secrets"), &given)...)
	would, refused := observe.DryRuns(ctx, p, specs, secretsOf(ctx, given, &ds))
	return dryRun(would, refused, cloud.Lines())
}

// cloud is what the platform would do in the project for a configuration, on Compute Engine.
func (r *Resource) cloud(ctx context.Context, want desired, id string, now map[string]effectiveNode) (platform.Pending, error) {
	p, err := r.open(want)
	if err != nil || want.cloud == nil {
		if want.cloud == nil || errors.Is(err, env.ErrUnknown) {
			err = nil // of others, an apply says so
		}
		return nil, err
	}
	return wouldDo(ctx, p, want.platform(id, "", now))
}

// machinery is what of a configuration concerns machines below their engines.
func (d desired) machinery() []any {
	disks := map[string][]platform.Device{}
	for name, n := range d.nodes {
		disks[name] = append(slices.Clone(n.disks), n.side)
	}
	return []any{d.provision, d.tls, d.stores, d.sideGB, disks, d.cloud}
}

// dryRun makes warnings of what agents say that they would do, and of what they refuse.
// It is no error that one refuses: an apply may install another agent first.
func dryRun(would observe.Pending, refused map[string]error, before []string) []diags.Problem {
	var all []diags.Problem
	for _, name := range slices.Sorted(maps.Keys(refused)) {
		all = append(all, diags.FromError("An agent refuses this", fmt.Errorf("node %s: %w", name, refused[name]), ""))
	}
	if p := pendingProblems(would); p != nil {
		all = append(all, *p)
	}
	var lines []string
	for _, l := range before {
		lines = append(lines, "  "+l)
	}
	for _, name := range slices.Sorted(maps.Keys(would)) {
		for _, o := range would[name].Operations {
			lines = append(lines, fmt.Sprintf("  node %s: %s", name, o))
		}
	}
	if len(lines) > 0 {
		all = append(all, diags.Problem{What: "Machines will be changed", Why: "This apply does on the machines, in this order:\n" + strings.Join(lines, "\n")})
	}
	return all
}

// machines are those that are there; where they cannot be seen, nil: what is planned of
// them stays as it was. So it is with those of a cluster that is half destroyed, which the refresh
// said: an error would keep Terraform, which plans before it destroys, from ending that.
func (r *Resource) machines(ctx context.Context, id string, l env.Location) (map[string]platform.Machine, error) {
	p, err := r.env.Open(l)
	if err != nil {
		return nil, nil //nolint:nilerr // an apply says so
	}
	machines, err := p.Observe(ctx)
	if err != nil {
		return nil, err
	}
	if len(machines) == 0 {
		if _, dying, ok, err := p.Adopt(ctx); err != nil || !ok && dying == id {
			return nil, err
		}
	}
	return machines, nil
}

// plan sets what is computed to what the cluster will be after an apply. A node of
// which nothing was ever seen leaves it open, and so does one whose sides will be others, where its
// machine could not be looked at.
func (m *model) plan(ctx context.Context, was *model, want desired, now map[string]effectiveNode, specs map[string]*agentapi.Spec) diag.Diagnostics {
	var ds, d diag.Diagnostics
	m.ReadyNodes, d = types.ListValueFrom(ctx, types.StringType, want.names())
	ds.Append(d...)

	m.Pending, d = types.ListValueFrom(ctx, types.StringType, []string{})
	ds.Append(d...)
	m.Endpoints = was.Endpoints
	next := map[string]effectiveNode{}
	open := false
	for _, name := range want.names() {
		n, ok := now[name]
		open = open || !ok || len(n.Stores) == 0 || specs[name] == nil && n.WALFailover.Mode != want.mode
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
