// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

//go:build linux

package gce

import (
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"testing"
	"time"

	"cloud.google.com/go/compute/apiv1/computepb"
	"golang.org/x/crypto/ssh"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/api"
	"github.com/holdfastdb/terraform-provider-holdfast/test/traffic"
	"github.com/holdfastdb/terraform-provider-holdfast/test/vm"
	"github.com/holdfastdb/terraform-provider-holdfast/test/wait"
)

// node is a machine of the cluster as its operator reaches it: over SSH, with the key of the configuration.
type node struct {
	name  string
	shell *vm.Shell
	api   *api.Client
}

// nodes are all of them, which exist.
func (c *cloud) nodes() []*node {
	c.t.Helper()
	var all []*node
	for name := range c.zones {
		n := &node{name: name, shell: c.newShell(name)}
		c.t.Cleanup(n.shell.Drop)
		var err error
		if n.api, err = api.New(api.Config{Addresses: []string{"127.0.0.1:8500"}, DialContext: n.shell.Dial}); err != nil {
			c.t.Fatal(err)
		}
		c.t.Cleanup(n.api.Close)
		all = append(all, n)
	}
	return all
}

// newShell is a connection of its own.
func (c *cloud) newShell(node string) *vm.Shell {
	c.t.Helper()
	return c.shell(c.instance(node))
}

func (c *cloud) shell(i *computepb.Instance) *vm.Shell {
	c.t.Helper()
	key, err := os.ReadFile(c.key)
	if err != nil {
		c.t.Fatal(err)
	}
	signer, err := ssh.ParsePrivateKey(key)
	if err != nil {
		c.t.Fatal(err)
	}
	card := i.GetNetworkInterfaces()[0]
	address := card.GetNetworkIP()
	if access := card.GetAccessConfigs(); len(access) > 0 && access[0].GetNatIP() != "" {
		address = access[0].GetNatIP()
	}
	return vm.NewShell(vm.Login{Address: net.JoinHostPort(address, "22"), User: "ops", Signer: signer})
}

// drive starts one writer through each node.
func drive(t *testing.T, nodes []*node) *traffic.Traffic {
	t.Helper()
	var ways []traffic.Node
	for _, n := range nodes {
		ways = append(ways, traffic.Node{Name: n.name, API: n.api, Unanswered: n.shell.Drop})
	}
	return traffic.Drive(t, ways, "writes/")
}

// askMax is for one question.
const askMax = 15 * time.Second

// store is what the engine says of the node's one store.
func (n *node) store(ctx context.Context) (api.Store, error) {
	ctx, cancel := context.WithTimeout(ctx, askMax)
	defer cancel()
	s, err := n.api.Stores(ctx)
	if ctx.Err() != nil {
		n.shell.Drop()
	}
	if err == nil && len(s.Stores) != 1 {
		err = fmt.Errorf("one store is expected: %+v", s.Stores)
	}
	if err != nil {
		return api.Store{}, err
	}
	return s.Stores[0], nil
}

// leader waits until one of them leads.
func leader(t *testing.T, nodes []*node) *node {
	t.Helper()
	at := -1
	wait.Within(t, time.Minute, "a node leads", func() bool {
		at = slices.IndexFunc(nodes, func(n *node) bool {
			s, err := n.store(t.Context())
			return err == nil && s.Partitions[0].State == "Leader"
		})
		return at >= 0
	})
	return nodes[at]
}
