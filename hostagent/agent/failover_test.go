// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package agent

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/api"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
)

// What a person is told of a failover log, and that a healthy one is no problem.
func TestFailoverProblems(t *testing.T) {
	at := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	for name, tc := range map[string]struct {
		change func(*api.Failover)
		want   []string // parts of "what: why"
	}{
		"well":                {change: func(*api.Failover) {}},
		"disabled":            {change: func(f *api.Failover) { *f = api.Failover{Mode: "disabled", Active: "primary", Sides: []api.Side{}} }},
		"off by its settings": {change: func(f *api.Failover) { f.Off = "the threshold is above storage.max_sync_duration" }},
		"failed over": {
			change: func(f *api.Failover) {
				f.Active, f.LastSwitch = "secondary", &api.Switch{At: at, Reason: "an append took 100ms"}
			},
			want: []string{"a disk hangs: the log of the store /d1 writes to /side: an append took 100ms"},
		},
		"the primary fails": {change: func(f *api.Failover) { f.PrimaryError = "input/output error" }, want: []string{"the disk of the store /d1 fails: input/output error"}},
		"not armed": {change: func(f *api.Failover) { f.Sides[0].Armed, f.Sides[0].Error = false, "read-only file system" },
			want: []string{"the log of the store /d1 cannot fail over to /side: read-only file system"}},
		"not armed, and nobody knows why": {change: func(f *api.Failover) { f.Sides[0].Armed = false },
			want: []string{"the log of the store /d1 cannot fail over to /side: the side is not armed"}},
		"the side hangs": {change: func(f *api.Failover) { f.Sides[0].Healthy = false }, want: []string{"the side /side does not answer in time"}},
		"the side fills": {change: func(f *api.Failover) {
			f.Sides[0].Alarm, f.Sides[0].JournalBytes, f.Sides[0].BudgetBytes = true, 80, 100
		}, want: []string{"the side /side is almost full: 80 of 100 bytes"}},
		"nowhere to go":      {change: func(f *api.Failover) { f.Sides = nil }, want: []string{"the log of the store /d1 has nowhere to fail over to"}},
		"both disks at once": {change: func(f *api.Failover) { f.Active, f.Sides[0].Healthy = "secondary", false }, want: []string{"a disk hangs", "the side /side does not answer"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := api.Store{Path: "/d1", Device: "/dev/sdb", MajMin: "8:16",
				Failover: api.Failover{Mode: "side-disk", Active: "primary", Sides: []api.Side{{Path: "/side", Armed: true, Healthy: true}}}}
			tc.change(&s.Failover)
			got := failoverProblems(&api.NodeStores{Stores: []api.Store{s}})
			if len(got) != len(tc.want) {
				t.Fatalf("%+v", got)
			}
			for i, p := range got {
				if !strings.Contains(p.What+": "+p.Why, tc.want[i]) || p.Next == "" || p.At.IsZero() {
					t.Errorf("%+v, want %s", p, tc.want[i])
				}
			}
			if name == "failed over" && (!got[0].At.Equal(at) || !strings.Contains(got[0].Next, "/dev/sdb (8:16)")) {
				t.Errorf("%+v", got[0])
			}
		})
	}
}

// A side on the store's own device is told, once per store, with the device.
func TestSharedDevice(t *testing.T) {
	spec := twoStores()
	spec.Stores, spec.SideDisk, spec.WALFailover.Mode = spec.Stores[:1], &agentapi.SideDisk{Path: "/side"}, agentapi.SideDiskMode
	st := &agentapi.Status{
		Stores: []agentapi.StoreStatus{{Path: "/d1", Device: "/dev/sda1", MajMin: "8:1"}},
		Side:   &agentapi.StoreStatus{Path: "/side", Device: "/dev/sda1", MajMin: "8:1"},
	}
	var at time.Time
	want := []agentapi.Problem{{
		What: "failover has no disk of its own",
		Why:  "the store /d1 and the directory /side that its log fails over to are both on device /dev/sda1: when it hangs, both hang",
		Next: "Put it on another disk, or set the mode to disabled.", Beside: true,
	}}
	if diff := cmp.Diff(want, sharedDevices(spec, st, at)); diff != "" {
		t.Error(diff)
	}
	st.Side.MajMin = "8:17"
	if got := sharedDevices(spec, st, at); len(got) > 0 {
		t.Errorf("on two devices: %+v", got)
	}
	// Before its disk is mounted, it lies on whatever is below.
	st.Side.MajMin, st.Side.Mountpoint, spec.SideDisk.Disk = "8:1", "/", &agentapi.Disk{Mount: "/"}
	if got := sharedDevices(spec, st, at); len(got) != 1 {
		t.Errorf("mounted: %+v", got)
	}
	st.Side.Mountpoint, spec.SideDisk.Disk.Mount = "/", "/side"
	if got := sharedDevices(spec, st, at); len(got) > 0 {
		t.Errorf("not mounted: %+v", got)
	}
}
