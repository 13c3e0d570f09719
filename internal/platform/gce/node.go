// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package gce

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
)

// Node implements platform.Platform. The first call looks where the machine is, where that
// was not done.
func (p *Platform) Node(name string) platform.Communicator { return communicator{p, name} }

// lookMemory is for how long a machine that was not found is not looked for again: whoever waits for a
// node asks often.
const lookMemory = 5 * time.Second

// communicator is the way to one node.
type communicator struct {
	p    *Platform
	name string
}

// way is the communicator of the machine's platform.
func (c communicator) way(ctx context.Context) (platform.Communicator, error) {
	if way := c.p.wayTo(c.name); way != nil {
		return way, nil
	}
	c.p.looking.Lock()
	defer c.p.looking.Unlock()
	if way := c.p.wayTo(c.name); way != nil {
		return way, nil
	}
	if time.Since(c.p.looked) < lookMemory {
		return nil, nodeError{c.name, errNoWay}
	}
	if err := c.p.look(ctx); err != nil {
		return nil, nodeError{c.name, err}
	}
	c.p.looked = time.Now()
	if way := c.p.wayTo(c.name); way != nil {
		return way, nil
	}
	return nil, nodeError{c.name, errNoWay}
}

// wayTo is the communicator of a node that is known, nil for one that is not.
func (p *Platform) wayTo(node string) platform.Communicator {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.mu.wayConfig[node]; !ok || p.mu.way == nil {
		return nil
	}
	return p.mu.way.Node(node)
}

// look learns addresses and keys of the cluster's machines.
func (p *Platform) look(ctx context.Context) error {
	have, err := p.client.observe(ctx, p.cfg)
	if err != nil {
		return err
	}
	id, err := whose(p.cfg.Cluster, have)
	if err != nil {
		return err
	}
	have = have.of(id)
	keys, err := p.hostKeys(ctx, have.instances, false)
	if err != nil {
		return err
	}
	_, err = p.reach(have.instances, keys)
	return err
}

// Agent implements platform.Communicator.
func (c communicator) Agent() *agentapi.Client {
	return agentapi.NewClientWithDialer(func(ctx context.Context) (net.Conn, error) {
		way, err := c.way(ctx)
		if err != nil {
			return nil, err
		}
		agent, ok := way.(agentDialer)
		if !ok {
			return nil, nodeError{c.name, errNoWay}
		}
		return agent.DialAgent(ctx)
	})
}

// agentDialer is a communicator that connects to the agent's socket.
type agentDialer interface {
	DialAgent(context.Context) (net.Conn, error)
}

var errNoWay = errors.New("its machine does not run, or does not tell its host keys yet")

// DialContext implements platform.Communicator.
func (c communicator) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	way, err := c.way(ctx)
	if err != nil {
		return nil, err
	}
	return way.DialContext(ctx, network, address)
}
