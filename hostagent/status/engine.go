// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package status

import (
	"context"
	"fmt"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/api"
)

// Ask returns the engine's own answer of itself, within bound.
func Ask(ctx context.Context, address string, bound time.Duration) (*api.NodeStores, error) {
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	c, err := api.New(api.Config{Addresses: []string{address}})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	stores, err := c.Stores(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask the engine at %s: %w", address, err)
	}
	return &stores, nil
}
