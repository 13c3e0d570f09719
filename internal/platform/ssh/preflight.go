// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package ssh

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform/sshhost"
)

// portBound is how long a port is knocked at: a firewall may swallow that.
const portBound = 3 * time.Second

// Preflight implements platform.Platform. It waits for machines that start, and returns
// what is to be mended on all of them.
func (p *Platform) Preflight(ctx context.Context, c platform.Cluster) error {
	nodes, bin, err := p.asked(c)
	if err != nil {
		return err
	}
	defer bin.close()
	all, err := p.inspect(ctx, c, bin.requirements())
	if err != nil {
		return err
	}
	wrong := p.each(names(nodes), func(n *node) error { return n.checkNetwork(ctx, c.Ports, all[n.name].found) })
	return wrong.join(len(nodes))
}

// inspect looks at the machines of c's nodes, changing nothing, and refuses with all that is wrong.
func (p *Platform) inspect(ctx context.Context, c platform.Cluster, requirements sshhost.Requirements) (answers, error) {
	all := answers{}
	var mu sync.Mutex // guards all
	nodes := map[string]platform.Node{}
	for _, n := range c.Nodes {
		nodes[n.Name] = n
	}
	wrong := p.each(names(nodes), func(n *node) error {
		f, err := n.inspect(ctx, requirements)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		all[n.name] = answer{found: f}
		return nil
	})
	cluster := agentapi.Cluster{Name: c.Name, ID: c.ID}
	ending, servers := all.ending(), all.servers(cluster)
	for _, name := range all.names() {
		node := nodes[name]
		a := all[name]
		a.known = node.Known
		all[name] = a
		// Where machines are replaced, one that never came up may have been, though others speak of it.
		node.Known = !p.replaceable && (node.Known || slices.Contains(servers, name))
		wrong.add(name, a.mayBe(cluster, node, ending))
	}
	wrong = append(wrong, all.twice()...)
	return all, wrong.join(len(nodes))
}

// inspect connects to the machine, checks its facts and asks whose it is.
func (n *node) inspect(ctx context.Context, requirements sshhost.Requirements) (found, error) {
	if err := n.wait(ctx); err != nil {
		return found{}, err
	}
	bound, cancel := context.WithTimeout(ctx, lookBound)
	defer cancel()
	facts, err := n.host.Facts(bound, binaryPath)
	if err != nil {
		return found{}, err
	}
	if err := together(facts.Check(n.cfg.Address, requirements)); err != nil {
		return found{}, err
	}
	return n.look(ctx)
}

// twice are the nodes whose machine is another node's, too.
func (as answers) twice() errs {
	var all errs
	seen := map[[2]string]string{}
	for _, name := range as.names() {
		a := as[name]
		if a.machine == "" || a.boot == "" {
			continue
		}
		key := [2]string{a.machine, a.boot}
		if other, ok := seen[key]; ok {
			all.add(name, &platform.Error{What: "it has no machine of its own", Err: fmt.Errorf("%w: its address and that of node %s lead to the one with the machine id %s", errTwice, other, a.machine),
				Next: "Every node needs a machine of its own; nothing was changed."})
			continue
		}
		seen[key] = name
	}
	return all
}

// checkNetwork looks whether the node can listen, and can be reached, once it is made.
func (n *node) checkNetwork(ctx context.Context, ports agentapi.Ports, f found) error {
	var all []error
	if !f.has(n.address) {
		all = append(all, &platform.Error{What: "its server cannot listen on " + n.address, Err: fmt.Errorf("%w: it has %v", errAddress, f.addresses),
			Next: "Set cluster_address to the one of these at which the other nodes reach it."})
	}
	for _, at := range []struct {
		address string
		port    int
	}{{"127.0.0.1", ports.HTTP}, {n.address, ports.Server}, {n.address, ports.HTTPS}} {
		if at.port == 0 {
			continue
		}
		open, err := n.knock(ctx, net.JoinHostPort(at.address, strconv.Itoa(at.port)))
		if err != nil {
			return together(append(all, err))
		}
		if open && f.claim() == nil {
			all = append(all, &platform.Error{What: fmt.Sprintf("its engine cannot listen on %s port %d", at.address, at.port), Err: errPort,
				Next: fmt.Sprintf("See what it is with ss -ltnp sport = %d there and stop it, or set ports to others.", at.port)})
		}
	}
	return together(all)
}

// knock tells whether something listens on an address of the machine.
func (n *node) knock(ctx context.Context, address string) (bool, error) {
	bound, cancel := context.WithTimeout(ctx, portBound)
	defer cancel()
	conn, err := n.host.DialContext(bound, "tcp", address)
	if err == nil {
		return true, conn.Close()
	}
	refusal, refused := errors.AsType[*ssh.OpenChannelError](err)
	switch {
	case refused && refusal.Reason == ssh.Prohibited:
		return false, &platform.Error{What: "the engine's API cannot be reached through " + n.cfg.Address, Err: fmt.Errorf("%w: %w", errForwarding, err),
			Next: "Allow it there in /etc/ssh/sshd_config: AllowTcpForwarding local; then systemctl reload ssh."}
	case refused, bound.Err() != nil && ctx.Err() == nil:
		return false, nil
	}
	return false, err
}
