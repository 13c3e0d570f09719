// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package env

import (
	"github.com/hashicorp/terraform-plugin-framework/datasource/schema"
)

// LocalObject is the attribute local: {directory}.
type LocalObject struct {
	Directory string `tfsdk:"directory"`
}

// What the attributes say by which a cluster is found.
const (
	LocalText     = "The cluster on this machine: `holdfast_cluster.NAME.local`."
	DirectoryText = "Absolute path of the cluster's directory."
	IDText        = "UUID that the cluster must have: `holdfast_cluster.NAME.id`. With it, Terraform makes the cluster before it asks, and no other cluster is ever taken for it."
)

// LocalAttribute is the attribute local of a data source.
func LocalAttribute() schema.Attribute {
	return schema.SingleNestedAttribute{
		Required: true, MarkdownDescription: LocalText,
		Attributes: map[string]schema.Attribute{
			"directory": schema.StringAttribute{Required: true, MarkdownDescription: DirectoryText},
		},
	}
}

// ClusterIDAttribute is the attribute cluster_id of a data source.
func ClusterIDAttribute() schema.Attribute {
	return schema.StringAttribute{Optional: true, MarkdownDescription: IDText}
}
