// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cluster

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

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
	pending   []string          // what is to be done for no certain node
	problems  map[string][]agentapi.Problem
	silent    []diags.Problem // nodes and settings that could not be seen
}

// look observes the cluster. last is what was known of the nodes before.
func look(ctx context.Context, p platform.Platform, id string, d desired, last map[string]effectiveNode) view {
	v := view{effective: map[string]effectiveNode{}, problems: map[string][]agentapi.Problem{}, pending: []string{}}
	machines, err := p.Observe(ctx)
	if err != nil {
		v.silent = append(v.silent, diags.FromError("The machines of the cluster could not be observed", err, ""))
	}
	v.endpoints, v.specs = d.endpoints(machines), d.specs(id, machines)
	var pending observe.Pending
	var cloud platform.Pending
	var unasked error
	var wg sync.WaitGroup
	wg.Go(func() { pending = observe.Pendings(ctx, p, d.names()) })
	wg.Go(func() { cloud, unasked = wouldDo(ctx, p, d.platform(id, "", last)) })
	nodes := observe.Settled(ctx, p, d.names())
	wg.Wait()
	v.ready = nodes.Ready()
	var silent []string
	for _, name := range d.names() {
		v.effective[name] = observed(nodes[name], pending, v.specs[name], last[name]).with(cloud[name])
		v.problems[name] = nodes[name].Status.Problems
		if err := nodes[name].Err; err != nil {
			silent = append(silent, fmt.Sprintf("node %s: %v", name, err))
		}
	}
	v.pending = cloudLines(cloud[""])
	if unasked != nil && unanswered(unasked) && err == nil { // what cannot be done, the plan of the configuration says
		v.silent = append(v.silent, diags.FromError(noCloud, unasked, "What an apply would do there is not shown."))
	}
	if len(silent) > 0 {
		v.silent = append(v.silent, diags.Problem{What: "Host agents do not answer",
			Why:  strings.Join(silent, "\n"),
			Next: "What is shown of these nodes is what was last seen of them. An apply starts the agents again; their engines, if they run, are not touched by that."})
	}
	if p := pendingProblems(pending); p != nil {
		v.silent = append(v.silent, *p)
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

// pendingProblems are what would keep nodes from being what their specs say.
func pendingProblems(pending observe.Pending) *diags.Problem {
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(pending)) {
		for _, p := range pending[name].Problems {
			lines = append(lines, problemLine(name, p))
		}
	}
	if len(lines) == 0 {
		return nil
	}
	return &diags.Problem{What: "An apply would not get through", Why: strings.Join(lines, "\n"), Next: "Mend this first. Nothing was changed."}
}

func problemLine(node string, p agentapi.Problem) string {
	return strings.TrimSpace(fmt.Sprintf("node %s: %s: %s. %s", node, p.What, strings.TrimSuffix(p.Why, "."), p.Next))
}

// set writes what was observed into the model.
func (v view) set(ctx context.Context, m *model) diag.Diagnostics {
	var ds, d diag.Diagnostics
	m.Effective, d = effectiveValue(ctx, v.effective)
	ds.Append(d...)
	m.ReadyNodes, d = types.ListValueFrom(ctx, types.StringType, v.ready)
	ds.Append(d...)
	m.Pending, d = types.ListValueFrom(ctx, types.StringType, nonNil(v.pending))
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

// short lists what an apply did not reach, comparing what was planned with what is, and with
// it why the nodes say that they did not get there.
func (v view) short(d desired) []string {
	lines := slices.Clone(v.pending)
	for _, name := range d.names() {
		reached := len(lines)
		n, want := v.effective[name], d.planned(name, v.effective[name], v.specs[name])
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
		for _, l := range slices.Concat(n.SpecDifferences, n.RestartRequired, n.Pending) {
			lines = append(lines, fmt.Sprintf("node %s: %s", name, l))
		}
		if len(lines) > reached {
			for _, p := range v.problems[name] {
				lines = append(lines, problemLine(name, p))
			}
		}
	}
	return lines
}
