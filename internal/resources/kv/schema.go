// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package kv

import (
	"context"

	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
	"github.com/hashicorp/terraform-plugin-framework-validators/mapvalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/int64default"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringdefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/holdfastdb/terraform-provider-holdfast/internal/env"
)

// Limits of the engine; a test compares them with its own.
const (
	maxKey   = 512
	maxValue = 512 << 10
)

// Schema implements resource.Resource.
func (r *Resource) Schema(_ context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	replace := []planmodifier.String{stringplanmodifier.RequiresReplace()}
	resp.Schema = schema.Schema{
		MarkdownDescription: "One key of a cluster. Every write names the version that it replaces, so that a change which somebody else made between plan and apply is an error, never lost.",
		Attributes: map[string]schema.Attribute{
			"local": schema.SingleNestedAttribute{
				Optional:            true,
				MarkdownDescription: env.LocalText + " Its nodes are reached as the cluster's own resource reaches them. Exactly one of `local`, `location` and `endpoints`.",
				Attributes: map[string]schema.Attribute{
					"directory": schema.StringAttribute{Required: true, MarkdownDescription: env.DirectoryText, PlanModifiers: replace},
				},
			},
			"location": schema.StringAttribute{
				Optional: true, MarkdownDescription: env.LocationText + " Another one is a change in place: machines may get other addresses, and a write names the version that it replaces.",
				Validators: []validator.String{env.LocationValidator()},
			},
			"cluster_id": schema.StringAttribute{
				Optional: true, MarkdownDescription: env.IDText + " With `local` or `location` only. A change writes the key anew.", PlanModifiers: replace,
				Validators: []validator.String{stringvalidator.ConflictsWith(path.MatchRoot("endpoints"))},
			},
			"endpoints": schema.MapAttribute{
				ElementType: types.StringType, Optional: true,
				MarkdownDescription: "HTTP API of nodes by any name: `holdfast_cluster.NAME.endpoints`, where Terraform can connect to them and they ask for no certificate; `location` reaches all others. Any one serves; the next is tried where one does not answer.",
				Validators: []validator.Map{
					mapvalidator.ExactlyOneOf(path.MatchRoot("local"), path.MatchRoot("location"), path.MatchRoot("endpoints")),
					mapvalidator.SizeAtLeast(1),
				},
			},
			"key": schema.StringAttribute{
				Required: true, MarkdownDescription: "The key, 512 bytes at most. A change deletes the old one and writes the new.", PlanModifiers: replace,
				Validators: []validator.String{bytesOf{"key", 1, maxKey, "Use a shorter key."}},
			},
			"value": schema.StringAttribute{
				Optional: true, MarkdownDescription: "The value as text, 512 KiB at most. Exactly one of `value` and `value_base64`. It is kept in the state in the clear.",
				Validators: []validator.String{
					stringvalidator.ExactlyOneOf(path.MatchRoot("value"), path.MatchRoot("value_base64")),
					bytesOf{"value", 0, maxValue, "Store less under one key."},
				},
			},
			"value_base64": schema.StringAttribute{
				Optional: true, MarkdownDescription: "The value as base64, for bytes that are no text; 512 KiB at most once decoded.",
				Validators: []validator.String{base64Value{}},
			},
			"flags": schema.Int64Attribute{
				Optional: true, Computed: true, Default: int64default.StaticInt64(0),
				MarkdownDescription: "A number of the client's own that is kept beside the value. Default `0`.",
				Validators:          []validator.Int64{int64validator.AtLeast(0)},
			},
			"partition": schema.StringAttribute{
				Optional: true, Computed: true, Default: stringdefault.StaticString("default"),
				MarkdownDescription: "The partition that holds the key. Default `default`. A change deletes the key in one and writes it in the other.", PlanModifiers: replace,
			},
			"modify_index": schema.Int64Attribute{
				Computed: true, MarkdownDescription: "The partition's index at the key's last change: the version that the next write replaces.",
			},
		},
	}
}
