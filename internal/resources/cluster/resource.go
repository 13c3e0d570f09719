// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cluster

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/identityschema"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/holdfastdb/terraform-provider-holdfast/internal/diags"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/env"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
)

// How long an operation may take where timeouts says nothing.
const (
	createTimeout    = 10 * time.Minute
	createSSHTimeout = 30 * time.Minute // programs go over the network, steps install packages
	updateTimeout    = 30 * time.Minute
	deleteTimeout    = 10 * time.Minute
	// lastLook is for observing how far an apply got after it failed or was
	// interrupted: on the connections that are there, at disks too.
	lastLook = 40 * time.Second
)

// Resource is holdfast_cluster.
type Resource struct{ env *env.Env }

var (
	_ resource.ResourceWithConfigure      = (*Resource)(nil)
	_ resource.ResourceWithModifyPlan     = (*Resource)(nil)
	_ resource.ResourceWithValidateConfig = (*Resource)(nil)
	_ resource.ResourceWithImportState    = (*Resource)(nil)
	_ resource.ResourceWithIdentity       = (*Resource)(nil)
)

// New returns the resource.
func New() resource.Resource { return &Resource{} }

// Metadata implements resource.Resource.
func (r *Resource) Metadata(_ context.Context, req resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_cluster"
	resp.ResourceBehavior.MutableIdentity = true // machines get other addresses
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

// IdentitySchema implements resource.ResourceWithIdentity.
func (r *Resource) IdentitySchema(_ context.Context, _ resource.IdentitySchemaRequest, resp *resource.IdentitySchemaResponse) {
	resp.IdentitySchema = identityschema.Schema{Attributes: map[string]identityschema.Attribute{
		"location": identityschema.StringAttribute{RequiredForImport: true, Description: "Where the cluster is: " + env.LocationForm + "."},
	}}
}

func setIdentity(ctx context.Context, id *tfsdk.ResourceIdentity, l env.Location, ds *diag.Diagnostics) {
	if id != nil {
		ds.Append(id.SetAttribute(ctx, path.Root("location"), l.String())...)
	}
}

// ValidateConfig implements resource.ResourceWithValidateConfig.
func (r *Resource) ValidateConfig(ctx context.Context, req resource.ValidateConfigRequest, resp *resource.ValidateConfigResponse) {
	var m model
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	d := m.sketch(ctx)
	for _, p := range slices.Concat(contradictions(d), m.placeProblems(), m.provisionProblems(ctx)) {
		resp.Diagnostics.Append(p.Diagnostic())
	}
	for _, p := range cautions(d) {
		resp.Diagnostics.Append(p.Warning())
	}
}

// Create implements resource.Resource. Once anything durable exists it ends with
// a warning instead of an error: Terraform would destroy a tainted cluster.
func (r *Resource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var m model
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	w := r.work(ctx, &m, req.Config, &resp.Diagnostics)
	if w == nil {
		return
	}
	fallback := createTimeout
	if w.want.location.Remote() {
		fallback = createSSHTimeout
	}
	timeout, ds := m.Timeouts.Create(ctx, fallback)
	resp.Diagnostics.Append(ds...)
	fail := func(p diags.Problem) { resp.Diagnostics.Append(p.Diagnostic()) }

	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var p *diags.Problem
	if w.id, w.adopted, p = newID(limited, w.platform, w.want); p != nil {
		fail(*p)
		return
	}
	if w.adopted {
		refused, err := unlike(limited, w.platform, w.want, w.id)
		if err != nil {
			refused = append(refused, diags.FromError("The cluster cannot be made here", err, "Nothing was changed."))
		}
		for _, p := range refused {
			fail(p)
		}
		if len(refused) > 0 {
			return
		}
	}
	if err := w.platform.Preflight(limited, w.want.platform(w.id, w.binary, nil)); err != nil {
		fail(diags.FromError("The cluster cannot be made here", err, "Nothing was changed."))
		return
	}

	// From here on something may exist that only the state remembers.
	m.ID, m.Location = types.StringValue(w.id), types.StringValue(w.want.location.String())
	resp.Diagnostics.Append(view{effective: map[string]effectiveNode{}, ready: []string{}}.set(ctx, &m)...)
	m.Endpoints = types.MapValueMust(types.StringType, nil)
	resp.Diagnostics.Append(resp.State.Set(ctx, &m)...)
	setIdentity(ctx, resp.Identity, w.want.location, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}

	err := w.converge(limited)
	after, cancelAfter := context.WithTimeout(context.WithoutCancel(ctx), lastLook)
	defer cancelAfter()
	if _, unlike := errors.AsType[notTheSame](err); unlike {
		resp.State.RemoveResource(ctx) // with it in the state, the next apply would make the cluster what this one asks for
		fail(diags.FromError("The cluster cannot be made here", err, ""))
		return
	}
	if err != nil {
		if _, _, durable, aerr := w.platform.Adopt(after); aerr == nil && !durable {
			resp.State.RemoveResource(ctx)
			fail(diags.FromError("The cluster could not be made", err, "Nothing of it exists."))
			return
		}
		p := diags.FromError("The cluster is not ready", err, "")
		p.Next = join(p.Next, "What was made is kept. The next apply goes on from here; a destroy removes it.")
		resp.Diagnostics.Append(p.Warning())
	}
	v := look(after, w.platform, w.id, w.want, nil)
	for _, p := range oneDevice(w.want, v.effective, v.specs) {
		resp.Diagnostics.Append(p.Warning())
	}
	resp.Diagnostics.Append(v.set(ctx, &m)...)
	// What the plan did not leave open is the plan's, also where the apply did not get there:
	// Terraform takes another value for a bug and would destroy the cluster. The next refresh
	// tells what is.
	m.Settings = plannedSettings(ctx, req.Plan, &resp.Diagnostics)
	resp.Diagnostics.Append(resp.State.Set(ctx, &m)...)
}

// Read implements resource.Resource. A node that does not answer is a warning.
func (r *Resource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var m model
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	d, ok := m.desired(ctx, &resp.Diagnostics)
	if !ok || resp.Diagnostics.HasError() {
		return
	}
	setIdentity(ctx, resp.Identity, d.location, &resp.Diagnostics) // whatever is found: Terraform takes a read without it for a bug
	p, err := r.open(d)
	var name, id string
	if err == nil {
		name, id, ok, err = p.Adopt(ctx)
	}
	switch {
	case err != nil:
		resp.Diagnostics.Append(diags.FromError("The cluster could not be looked at", err, "The state is kept as it is.").Warning())
		return
	case !ok && id == m.ID.ValueString():
		resp.Diagnostics.Append(diags.Problem{What: "The cluster is half destroyed", Why: "its destruction was interrupted", Next: "Destroy it again: that ends it."}.Warning())
		return
	case !ok:
		resp.Diagnostics.Append(diags.Problem{What: "The cluster is gone", Why: d.location.String() + " holds no cluster any more", Next: "It is taken out of the state; an apply makes a new, empty one."}.Warning())
		resp.State.RemoveResource(ctx)
		return
	case id != m.ID.ValueString():
		resp.Diagnostics.Append(diags.Problem{What: "Another cluster is in its place",
			Why:  d.location.String() + " holds the cluster " + name + " with the id " + id + ", not " + m.ID.ValueString(),
			Next: "Name the right place, or take this one over: terraform state rm, then terraform import with '" + d.location.String() + "'."}.Diagnostic())
		return
	}
	v := look(ctx, p, id, d, m.effectiveOf(ctx, &resp.Diagnostics))
	for _, s := range v.silent {
		resp.Diagnostics.Append(s.Warning())
	}
	m.Location = types.StringValue(d.location.String())
	resp.Diagnostics.Append(v.set(ctx, &m)...)
	resp.Diagnostics.Append(resp.State.Set(ctx, &m)...)
}

// Update implements resource.Resource. Where it fails, the state says how far it got.
func (r *Resource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	var m, was model
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	resp.Diagnostics.Append(req.State.Get(ctx, &was)...)
	w := r.work(ctx, &m, req.Config, &resp.Diagnostics)
	if w == nil {
		return
	}
	m.Location = types.StringValue(w.want.location.String())
	w.id = m.ID.ValueString()
	planned := m.effectiveOf(ctx, &resp.Diagnostics)
	w.effective = was.effectiveOf(ctx, &resp.Diagnostics)
	timeout, ds := m.Timeouts.Update(ctx, updateTimeout)
	resp.Diagnostics.Append(ds...)
	if resp.Diagnostics.HasError() {
		return
	}
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	err := w.converge(limited)

	after, cancelAfter := context.WithTimeout(context.WithoutCancel(ctx), lastLook)
	defer cancelAfter()
	last := maps.Clone(w.effective)
	for name, n := range last {
		if err == nil { // what was pending is done, unless an agent says otherwise
			n.Pending = nil
			last[name] = n
		}
	}
	v := look(after, w.platform, w.id, w.want, last)
	if left := v.short(w.want); err == nil && len(left) > 0 {
		err = diags.Problem{What: "The cluster is not what was planned", Why: lines(left), Next: "Plan and apply again. If it stays so, the agents' logs say more."}
	}
	if err != nil {
		p := diags.FromError("The cluster could not be made what was planned", err, "")
		p.Next = join(p.Next, "What was done is kept, and the next apply goes on from here.")
		resp.Diagnostics.Append(p.Diagnostic())
		// Nothing that is observed says how far these got; and an address that led nowhere
		// must not be where the next plan looks for the cluster. What cannot be observed at all
		// is as it was: a plan's values are promises, and some of them open.
		m.TLS, m.SecretsVersion, m.SSH, m.Nodes, m.Location = was.TLS, was.SecretsVersion, was.SSH, was.Nodes, was.Location
		m.Stores, m.SideDisk, m.Binary, m.Settings, m.Endpoints = was.Stores, was.SideDisk, was.Binary, was.Settings, was.Endpoints
		resp.Diagnostics.Append(v.set(ctx, &m)...)
		resp.Diagnostics.Append(resp.State.Set(ctx, &m)...)
		if where, ok := was.place(ctx, &resp.Diagnostics); ok {
			setIdentity(ctx, resp.Identity, where, &resp.Diagnostics)
		}
		return
	}
	for name, p := range planned {
		v.effective[name] = seen(v.effective[name], p)
	}
	v.settings = nil // they were set as planned
	resp.Diagnostics.Append(v.set(ctx, &m)...)
	resp.Diagnostics.Append(resp.State.Set(ctx, &m)...)
	setIdentity(ctx, resp.Identity, w.want.location, &resp.Diagnostics)
}

// Delete implements resource.Resource.
func (r *Resource) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	var m model
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	where, ok := m.place(ctx, &resp.Diagnostics)
	if !ok || resp.Diagnostics.HasError() {
		return
	}
	if m.DeletionProtection.ValueBool() {
		resp.Diagnostics.Append(protected(m.Name.ValueString()).Diagnostic())
		return
	}
	timeout, ds := m.Timeouts.Delete(ctx, deleteTimeout)
	resp.Diagnostics.Append(ds...)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	step := func(line string) { r.env.Progress.Step(ctx, m.Name.ValueString(), "%s", line) }
	p, err := r.env.Open(where)
	if err == nil {
		err = p.Destroy(ctx, m.ID.ValueString(), step)
	}
	if err != nil {
		resp.Diagnostics.Append(diags.FromError("The cluster could not be destroyed", err, "Destroy it again: what is gone already is no obstacle.").Diagnostic())
	}
}

// work prepares an apply; nil where that is an error. config is the configuration, which
// alone has the secrets.
func (r *Resource) work(ctx context.Context, m *model, config tfsdk.Config, ds *diag.Diagnostics) *work {
	if ds.HasError() {
		return nil
	}
	d, ok := m.desired(ctx, ds)
	if !ok {
		if !ds.HasError() {
			ds.AddError("The configuration is not known", "A part of it is still unknown while it is applied, which is a bug of the provider: please report it.")
		}
		return nil
	}
	binary, err := r.env.FindBinary(d.binary)
	if err != nil {
		ds.Append(diags.FromError("The holdfast binary is missing", err, "").Diagnostic())
		return nil
	}
	w := &work{binary: binary, want: d}
	if d.cloud != nil {
		d.cloud.Disrupt = w.spare
	}
	if w.platform, err = r.open(d); err != nil {
		ds.Append(diags.FromError("The cluster's place cannot be used", err, "").Diagnostic())
		return nil
	}
	var given types.Map
	ds.Append(config.GetAttribute(ctx, path.Root("provision_secrets"), &given)...)
	secrets := secretsOf(ctx, given, ds)
	if ds.HasError() {
		return nil
	}
	w.secrets = secrets
	w.step = func(format string, args ...any) { r.env.Progress.Step(ctx, d.name, format, args...) }
	return w
}

// open is the platform that makes what a configuration means.
func (r *Resource) open(d desired) (platform.Platform, error) {
	if d.cloud != nil {
		return r.env.OpenFor(d.location, *d.cloud)
	}
	return r.env.Open(d.location)
}
