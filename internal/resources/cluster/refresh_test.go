// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cluster

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/terraform-plugin-framework/diag"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
)

// A plan that mends a node whose agent is gone leaves agent_version open. What it
// says of the rest is binding all the same: after a reboot the disks come back as
// other loop devices, and the apply must not show them before the next refresh.
// Seen failing with effective read by decode, which wants every value known.
func TestPlannedEffectiveOfASilentNode(t *testing.T) {
	d := desired{mode: modeDisabled, nodes: map[string]desiredNode{"a": {voter: true, log: agentapi.RaftLogStore{Backend: "wal"}}}}
	before := effectiveNode{
		Agent: agentUnreachable, Engine: agentapi.EngineRunning,
		Stores: []effectiveStore{{Path: "/srv/a/data1/store", Device: "/dev/loop1", SizeBytes: 10 << 30}},
	}
	before.RaftLogStore.Backend = "wal"
	v, ds := effectiveValue(t.Context(), map[string]effectiveNode{"a": d.planned("a", before, nil)})
	if ds.HasError() {
		t.Fatal(ds)
	}
	m := model{Effective: v}
	var read diag.Diagnostics
	planned := m.effectiveOf(t.Context(), &read)
	if read.HasError() {
		t.Fatal(read)
	}
	if !planned["a"].AgentVersion.IsUnknown() {
		t.Errorf("agent_version is %v, want unknown", planned["a"].AgentVersion)
	}
	after := before
	after.Stores = []effectiveStore{{Path: "/srv/a/data1/store", Device: "/dev/loop2", SizeBytes: 10 << 30}}
	if diff := cmp.Diff(before.Stores, seen(after, planned["a"]).Stores); diff != "" {
		t.Errorf("stores after the apply (-planned +state):\n%s", diff)
	}
}
