// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package observe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/api"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
)

// ErrNoEngine: no engine of the cluster runs whose API could be asked.
var ErrNoEngine = errors.New("no engine of the cluster is running")

// Client returns a client of the engines that run, the leader's first, each
// reached through its own node, so that an API on loopback is no obstacle. A node is
// addressed by its name: with certificates, every node has the same address of its own.
func (ns Nodes) Client(p platform.Platform) (*api.Client, error) {
	names := ns.Ready()
	leader := ns.Leader()
	slices.SortStableFunc(names, func(a, b string) int { return first(b == leader) - first(a == leader) })
	var addresses []string
	own := map[string]string{} // the address on the node, by that which the client knows
	for _, name := range names {
		address := ns[name].Status.Engine.HTTPAddress
		_, port, err := net.SplitHostPort(address)
		if err != nil {
			continue
		}
		known := net.JoinHostPort(name, port)
		addresses, own[known] = append(addresses, known), address
	}
	if len(addresses) == 0 {
		return nil, ErrNoEngine
	}
	return api.New(api.Config{Addresses: addresses, Host: "localhost", DialContext: func(ctx context.Context, network, known string) (net.Conn, error) {
		address, ok := own[known]
		name, _, err := net.SplitHostPort(known)
		if !ok || err != nil {
			return nil, fmt.Errorf("%s belongs to no node of the cluster", known)
		}
		return p.Node(name).DialContext(ctx, network, address)
	}})
}

func first(is bool) int {
	if is {
		return 1
	}
	return 0
}

// Settings are the settings that somebody set, as the leader has them.
func (ns Nodes) Settings(ctx context.Context, p platform.Platform) (map[string]string, error) {
	ctx, cancel := context.WithTimeout(ctx, AgentTimeout)
	defer cancel()
	c, err := ns.Client(p)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	s, err := c.Settings(ctx)
	if err != nil {
		return nil, err
	}
	set := map[string]string{}
	for _, name := range s.Set {
		set[name] = s.Settings[name]
	}
	return set, nil
}

// Linearizable reads through a majority of each partition and says why it could
// not.
func (ns Nodes) Linearizable(ctx context.Context, p platform.Platform) error {
	c, err := ns.Client(p)
	if err != nil {
		return err
	}
	defer c.Close()
	for _, name := range ns.Partitions() {
		read := api.Read{Consistency: api.Consistent}
		if name != DefaultPartition {
			read.Partition = name
		}
		if _, err = c.GetValue(ctx, "holdfast/ready", read); err != nil && !errors.Is(err, api.ErrNotFound) {
			return fmt.Errorf("partition %s: %w", name, err)
		}
	}
	return nil
}
