// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cluster

import (
	"context"
	"fmt"
	"net"
	"strings"

	"github.com/google/uuid"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/diags"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/env"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/observe"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
)

// newID is the id of the cluster to be made: that of the one which is in the same place
// under the same name, where adopted is true, or a new one. An interrupted earlier apply left it,
// or somebody lost the state.
func newID(ctx context.Context, p platform.Platform, d desired) (id string, adopted bool, problem *diags.Problem) {
	name, id, ok, err := p.Adopt(ctx)
	switch {
	case err != nil:
		return "", false, new(diags.FromError("The cluster cannot be made here", err, "Nothing was changed."))
	case ok && name != d.name:
		return "", false, new(taken(d, name))
	case ok:
		return id, true, nil
	}
	return uuid.NewString(), false, nil
}

// unlike are the refusals of a configuration for the cluster that is in its place, as its
// agents describe it: there is no state to compare it with. Where no agent tells of a spec there is
// nothing to compare yet. It is looked at before a machine is touched, and again when all agents
// answer.
func unlike(ctx context.Context, p platform.Platform, want desired, id string) ([]diags.Problem, error) {
	machines, err := p.Observe(ctx)
	if err != nil {
		return nil, err
	}
	nodes := observe.Agents(ctx, p, want.names())
	effective := map[string]effectiveNode{}
	var spec *agentapi.Spec
	for _, name := range nodes.Names() {
		if n := nodes[name]; n.Status.Spec != nil {
			spec, effective[name] = n.Status.Spec, observed(n, nil, nil, effectiveNode{})
		}
	}
	if spec == nil {
		return nil, nil
	}
	f, err := describe(want.name, id, machines, nodes)
	if err != nil {
		return nil, err
	}
	for name, n := range f.desired.nodes {
		if _, told := effective[name]; !told { // what it logs to, nobody knows
			n.log = want.nodes[name].log
			f.desired.nodes[name] = n
		}
	}
	f.location = want.location
	if want.location.Machines != nil { // how machines are reached may change, what servers know each other by not
		f.location.Machines = map[string]env.Machine{}
		for _, s := range spec.Servers {
			host, _, _ := net.SplitHostPort(s.Address) // an agent took it
			f.location.Machines[s.Name] = env.Machine{Address: host}
		}
	}
	return refusals(f.desired, want, effective), nil
}

// notTheSame says that a configuration does not mean the cluster in its place: it is not taken over.
type notTheSame struct{ diags.Problem }

func (e notTheSame) Unwrap() error { return e.Problem }

// sameAgain refuses as unlike does, with a notTheSame.
func (w *work) sameAgain(ctx context.Context) error {
	refused, err := unlike(ctx, w.platform, w.want, w.id)
	if err != nil || len(refused) == 0 {
		return err
	}
	all := refused[0]
	for _, p := range refused[1:] {
		all.Why += "\n" + p.Why
	}
	return notTheSame{all}
}

// taken says that the place has a cluster of another name.
func taken(d desired, name string) diags.Problem {
	at := "local.directory"
	switch {
	case d.location.Machines != nil:
		at = "nodes"
	case d.location.Project != "":
		at = "name"
	}
	return diags.Problem{At: at, What: "The place belongs to another cluster",
		Why:  fmt.Sprintf("%s holds the cluster %q, the configuration says %q", d.location, name, d.name),
		Next: fmt.Sprintf("Use another place. To take over that cluster, name it %q and import it: terraform import ADDRESS '%s'", name, d.location)}
}

func protected(name string) diags.Problem {
	return diags.Problem{At: "deletion_protection", What: "The cluster is protected",
		Why:  fmt.Sprintf("deletion_protection = true: the cluster %q and all its data would be destroyed", name),
		Next: "Set deletion_protection = false and apply; then destroy. Nothing was changed."}
}

// plannedSettings are the settings as the plan has them.
func plannedSettings(ctx context.Context, plan tfsdk.Plan, ds *diag.Diagnostics) types.Map {
	var m types.Map
	ds.Append(plan.GetAttribute(ctx, path.Root("settings"), &m)...)
	return m
}

func join(a, b string) string { return strings.TrimSpace(a + " " + b) }

func lines(all []string) string { return strings.Join(all, "\n") }
