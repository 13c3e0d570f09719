// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package env

import (
	"context"

	"github.com/hashicorp/terraform-plugin-framework-validators/objectvalidator"
	"github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/holdfastdb/terraform-provider-holdfast/internal/diags"
)

// LocalObject is the attribute local: {directory}.
type LocalObject struct {
	Directory string `tfsdk:"directory"`
}

// What the attributes say by which a cluster is found.
const (
	LocalText     = "The cluster on this machine: `holdfast_cluster.NAME.local`."
	DirectoryText = "Absolute path of the cluster's directory."
	LocationText  = "Where the cluster is, on this machine or over SSH: `holdfast_cluster.NAME.location`. Instead of `local`."
	IDText        = "UUID that the cluster must have: `holdfast_cluster.NAME.id`. With it, Terraform makes the cluster before it asks, and no other cluster is ever taken for it."
)

// LocalAttribute is the attribute local of a data source.
func LocalAttribute() schema.Attribute {
	return schema.SingleNestedAttribute{
		Optional: true, MarkdownDescription: LocalText + " Exactly one of `local` and `location`.",
		Attributes: map[string]schema.Attribute{
			"directory": schema.StringAttribute{Required: true, MarkdownDescription: DirectoryText},
		},
		Validators: []validator.Object{objectvalidator.ExactlyOneOf(path.MatchRoot("local"), path.MatchRoot("location"))},
	}
}

// LocationAttribute is the attribute location of a data source.
func LocationAttribute() schema.Attribute {
	return schema.StringAttribute{Optional: true, MarkdownDescription: LocationText, Validators: []validator.String{LocationValidator()}}
}

// ClusterIDAttribute is the attribute cluster_id of a data source.
func ClusterIDAttribute() schema.Attribute {
	return schema.StringAttribute{Optional: true, MarkdownDescription: IDText}
}

// Where is the place that a configuration names: by local, or by location.
func Where(local *LocalObject, location types.String) (Location, error) {
	if local != nil {
		return Location{Directory: local.Directory}, nil
	}
	l, err := ParseLocation(location.ValueString())
	if err != nil {
		return Location{}, diags.Problem{At: "location", What: "Invalid location", Why: err.Error()}
	}
	return l, nil
}

// ReachWhere is Reach of the place that a configuration names.
func (e *Env) ReachWhere(ctx context.Context, local *LocalObject, location types.String, id string) (*Cluster, error) {
	l, err := Where(local, location)
	if err != nil {
		return nil, err
	}
	return e.Reach(ctx, l, id)
}

// attribute is the one that names the place.
func (l Location) attribute() string {
	if !l.Remote() {
		return "local.directory"
	}
	return "location"
}

// LocationValidator refuses what ParseLocation does.
func LocationValidator() validator.String { return locationValidator{} }

type locationValidator struct{}

func (locationValidator) Description(context.Context) string         { return LocationForm }
func (locationValidator) MarkdownDescription(context.Context) string { return LocationForm }

func (locationValidator) ValidateString(_ context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	if req.ConfigValue.IsNull() || req.ConfigValue.IsUnknown() {
		return
	}
	if _, err := ParseLocation(req.ConfigValue.ValueString()); err != nil {
		resp.Diagnostics.AddAttributeError(req.Path, "Invalid location", err.Error())
	}
}
