// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cluster

import (
	"context"
	"slices"
	"strings"

	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
)

// cloudPart begins what a platform would do to machines that it makes, beside what their agents would.
const cloudPart = "gce: "

// wouldDo is what a platform that makes its machines would do; nothing on others.
func wouldDo(ctx context.Context, p platform.Platform, c platform.Cluster) (platform.Pending, error) {
	planner, ok := p.(platform.Planner)
	if !ok {
		return nil, nil
	}
	return planner.Pending(ctx, c)
}

func cloudLines(lines []string) []string {
	all := []string{}
	for _, l := range lines {
		all = append(all, cloudPart+l)
	}
	return all
}

// with is the node with what the platform would do to its machine, which comes before what its agent would. It
// takes the place of what was pending of that kind before.
func (n effectiveNode) with(cloud []string) effectiveNode {
	own := slices.DeleteFunc(slices.Clone(n.Pending), func(l string) bool { return strings.HasPrefix(l, cloudPart) })
	n.Pending = append(cloudLines(cloud), own...)
	return n
}
