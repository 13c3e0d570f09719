// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
)

// StatusLeader is the server RPC address of the partition's leader, empty
// where the node knows of none.
func (c *Client) StatusLeader(ctx context.Context, partition string) (string, error) {
	var leader string
	err := c.getJSON(ctx, "/v1/status/leader", partitionQuery(partition), &leader)
	return leader, err
}

// StatusPeers are the server RPC addresses of the partition's servers.
func (c *Client) StatusPeers(ctx context.Context, partition string) ([]string, error) {
	var peers []string
	err := c.getJSON(ctx, "/v1/status/peers", partitionQuery(partition), &peers)
	return peers, err
}

// RaftConfiguration is the partition's raft configuration as the node that
// answers knows it, with or without a leader.
func (c *Client) RaftConfiguration(ctx context.Context, partition string) (RaftConfiguration, error) {
	q := partitionQuery(partition)
	q.Set("stale", "")
	var conf RaftConfiguration
	err := c.getJSON(ctx, "/v1/operator/raft/configuration", q, &conf)
	return conf, err
}

// Settings are the cluster settings as the node that answers applied them.
func (c *Client) Settings(ctx context.Context) (Settings, error) {
	var s Settings
	err := c.getJSON(ctx, "/v1/operator/settings", nil, &s)
	return s, err
}

// SetSettings changes cluster settings, all of them or none. A nil value
// takes a setting back to its default.
func (c *Client) SetSettings(ctx context.Context, settings map[string]*string) error {
	body, err := json.Marshal(SettingsChange{Settings: settings})
	if err != nil {
		return fmt.Errorf("api: settings: %w", err)
	}
	_, err = c.send(ctx, http.MethodPut, "/v1/operator/settings", body, nil)
	return err
}

// Stores is what the first node that answers knows of itself. To ask a
// certain node, make a client with its address alone.
func (c *Client) Stores(ctx context.Context) (NodeStores, error) {
	var s NodeStores
	err := c.getJSON(ctx, "/_status/stores", nil, &s)
	return s, err
}

func partitionQuery(partition string) url.Values {
	q := url.Values{}
	if partition != "" {
		q.Set("partition", partition)
	}
	return q
}
