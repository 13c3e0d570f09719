// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package stores

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/api"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
)

// tags are the names of a struct's fields under a key of their tags.
func tags(t reflect.Type, key string) []string {
	var names []string
	for f := range t.Fields() {
		name := f.Tag.Get(key)
		for i, c := range name {
			if c == ',' {
				name = name[:i]
				break
			}
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// What an engine tells of failover is here under the same names, all of it.
func TestFailoverHidesNothing(t *testing.T) {
	for name, pair := range map[string][2]reflect.Type{
		"failover":    {reflect.TypeFor[api.Failover](), reflect.TypeFor[failover]()},
		"sides":       {reflect.TypeFor[api.Side](), reflect.TypeFor[side]()},
		"last_switch": {reflect.TypeFor[api.Switch](), reflect.TypeFor[lastSwitch]()},
	} {
		if diff := cmp.Diff(tags(pair[0], "json"), tags(pair[1], "tfsdk")); diff != "" {
			t.Errorf("%s (-engine +data source):\n%s", name, diff)
		}
	}
	if diff := cmp.Diff(tags(reflect.TypeFor[rates](), "tfsdk"), slices.Sorted(maps.Keys(ratesAttributes()))); diff != "" {
		t.Errorf("rates (-model +schema):\n%s", diff)
	}
	if diff := cmp.Diff(tags(reflect.TypeFor[failover](), "tfsdk"), slices.Sorted(maps.Keys(failoverAttributes()))); diff != "" {
		t.Errorf("(-model +schema):\n%s", diff)
	}
}

// Every value arrives where its name is.
func TestDescribeFailover(t *testing.T) {
	const answer = `{"mode": "side-disk", "active": "secondary", "off": "o", "switch_count": 1, "hedge_count": 2, "primary_duration_ns": 3,
		"secondary_duration_ns": 4, "hedge_ns": 5, "last_switch": {"at": "2026-11-25T12:00:00.5Z", "reason": "r"}, "replayed": 6,
		"pending": 7, "pending_bytes": 8, "hung_ns": 9, "primary_error": "p", "sides": [{"path": "/side", "device": "/dev/sdc",
		"healthy": true, "armed": true, "free_bytes": 10, "journal_bytes": 11, "budget_bytes": 12, "alarm": true, "error": "e"}]}`
	var f api.Failover
	if err := json.Unmarshal([]byte(answer), &f); err != nil {
		t.Fatal(err)
	}
	want := failover{
		Mode: "side-disk", Active: "secondary", Off: "o", SwitchCount: 1, HedgeCount: 2, PrimaryDurationNS: 3,
		SecondaryDurationNS: 4, HedgeNS: 5, LastSwitch: &lastSwitch{At: f.LastSwitch.At.Format(time.RFC3339Nano), Reason: "r"}, Replayed: 6,
		Pending: 7, PendingBytes: 8, HungNS: 9, PrimaryError: "p", Sides: []side{{Path: "/side", Device: "/dev/sdc",
			Healthy: true, Armed: true, FreeBytes: 10, JournalBytes: 11, BudgetBytes: 12, Alarm: true, Error: "e"}},
	}
	if diff := cmp.Diff(want, describeFailover(f)); diff != "" {
		t.Error(diff)
	}
	if got := describeFailover(api.Failover{Mode: "disabled", Active: "primary"}); got.LastSwitch != nil || got.Sides == nil {
		t.Errorf("without a switch: %+v", got)
	}
}

// The rates of a node's disks are at the store whose disk was measured.
func TestDescribeRates(t *testing.T) {
	r := &agentapi.Rates{
		Data: []agentapi.DiskRate{{Path: "/d", IOPS: 1, BandwidthBytes: 2}, {Path: "/e", IOPS: 3, BandwidthBytes: 4}},
		Side: agentapi.DiskRate{Path: "/s", IOPS: 5, BandwidthBytes: 6}, Enough: true, Verdict: "v",
	}
	if diff := cmp.Diff(&rates{DataIOPS: 3, DataBandwidth: 4, SideIOPS: 5, SideBandwidth: 6, Enough: true, Verdict: "v"}, describeRates("/e", r)); diff != "" {
		t.Error(diff)
	}
	if got := describeRates("/f", r); got != nil || describeRates("/d", nil) != nil {
		t.Errorf("not measured: %+v", got)
	}
}
