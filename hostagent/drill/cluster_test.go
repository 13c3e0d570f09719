// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package drill

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/api"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
)

func TestChoose(t *testing.T) {
	disks := func(names ...string) (all []Disk) {
		for _, n := range names {
			all = append(all, Disk{Name: n})
		}
		return all
	}
	c := &Cluster{Name: "orders", Nodes: []Node{
		{Name: "a", state: "Leader", term: 3, Disks: disks("data1", "side")}, // it has not heard of the next one yet
		{Name: "b", state: "Leader", term: 4, Disks: disks("data1", "data2", "side")},
		{Name: "leader", state: "Follower", Disks: disks("data1")},
	}}
	single := &Cluster{Name: "one", Nodes: []Node{{Name: "a", state: "Leader", Disks: disks("data1")}}}
	none := &Cluster{Name: "none", Nodes: []Node{{Name: "a", state: "Candidate", Disks: disks("data1")}}}
	for _, tc := range []struct {
		c          *Cluster
		node, disk string
		want       string // node: disks, or the error
	}{
		{c, "a", "data", "a: data1"},
		{c, "b", "data2", "b: data2"},
		{c, "b", "side", "b: side"},
		{c, "b", "both", "b: data1 side"},
		{c, "leader", "data", "leader: data1"}, // a name comes first
		{c, "follower", "data", "a: data1"},
		{single, "leader", "data", "a: data1"},
		{c, "z", "data", "it has [a b leader]"},
		{c, "a", "data2", "node a has no disk data2; it has [data1 side]"},
		{single, "leader", "both", "has no disk side"},
		{single, "follower", "data", "one node only"},
		{none, "leader", "data", "has no leader now"},
	} {
		n, disks, err := tc.c.Choose(tc.node, tc.disk)
		got := n.Name + ":"
		for _, d := range disks {
			got += " " + d.Name
		}
		if err != nil {
			got = err.Error()
		}
		if got != tc.want && (err == nil || !strings.Contains(got, tc.want)) {
			t.Errorf("%s %s %s: %s, want %s", tc.c.Name, tc.node, tc.disk, got, tc.want)
		}
	}
}

func TestFindSaysWhatIsMissing(t *testing.T) {
	for _, tc := range []struct{ name, record, want string }{
		{"nothing", "", "there is no local cluster"},
		{"no JSON", "{", "cluster.json"},
		{"something else", `{"format": "other"}`, `format "other"`},
		{"made without root", `{"format": "holdfast-local-cluster", "name": "orders", "mode": "plain directories"}`, "sudo make run"},
		{"no agents", `{"format": "holdfast-local-cluster", "name": "orders", "mode": "loop devices"}`, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			if tc.record != "" {
				if err := os.WriteFile(filepath.Join(dir, "cluster.json"), []byte(tc.record), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want := tc.want
			if want == "" {
				if want = "no agent has a socket there"; os.Getuid() != 0 {
					want = "sudo"
				}
			}
			if _, err := Find(t.Context(), dir); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("error %v, want %s", err, want)
			}
		})
	}
}

func TestDescribe(t *testing.T) {
	got := describe(agentapi.Status{
		Node:  "a",
		Agent: agentapi.Agent{PID: 10},
		Spec:  &agentapi.Spec{WALFailover: agentapi.WALFailover{Mode: "side-disk"}},
		Engine: agentapi.Engine{PID: 11, HTTPAddress: "127.0.0.1:8500", Stores: &api.NodeStores{Stores: []api.Store{
			{Partitions: []api.Partition{{Name: "p2", State: "Follower"}}},
			{Partitions: []api.Partition{{Name: "default", State: "Leader", Term: 7}}},
		}}},
		Stores: []agentapi.StoreStatus{{Path: "/x/data1/store", Mountpoint: "/x/data1", Device: "/dev/loop1", MajMin: "7:1"}, {Path: "/x/data2/store"}},
		Side:   &agentapi.StoreStatus{Path: "/x/side"},
	})
	want := Node{
		Name: "a", Address: "127.0.0.1:8500", Mode: "side-disk", pids: []int{10, 11}, state: "Leader", term: 7,
		Disks: []Disk{
			{Name: "data1", Path: "/x/data1/store", Mountpoint: "/x/data1", Device: "/dev/loop1", MajMin: "7:1"},
			{Name: "data2", Path: "/x/data2/store"}, {Name: "side", Path: "/x/side"},
		},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(Node{})); diff != "" {
		t.Error(diff)
	}
}
