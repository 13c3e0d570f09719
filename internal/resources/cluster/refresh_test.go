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
		Stores: []effectiveStore{onDisk("/srv/a/data1/store", "/dev/loop1", 10<<30)},
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
	after.Stores = []effectiveStore{onDisk("/srv/a/data1/store", "/dev/loop2", 10<<30)}
	if diff := cmp.Diff(before.Stores, seen(after, planned["a"]).Stores); diff != "" {
		t.Errorf("stores after the apply (-planned +state):\n%s", diff)
	}
}

// What a node did not reach is told with the node's own words, also where its engine runs;
// what is wrong with a node that reached all is no failure.
func TestShortSaysWhy(t *testing.T) {
	d := threeNodes()
	v := view{effective: asWanted(d), specs: specs(d), problems: map[string][]agentapi.Problem{
		"a": {{What: "the log is slow", Why: "its disk is busy"}},
		"b": {{What: "the step tune failed", Why: "exit status 3", Next: "Mend its script."}},
	}}
	if got := v.short(d); got != nil {
		t.Errorf("all was reached: %q", got)
	}
	b := v.effective["b"]
	b.Pending = []string{"provision: run step tune"}
	v.effective["b"] = b
	if diff := cmp.Diff([]string{"node b: provision: run step tune", "node b: the step tune failed: exit status 3. Mend its script."}, v.short(d)); diff != "" {
		t.Error(diff)
	}
}

// A plan that cannot look at machines does not promise the sides that another mode gives.
func TestPlanWithoutMachines(t *testing.T) {
	d := onMachines()
	for name, tc := range map[string]struct {
		mode  string
		specs bool
		open  bool
	}{
		"the same mode":           {mode: d.mode},
		"another mode":            {mode: modeSideDisk, open: true},
		"another mode, and specs": {mode: modeSideDisk, specs: true},
	} {
		want := d
		want.mode = tc.mode
		var all map[string]*agentapi.Spec
		if tc.specs {
			all = specs(want)
		}
		var m model
		if ds := m.plan(t.Context(), &model{}, want, asWanted(d), all); ds.HasError() {
			t.Fatal(ds)
		}
		if m.Effective.IsUnknown() != tc.open {
			t.Errorf("%s: %v", name, m.Effective)
		}
	}
}
