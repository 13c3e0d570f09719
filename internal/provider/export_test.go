// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"github.com/hashicorp/terraform-plugin-framework/provider"

	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
)

// NewOn is New with another platform below local.
func NewOn(version string, local func(directory string) (platform.Platform, error)) func() provider.Provider {
	return func() provider.Provider { return &holdfast{version: version, local: local} }
}
