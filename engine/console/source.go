// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package console

import (
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/api"
)

// Source is what the console needs of a node. Its methods are safe for
// concurrent use, answer from memory and never wait for a disk.
type Source interface {
	// Stores is what /_status/stores answers.
	Stores() api.NodeStores
	// RaftConfiguration is the configuration of a partition that this node knows.
	RaftConfiguration(partition string) (api.RaftConfiguration, error)
	// PeerContact is when the named server last took a request of this node,
	// where this node leads the partition; zero where that is not known.
	PeerContact(partition, server string) time.Time
}
