// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package env

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/holdfastdb/terraform-provider-holdfast/internal/diags"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/observe"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
)

// Cluster is a cluster that is there, found by the place where it lives.
type Cluster struct {
	Name, ID string
	Platform platform.Platform
	Machines map[string]platform.Machine
}

// Reach finds the cluster in a place. id, where it is not empty, has to be the cluster's.
func (e *Env) Reach(ctx context.Context, l Location, id string) (*Cluster, error) {
	p, err := e.Open(l)
	if err != nil {
		return nil, err
	}
	name, found, ok, err := p.Adopt(ctx)
	switch {
	case err != nil:
		return nil, err
	case !ok:
		return nil, diags.Problem{At: l.attribute(), What: "There is no cluster", Why: l.String() + " holds none",
			Next: "Name the place of a holdfast_cluster. Where that is made in the same apply, set cluster_id = holdfast_cluster.NAME.id, so that it is made first."}
	case id != "" && id != found:
		return nil, diags.Problem{At: "cluster_id", What: "Another cluster is in its place",
			Why:  fmt.Sprintf("%s holds the cluster %q with the id %s, cluster_id says %s", l, name, found, id),
			Next: "Name the place of the cluster that is meant."}
	}
	machines, err := p.Observe(ctx)
	if err != nil {
		return nil, err
	}
	return &Cluster{Name: name, ID: found, Platform: p, Machines: machines}, nil
}

// Nodes asks every node what it is.
func (c *Cluster) Nodes(ctx context.Context) observe.Nodes {
	return observe.Agents(ctx, c.Platform, slices.Sorted(maps.Keys(c.Machines)))
}
