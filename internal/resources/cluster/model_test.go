// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cluster

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/diags"
)

func anyLog() *rapid.Generator[agentapi.RaftLogStore] {
	return rapid.Custom(func(t *rapid.T) agentapi.RaftLogStore {
		return agentapi.RaftLogStore{
			Backend:         rapid.SampledFrom(agentapi.Backends).Draw(t, "backend"),
			DisableLogCache: rapid.Bool().Draw(t, "cache"),
			Verification:    agentapi.Verification{Enabled: rapid.Bool().Draw(t, "verification"), Interval: rapid.SampledFrom([]string{"60s", "5m"}).Draw(t, "interval")},
			BoltDB:          agentapi.BoltDB{NoFreelistSync: rapid.Bool().Draw(t, "freelist")},
			WAL:             agentapi.WAL{SegmentSizeMB: rapid.IntRange(1, 3).Draw(t, "segment")},
		}
	})
}

// TestOverlay: what a node is imported with, laid over the cluster's, is the node's
// log store again; a node like the others has nothing of its own.
func TestOverlay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base, node := anyLog().Draw(t, "cluster"), anyLog().Draw(t, "node")
		o := overlayOf(node, base)
		if got := o.over(base); got != node {
			t.Errorf("%+v over %+v is %+v", o, base, got)
		}
		if (o == nil) != (node == base) {
			t.Errorf("%+v is %+v over %+v", node, o, base)
		}
		if got := logStoreOf(node).spec(); got != node {
			t.Errorf("%+v comes back as %+v", node, got)
		}
	})
}

// TestEffectiveHidesNothing: every attribute of a spec that a node differs in shows in
// effective: in an attribute of its own or in spec_differences.
func TestEffectiveHidesNothing(t *testing.T) {
	d := threeNodes()
	want, _ := d.spec("an id", "a", machines(d))
	all := agentapi.Diff(nil, want)
	var hidden []string
	for _, c := range all {
		if !slices.ContainsFunc(differences(&agentapi.Spec{}, want), func(line string) bool {
			return len(line) > len(c.Attribute) && line[:len(c.Attribute)+1] == c.Attribute+":"
		}) {
			hidden = append(hidden, c.Attribute)
		}
	}
	// These are attributes of effective. false → false is no difference.
	shown := []string{"raft_logstore.backend", "raft_logstore.boltdb.no_freelist_sync", "raft_logstore.disable_log_cache",
		"raft_logstore.verification.enabled", "raft_logstore.verification.interval", "raft_logstore.wal.segment_size_mb",
		"server.leave_on_terminate", "server.rejoin_after_leave", "server.skip_leave_on_interrupt", "wal_failover.mode"}
	if diff := cmp.Diff(shown, hidden); diff != "" {
		t.Error(diff)
	}
}

func TestThresholdAboveSync(t *testing.T) {
	for name, tc := range map[string]struct {
		set  map[string]string
		mode string
		warn bool
	}{
		"defaults":                    {nil, modeDisabled, false},
		"disabled anyway":             {map[string]string{settingThreshold: "2s", settingMaxSync: "1s"}, modeDisabled, false},
		"below the default":           {map[string]string{settingThreshold: "30s"}, modeSideDisk, false},
		"above the default":           {map[string]string{settingThreshold: "41s"}, modeAmongStores, true},
		"above what is set":           {map[string]string{settingThreshold: "2s", settingMaxSync: "1s"}, modeSideDisk, true},
		"equal":                       {map[string]string{settingThreshold: "1s", settingMaxSync: "1s"}, modeSideDisk, false},
		"below the default threshold": {map[string]string{settingMaxSync: "99ms"}, modeSideDisk, true},
		"what does not parse":         {map[string]string{settingThreshold: "long"}, modeSideDisk, false},
	} {
		p := thresholdAboveSync(tc.set, tc.mode)
		if (p != nil) != tc.warn {
			t.Errorf("%s: %v", name, p)
		}
		if p != nil && *p != (diags.Problem{At: "settings", What: p.What, Why: p.Why, Next: p.Next}) {
			t.Errorf("%s: it is about %s", name, p.At)
		}
	}
}
