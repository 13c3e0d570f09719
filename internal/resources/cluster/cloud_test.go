// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cluster

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform/gce"
)

// TestCloudOf goes from a configuration to machines and back: an import gives the configuration again, as short as
// it was.
func TestCloudOf(t *testing.T) {
	for name, tc := range map[string]struct{ o, back gceObject }{
		"the least": {o: gceObject{Network: new("default"), MachineType: new("n2-standard-4"), Image: defaultImage, User: defaultUser}},
		"all of it": {o: gceObject{Network: new("backend"), MachineType: new("n2-standard-4"), Image: "projects/p/global/images/i", BootDiskType: new("pd-ssd"),
			ServiceAccount: new("a@p.iam.gserviceaccount.com"), Labels: map[string]string{"team": "orders"}, Tags: []string{"db"}, External: true,
			User: "admin", SSHRanges: []string{"203.0.113.7/32"}, ByServiceAccount: true}},
		"nothing is as good as none": {
			o:    gceObject{Network: new("default"), MachineType: new("n2-standard-4"), Image: defaultImage, User: defaultUser, Labels: map[string]string{}, Tags: []string{}},
			back: gceObject{Network: new("default"), MachineType: new("n2-standard-4"), Image: defaultImage, User: defaultUser}},
		"a path is its name": {
			o:    gceObject{Network: new("projects/acme-prod/global/networks/backend"), MachineType: new("n2-standard-4"), Image: defaultImage, User: defaultUser},
			back: gceObject{Network: new("backend"), MachineType: new("n2-standard-4"), Image: defaultImage, User: defaultUser}},
	} {
		t.Run(name, func(t *testing.T) {
			if tc.back.User == "" {
				tc.back = tc.o
			}
			tc.back.Project = "acme-prod"
			m := tc.o.machines(map[string]nodeObject{"a": {Zone: new("us-east4-a")}, "b": {Zone: new("us-west2-b")}}, []storeObject{{}}, diskObject{})
			for node, n := range m.Nodes { // as the project has it: of each machine
				n.MachineType = m.MachineType
				m.Nodes[node] = n
			}
			if diff := cmp.Diff(tc.back, cloudOf("acme-prod", *m)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// A disk that says no more than its size is of the default type, and is imported as such.
func TestDiskOf(t *testing.T) {
	for _, o := range []diskObject{
		{SizeGB: 100},
		{SizeGB: 100, Type: new("hyperdisk-balanced"), IOPS: new(int64(4000)), Throughput: new(int64(200))},
	} {
		if diff := cmp.Diff(o, diskOf(100, o.kind())); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	}
}

// What the platform would do comes first, and takes the place of what it was a moment ago; what the agent would do stays.
func TestPendingOfANode(t *testing.T) {
	n := effectiveNode{Pending: []string{"gce: stop machine x", "disks: grow the ext4 of /dev/sdb from 10G to 12G"}}
	want := []string{"gce: start machine orders-b", "disks: grow the ext4 of /dev/sdb from 10G to 12G"}
	if diff := cmp.Diff(want, n.with([]string{"start machine orders-b"}).Pending); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if n.Pending[0] != "gce: stop machine x" {
		t.Error("it was changed where others have it")
	}
}

// planning is a platform that makes its machines.
type planning struct {
	fakePlatform
	pending platform.Pending
	err     error
}

func (p *planning) Pending(context.Context, platform.Cluster) (platform.Pending, error) {
	return p.pending, p.err
}

// TestLookAtTheCloud: what Google cannot be asked is told; what cannot be done is told by the plan of the configuration, and
// not by the refresh of the last one. Seen to fail with every error of Pending left out.
func TestLookAtTheCloud(t *testing.T) {
	for name, tc := range map[string]struct {
		pending platform.Pending
		err     error
		want    []string // pending
		told    string
	}{
		"the firewall": {pending: platform.Pending{"": {"create firewall rule holdfast-orders-nodes"}}, want: []string{"gce: create firewall rule holdfast-orders-nodes"}},
		"silent":       {err: &platform.Error{What: "what is in the project", Err: fmt.Errorf("disks.list: %w", gce.ErrTemporary)}, want: []string{}, told: noCloud},
		"refused":      {err: &platform.Error{What: "disk d cannot become what is asked for", Err: gce.ErrTaken}, want: []string{}},
	} {
		t.Run(name, func(t *testing.T) {
			v := look(t.Context(), &planning{pending: tc.pending, err: tc.err}, "id", desired{}, nil)
			if diff := cmp.Diff(tc.want, v.pending); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			var told []string
			for _, p := range v.silent {
				told = append(told, p.What)
			}
			if got := strings.Join(told, ", "); got != tc.told {
				t.Errorf("told %q, want %q", got, tc.told)
			}
		})
	}
}
