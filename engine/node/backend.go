// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package node

import (
	"time"

	"github.com/hashicorp/raft"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/api"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/httpapi"
)

// LeaderAddress implements httpapi.Backend.
func (n *Node) LeaderAddress(partition string) (string, error) {
	p, err := n.partition(partition)
	if err != nil {
		return "", err
	}
	return p.view.Load().addr, nil
}

// RaftConfiguration implements httpapi.Backend.
func (n *Node) RaftConfiguration(partition string) (api.RaftConfiguration, error) {
	p, err := n.partition(partition)
	if err != nil {
		return api.RaftConfiguration{}, err
	}
	f := p.raft.GetConfiguration() // from memory
	if err := f.Error(); err != nil {
		return api.RaftConfiguration{}, err
	}
	c := api.RaftConfiguration{Index: f.Index()}
	view := p.view.Load()
	for _, s := range f.Configuration().Servers {
		out := api.RaftServer{
			ID: string(s.ID), Node: string(s.ID), Address: string(s.Address),
			Leader: string(s.ID) == view.id, Voter: s.Suffrage == raft.Voter, ProtocolVersion: "3",
		}
		switch {
		case string(s.ID) == p.self.Name:
			out.LastIndex = p.raft.LastIndex()
		case view.self: // a follower does not know how far the others are
			out.LastIndex = p.lease.ackOf(s.ID).last
		}
		c.Servers = append(c.Servers, out)
	}
	return c, nil
}

// PeerContact implements console.Source.
func (n *Node) PeerContact(partition, server string) time.Time {
	p, err := n.partition(partition)
	if err != nil || !p.view.Load().self {
		return time.Time{}
	}
	return p.lease.ackOf(raft.ServerID(server)).sent
}

// Settings implements httpapi.Backend.
func (n *Node) Settings() api.Settings {
	return httpapi.SettingsOf(n.partitions["default"].machine.Settings(), n.cfg.defaults())
}

// Stores implements httpapi.Backend. It takes no lock that is held during I/O.
func (n *Node) Stores() api.NodeStores {
	out := api.NodeStores{
		Node: n.cfg.Node, NodeID: n.cfg.NodeID, Cluster: n.cfg.Cluster, ClusterID: n.cfg.ClusterID,
		Version: n.cfg.Version, StartedAt: n.started, ConfigHash: n.cfg.ConfigHash,
	}
	for _, s := range n.stores {
		size := s.size.Load()
		out.Stores = append(out.Stores, api.Store{
			ID: s.id.StoreID, Path: s.cfg.Path, Mountpoint: s.mount.Point, Device: s.mount.Device(), MajMin: s.majMin(),
			SizeBytes: size.total, FreeBytes: size.free, Attrs: append([]string{}, s.cfg.Attrs...),
			Partitions:        []api.Partition{s.partition.status()},
			ConfiguredBackend: n.cfg.LogStore.Backend, EffectiveBackend: string(*s.partition.backend.Load()),
			Failover: n.failoverStatus(s), Verification: s.partition.checks.status(),
		})
	}
	return out
}

func (p *partition) status() api.Partition {
	view := p.view.Load()
	s := api.Partition{
		Name: p.name, State: p.raft.State().String(), Leader: view.id, LeaderAddr: view.addr, Term: p.raft.CurrentTerm(),
		CommitIndex: p.raft.CommitIndex(), AppliedIndex: p.raft.AppliedIndex(), LastIndex: p.raft.LastIndex(),
		Index: p.machine.Index(), Keys: p.machine.Keys(), LastContactMS: p.lastContact().Milliseconds(),
	}
	if !view.self && p.raft.LastContact().IsZero() {
		s.LastContactMS = -1
	}
	if err := p.failure.Load(); err != nil {
		s.Error = (*err).Error()
	}
	return s
}
