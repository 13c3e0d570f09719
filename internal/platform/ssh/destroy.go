// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package ssh

import (
	"context"
	_ "embed" // the script
	"fmt"
	"sync"

	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform/sshhost"
)

//go:embed script/forget.sh
var forgetScript string

// Destroy implements platform.Platform. A machine that does not answer is an error
// that names it, and the others are destroyed all the same.
func (p *Platform) Destroy(ctx context.Context, id string, progress func(string)) error {
	defer p.telling(progress)()
	return p.dismantle(ctx, id)
}

// dismantle takes a cluster from the machines that hold it. First all records say that it
// is being destroyed, then each machine is emptied, and when all are, the records go.
// Until then those of machines that are empty keep an apply from making the rest whole again
// with empty disks.
func (p *Platform) dismantle(ctx context.Context, id string) error {
	all := p.lookAll(ctx, p.names(), (*node).wait)
	failed := all.silent()
	var mu sync.Mutex // guards failed
	var ours []string
	for _, name := range all.names() {
		switch has := all[name].claim(); {
		case has == nil:
		case has.Cluster.ID == id:
			ours = append(ours, name)
		default:
			p.of(p.nodes[name])("left alone: it belongs to cluster %s (%s)", has.Cluster.Name, has.Cluster.ID)
		}
	}
	// phase does f on the nodes that did not fail, and returns those that still did not.
	phase := func(names []string, f func(*node, found, say) error) (well []string) {
		_ = p.each(names, func(n *node) error {
			err := f(n, all[n.name].found, p.of(n))
			mu.Lock()
			defer mu.Unlock()
			if failed.add(n.name, err); err == nil {
				well = append(well, n.name)
			}
			return nil // it is in failed
		})
		return well
	}
	emptied := phase(phase(ours, func(n *node, f found, _ say) error { return n.mark(ctx, f) }),
		func(n *node, f found, say say) error { return n.empty(ctx, id, f, say) })
	if len(failed) > 0 {
		if len(emptied) > 0 {
			p.tell("%d machines are empty; their records stay until the others are", len(emptied))
		}
		return &platform.Error{What: "not all of the cluster is destroyed", Err: failed.join(len(all)), Next: "Mend that and destroy again; an apply would not make it whole."}
	}
	phase(emptied, func(n *node, _ found, say say) error {
		say("removed")
		return n.forget(ctx)
	})
	return failed.join(len(all))
}

// mark has the record say that the destruction was begun. One that was lost is made again.
func (n *node) mark(ctx context.Context, f found) error {
	if f.record == nil {
		return n.claim(ctx, &record{Format: recordFormat, Version: recordVersion, Cluster: f.spec.Cluster, Node: f.spec.Node, Destroying: true})
	}
	if f.record.Destroying {
		return nil
	}
	next := *f.record
	next.Destroying = true
	return n.write(ctx, &next, false)
}

// empty removes what the machine has of the cluster, but for the record.
func (n *node) empty(ctx context.Context, id string, f found, say say) error {
	switch {
	case f.binary:
		say("stopping engine and agent, removing what the cluster has there")
		result, err := n.host.Run(ctx, sshhost.Command{What: "holdfast agent remove", Args: []string{binaryPath, "agent", "remove", "-cluster-id", id},
			Root: true, Idempotent: true, Timeout: removeBound})
		say.lines(result.Stdout)
		if err != nil {
			return err
		}
	case f.unit, f.spec != nil, f.pki: // the disks are as they were, too
		left := stateDir
		if f.unit {
			left = unitPath
		}
		return &platform.Error{What: n.cfg.Address + " cannot be emptied", Err: fmt.Errorf("%w: there is %s, and no %s", errNoBinary, left, binaryPath),
			Next: "Put the binary back there, and destroy again."}
	}
	return n.uninstall(ctx)
}

// forget removes the record.
func (n *node) forget(ctx context.Context) error {
	_, err := n.host.Run(ctx, sshhost.Command{What: "removing " + recordPath, Script: forgetScript, Root: true, Idempotent: true, Timeout: lookBound,
		Env: map[string]string{"DIR": stateDir, "MOUNTS": mountsDir}})
	return err
}
