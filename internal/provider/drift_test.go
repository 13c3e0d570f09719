// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package provider_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/terraform"
	"github.com/hashicorp/terraform-plugin-testing/tfjsonpath"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/api"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
)

// TestAccDrift changes a cluster behind Terraform's back, one thing after another.
// Each plan names the node, the attribute and both values; each apply takes the change
// back, and the plan after it is empty.
func TestAccDrift(t *testing.T) {
	t.Parallel()
	s := newSite(t, true) // what disks are made of makes no difference here
	const maxSync, threshold = "storage.max_sync_duration", "storage.wal_failover.unhealthy_op_threshold"
	cfg := s.config(fmt.Sprintf(`settings = { %q = "30s" }`, maxSync))
	setting := func(name string) tfjsonpath.Path { return tfjsonpath.New("settings").AtMapKey(name) }

	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: s.providers(),
		Steps: []resource.TestStep{{
			Config: cfg,
		}, {
			// An attribute that effective shows on its own.
			PreConfig: func() {
				s.putSpec("b", func(spec *agentapi.Spec) { spec.RaftLogStore.Verification.Interval = "5m" })
			},
			Config:           cfg,
			ConfigPlanChecks: before(differ("b", "raft_logstore", "5m", "60s", "verification", "interval")),
			Check:            s.spec("b", func(spec *agentapi.Spec) any { return spec.RaftLogStore.Verification.Interval }, "60s"),
		}, {
			// What a log would be kept in, were it new: the log itself stays what it is.
			PreConfig: func() {
				s.putSpec("c", func(spec *agentapi.Spec) { spec.RaftLogStore.Backend = "boltdb" })
			},
			Config: cfg,
			ConfigPlanChecks: before(
				differ("c", "raft_logstore", "boltdb", "wal", "configured_backend"),
				differ("c", "raft_logstore", "wal", "wal", "backend"),
			),
			Check: s.spec("c", func(spec *agentapi.Spec) any { return spec.RaftLogStore.Backend }, "wal"),
		}, {
			PreConfig: func() {
				s.putSpec("a", func(spec *agentapi.Spec) { spec.WALFailover.Mode = "side-disk" })
				// These are directories of one disk, and that helps nobody.
				if !slices.ContainsFunc(s.status("a").Problems, func(p agentapi.Problem) bool { return p.What == "failover has no disk of its own" }) {
					t.Errorf("the agent says of a side on its store's device: %+v", s.status("a").Problems)
				}
			},
			Config:           cfg,
			ConfigPlanChecks: before(differ("a", "wal_failover", "side-disk", "disabled", "mode")),
			Check:            s.spec("a", func(spec *agentapi.Spec) any { return spec.WALFailover.Mode }, "disabled"),
		}, {
			// Attributes that effective lists with both values in one line.
			PreConfig: func() {
				s.remember()
				s.putSpec("a", func(spec *agentapi.Spec) {
					spec.Log.Level = "trace"
					spec.ServerRules.LeaveOnTerminate = true
				})
			},
			Config:           cfg,
			ConfigPlanChecks: before(differ("a", "spec_differences", "[log.level: trace → info server.leave_on_terminate: true → false]", "[]")),
			Check: resource.ComposeAggregateTestCheckFunc(s.sameEngines,
				s.spec("a", func(spec *agentapi.Spec) any { return spec.Log.Level }, "info")),
		}, {
			// A setting of the configuration.
			PreConfig:        func() { s.setSetting(maxSync, new("25s")) },
			Config:           cfg,
			ConfigPlanChecks: before(differs{setting(maxSync), "25s", "30s"}),
			Check:            s.setting(maxSync, "30s"),
		}, {
			PreConfig:        func() { s.setSetting(maxSync, nil) },
			Config:           cfg,
			ConfigPlanChecks: before(differs{tfjsonpath.New("settings"), "map[]", "map[" + maxSync + ":30s]"}),
			Check:            s.setting(maxSync, "30s"),
		}, {
			// One that the configuration leaves at its default.
			PreConfig:        func() { s.setSetting(threshold, new("200ms")) },
			Config:           cfg,
			ConfigPlanChecks: before(differs{tfjsonpath.New("settings"), "map[" + maxSync + ":30s " + threshold + ":200ms]", "map[" + maxSync + ":30s]"}),
			Check:            s.setting(threshold, ""),
		}, {
			PreConfig: func() {
				if _, err := s.Node("c").Agent().Stop(t.Context()); err != nil {
					t.Fatal(err)
				}
			},
			Config: cfg,
			ConfigPlanChecks: before(
				differ("c", "engine", "stopped", "running"),
				differs{tfjsonpath.New("ready_nodes"), "[a b]", "[a b c]"},
			),
			Check: func(*terraform.State) error {
				if e := s.status("c").Engine; e.State != agentapi.EngineRunning || e.Wanted != agentapi.EngineRunning {
					return fmt.Errorf("the engine is %s, wanted %s", e.State, e.Wanted)
				}
				return nil
			},
		}},
	})
}

// TestAccKilled kills engines and agents. What was acknowledged stays; an engine comes
// back by itself, an agent by the next apply, and an election is no difference.
func TestAccKilled(t *testing.T) {
	t.Parallel()
	s := newSite(t, true)
	cfg := s.config("")
	const keys = 64
	var leader string
	var term uint64

	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: s.providers(),
		Steps: []resource.TestStep{{
			Config: cfg,
		}, {
			PreConfig: func() {
				s.write(keys)
				leader, term = s.leader()
				s.kill(s.status(leader).Engine.PID)
				s.serves(10 * time.Second)
				if now, newer := s.leader(); newer <= term {
					t.Fatalf("%s leads in term %d, %s did in term %d: there was no election", now, newer, leader, term)
				}
				if st := s.status(leader).Engine; st.Restarts != 1 || st.LastExit == "" {
					t.Errorf("the agent says: %d restarts, last exit %q", st.Restarts, st.LastExit)
				}
				s.read(leader, keys)
			},
			Config:   cfg,
			PlanOnly: true, // the plan has to be empty
		}, {
			// All engines at once: what was acknowledged is on disk.
			PreConfig: func() {
				for _, n := range s.nodes() {
					s.kill(n.Status.Engine.PID)
				}
				s.serves(20 * time.Second)
				for name := range s.nodes() {
					s.read(name, keys)
				}
			},
			Config:   cfg,
			PlanOnly: true,
		}, {
			PreConfig: func() {
				s.remember()
				s.kill(s.status("a").Agent.PID)
				s.read("a", keys) // its engine does not need it
			},
			Config: cfg,
			ConfigPlanChecks: before(
				differ("a", "agent", "unreachable", "running"),
				differs{tfjsonpath.New("ready_nodes"), "[b c]", "[a b c]"},
			),
			Check: s.sameEngines,
		}, {
			// Agents and the leader's engine at once: nobody starts that again but an apply.
			PreConfig: func() {
				leader, _ = s.leader()
				pid := s.status(leader).Engine.PID
				for _, n := range s.nodes() {
					s.kill(n.Status.Agent.PID)
				}
				s.kill(pid)
			},
			Config: cfg,
			ConfigPlanChecks: before(
				differ("a", "agent", "unreachable", "running"),
				differ("b", "agent", "unreachable", "running"),
				differ("c", "agent", "unreachable", "running"),
				plancheck.ExpectResourceAction(address, plancheck.ResourceActionUpdate),
			),
			Check: func(*terraform.State) error {
				s.serves(10 * time.Second)
				for name := range s.nodes() {
					s.read(name, keys)
				}
				return nil
			},
		}},
	})
}

// spec checks one attribute of the spec that is in force on a node.
func (s *site) spec(node string, attribute func(*agentapi.Spec) any, want any) resource.TestCheckFunc {
	return func(*terraform.State) error {
		if got := attribute(s.status(node).Spec); got != want {
			return fmt.Errorf("node %s has %v, not %v", node, got, want)
		}
		return nil
	}
}

// leader names who leads, and its term.
func (s *site) leader() (name string, term uint64) {
	s.t.Helper()
	s.eventually(10*time.Second, func() error {
		nodes := s.nodes()
		name = nodes.Leader()
		p, ok := nodes[name].Partition("default")
		if term = p.Term; !ok {
			return fmt.Errorf("no leader among %v", nodes.Names())
		}
		return nil
	})
	return name, term
}

// write puts n keys, each acknowledged.
func (s *site) write(n int) {
	s.t.Helper()
	c := s.client()
	for i := range n {
		if err := c.Put(s.t.Context(), fmt.Sprintf("acked/%d", i), fmt.Appendf(nil, "value %d", i), api.Write{}); err != nil {
			s.t.Fatal(err)
		}
	}
}

// read reads back what write wrote through one node's engine, as its machine has it.
func (s *site) read(node string, n int) {
	s.t.Helper()
	machines, err := s.Observe(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	c, err := api.New(api.Config{Addresses: []string{machines[node].Address + ":8500"}})
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	for i := range n {
		got, err := c.GetValue(s.t.Context(), fmt.Sprintf("acked/%d", i), api.Read{Consistency: api.Consistent})
		if err != nil || string(got) != fmt.Sprintf("value %d", i) {
			s.t.Fatalf("node %s: acked/%d is %q, %v", node, i, got, err)
		}
	}
}
