// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cluster

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/diags"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/observe"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
)

// view is a cluster as it was observed, in the words of the configuration.
type view struct {
	effective map[string]effectiveNode
	specs     map[string]*agentapi.Spec // what the configuration means, where that is known
	endpoints map[string]string
	ready     []string
	settings  map[string]string // nil where no engine could be asked
	silent    []diags.Problem   // nodes and settings that could not be seen
}

// look observes the cluster. last is what was known of the nodes before.
func look(ctx context.Context, p platform.Platform, id string, d desired, last map[string]effectiveNode) view {
	v := view{effective: map[string]effectiveNode{}}
	machines, err := p.Observe(ctx)
	if err != nil {
		v.silent = append(v.silent, diags.FromError("The machines of the cluster could not be observed", err, ""))
	}
	v.endpoints, v.specs = d.endpoints(machines), d.specs(id, machines)
	nodes := observe.Agents(ctx, p, d.names())
	v.ready = nodes.Ready()
	var silent []string
	for _, name := range d.names() {
		v.effective[name] = observed(nodes[name], v.specs[name], last[name])
		if err := nodes[name].Err; err != nil {
			silent = append(silent, fmt.Sprintf("node %s: %v", name, err))
		}
	}
	if len(silent) > 0 {
		v.silent = append(v.silent, diags.Problem{What: "Host agents do not answer",
			Why:  strings.Join(silent, "\n"),
			Next: "What is shown of these nodes is what was last seen of them. An apply starts the agents again; their engines, if they run, are not touched by that."})
	}
	if len(v.ready) == 0 {
		return v
	}
	v.settings, err = nodes.Settings(ctx, p)
	if err != nil {
		v.silent = append(v.silent, diags.FromError("The settings of the cluster could not be read", err, "What is shown of them is what was last seen."))
	}
	return v
}

// set writes what was observed into the model.
func (v view) set(ctx context.Context, m *model) diag.Diagnostics {
	var ds, d diag.Diagnostics
	m.Effective, d = effectiveValue(ctx, v.effective)
	ds.Append(d...)
	m.ReadyNodes, d = types.ListValueFrom(ctx, types.StringType, v.ready)
	ds.Append(d...)
	if len(v.endpoints) > 0 {
		m.Endpoints, d = types.MapValueFrom(ctx, types.StringType, v.endpoints)
		ds.Append(d...)
	}
	switch {
	case v.settings == nil, len(v.settings) == 0 && len(m.Settings.Elements()) == 0: // null and {} both say: none
	default:
		m.Settings, d = types.MapValueFrom(ctx, types.StringType, v.settings)
		ds.Append(d...)
	}
	return ds
}

// effectiveType is the type of the attribute effective.
var effectiveType = computedAttributes()["effective"].GetType().(types.MapType) //nolint:forcetypeassert // it is a map a few lines from here

func effectiveValue(ctx context.Context, nodes map[string]effectiveNode) (types.Map, diag.Diagnostics) {
	return types.MapValueFrom(ctx, effectiveType.ElemType, nodes)
}

// effectiveOf reads the attribute effective; empty where it is not known. A plan
// of a node that does not answer leaves its agent_version open, and nothing else.
func (m *model) effectiveOf(ctx context.Context, ds *diag.Diagnostics) map[string]effectiveNode {
	if m.Effective.IsNull() || m.Effective.IsUnknown() {
		return nil
	}
	nodes := map[string]effectiveNode{}
	ds.Append(m.Effective.ElementsAs(ctx, &nodes, false)...)
	return nodes
}

// short lists what an apply did not reach, comparing what was planned with what is.
func short(d desired, now map[string]effectiveNode, specs map[string]*agentapi.Spec) []string {
	var lines []string
	for _, name := range d.names() {
		n, want := now[name], d.planned(name, now[name], specs[name])
		add := func(attribute string, is, shall any) {
			if is != shall {
				lines = append(lines, fmt.Sprintf("node %s: %s is %v, not %v", name, attribute, is, shall))
			}
		}
		add("agent", n.Agent, want.Agent)
		add("engine", n.Engine, want.Engine)
		add("raft_logstore", n.RaftLogStore, want.RaftLogStore)
		add("wal_failover.mode", n.WALFailover.Mode, want.WALFailover.Mode)
		add("wal_failover.sides", strings.Join(n.WALFailover.Sides, ", "), strings.Join(want.WALFailover.Sides, ", "))
		for _, l := range slices.Concat(n.SpecDifferences, n.RestartRequired) {
			lines = append(lines, fmt.Sprintf("node %s: %s", name, l))
		}
	}
	return lines
}
