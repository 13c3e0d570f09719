// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cluster

import (
	"context"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
)

// sketch is what a configuration says as far as it is known, before defaults are
// filled in: enough for what contradicts itself and for what is unwise. What is
// not known yet contradicts nothing.
func (m *model) sketch(ctx context.Context) desired {
	d := desired{mode: modeDisabled, nodes: map[string]desiredNode{}, ports: agentapi.Ports{Server: 8300, HTTP: 8500}}
	d.name = m.Name.ValueString()

	if m.Nodes.IsUnknown() {
		d.nodes["?"] = desiredNode{voter: true} // one voter: nothing to say
	}
	for name, v := range m.Nodes.Elements() {
		n := desiredNode{voter: true}
		if o, ok := v.(types.Object); ok {
			if b, ok := attribute[types.Bool](o, "voter"); ok {
				n.voter = b.ValueBool()
			}
		}
		d.nodes[name] = n
	}
	switch n := len(m.Stores.Elements()); {
	case m.Stores.IsUnknown(): // any number: none contradicts nothing
	case n == 0:
		d.stores = make([]desiredStore, 1)
	default:
		d.stores = make([]desiredStore, n)
	}
	if s, ok := attribute[types.String](m.WALFailover, "mode"); ok {
		d.mode = s.ValueString()
	}
	if p, ok := attribute[types.Int64](m.Ports, "server"); ok {
		d.ports.Server = int(p.ValueInt64())
	}
	if p, ok := attribute[types.Int64](m.Ports, "http"); ok {
		d.ports.HTTP = int(p.ValueInt64())
	}
	if !m.SSH.IsNull() || !m.GCE.IsNull() {
		d.ports.HTTPS = 8501
		if p, ok := attribute[types.Int64](m.Ports, "https"); ok {
			d.ports.HTTPS = int(p.ValueInt64())
		}
	}
	if b, ok := attribute[types.Bool](m.Server, "leave_on_terminate"); ok {
		d.rules.LeaveOnTerminate = b.ValueBool()
	}
	var ds diag.Diagnostics // the settings' own validator says what is wrong with them
	d.settings, _ = decode[map[string]string](ctx, m.Settings, &ds)
	return d
}

// attribute is a known attribute of an object that is there.
func attribute[T interface {
	IsNull() bool
	IsUnknown() bool
}](o types.Object, name string) (T, bool) {
	v, ok := o.Attributes()[name].(T)
	if !ok || v.IsNull() || v.IsUnknown() {
		var zero T
		return zero, false
	}
	return v, true
}
