// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package node

import (
	"context"
	"errors"
)

// Node is a running engine.
type Node struct {
	cfg  Config
	done chan struct{}
}

// Start starts an engine on cfg's stores.
func Start(_ context.Context, cfg Config) (*Node, error) {
	cfg.setDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	return nil, errors.New("engine/node: not assembled yet")
}

// Done is closed when the engine has failed or was shut down.
func (n *Node) Done() <-chan struct{} { return n.done }

// Wait waits for Done and returns why the engine failed, nil after Shutdown.
func (n *Node) Wait() error { <-n.done; return nil }

// Shutdown stops the engine.
func (n *Node) Shutdown(context.Context) error { return nil }
