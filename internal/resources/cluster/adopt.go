// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cluster

import (
	"context"
	"fmt"
	"strings"

	"github.com/google/uuid"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/holdfastdb/terraform-provider-holdfast/internal/diags"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
)

// newID is the id of the cluster to be made: that of the one which an interrupted
// earlier apply left in the same place under the same name, or a new one.
func newID(ctx context.Context, p platform.Platform, d desired) (string, *diags.Problem) {
	name, id, ok, err := p.Adopt(ctx)
	switch {
	case err != nil:
		problem := diags.FromError("The cluster cannot be made here", err, "Nothing was changed.")
		return "", &problem
	case ok && name != d.name:
		return "", &diags.Problem{At: "local.directory", What: "The directory belongs to another cluster",
			Why:  fmt.Sprintf("local.directory = %q holds the cluster %q, the configuration says %q", d.directory, name, d.name),
			Next: fmt.Sprintf("Use another directory. To take over that cluster, name it %q and import it: terraform import ADDRESS %s", name, location(d.directory))}
	case ok:
		return id, nil
	}
	return uuid.NewString(), nil
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
