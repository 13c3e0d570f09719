// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package provider

import (
	"github.com/hashicorp/terraform-plugin-framework/provider"

	"github.com/holdfastdb/terraform-provider-holdfast/internal/env"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
)

// NewOn is New with other platforms; a nil one is none.
func NewOn(version string, local func(directory string) (platform.Platform, error), ssh func(Access, map[string]env.Machine) (platform.Platform, error)) func() provider.Provider {
	return func() provider.Provider { return &holdfast{version: version, local: local, ssh: ssh} }
}
