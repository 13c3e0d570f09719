// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cluster

import (
	"context"
	"maps"
	"slices"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/diags"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/resources/steps"
)

// provisionProblems are what is wrong with the steps of a configuration, as far as
// they are known.
func (m *model) provisionProblems(ctx context.Context) []diags.Problem {
	var ds diag.Diagnostics // an attribute's own validator says what does not fit
	objects, ok := decode[[]steps.OnNode](ctx, m.Provision, &ds)
	if !ok {
		return nil
	}
	var all []agentapi.Step
	for _, o := range objects {
		all = append(all, o.Spec())
	}
	var nodes []string
	if !m.Nodes.IsUnknown() {
		nodes = slices.Sorted(maps.Keys(m.Nodes.Elements()))
	}
	var secrets []string
	if !m.ProvisionSecrets.IsUnknown() {
		secrets = append([]string{}, slices.Sorted(maps.Keys(m.ProvisionSecrets.Elements()))...)
	}
	return steps.Problems(all, nodes, secrets)
}

// secretsOf are the secrets of a configuration, for the agents alone.
func secretsOf(ctx context.Context, config types.Map, ds *diag.Diagnostics) agentapi.Secrets {
	if config.IsNull() || config.IsUnknown() {
		return nil
	}
	secrets := agentapi.Secrets{}
	ds.Append(config.ElementsAs(ctx, (*map[string]string)(&secrets), false)...)
	return secrets
}
