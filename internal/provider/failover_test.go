// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package provider_test

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/knownvalue"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/statecheck"
	"github.com/hashicorp/terraform-plugin-testing/terraform"
	"github.com/hashicorp/terraform-plugin-testing/tfjsonpath"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/api"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
)

// TestAccSideDisk is the life of a cluster that fails over to side disks: off and on
// again with data in it, one node at a time, nothing lost, no prev_path asked for, and
// every plan after an apply empty. As root, on disks of their own.
func TestAccSideDisk(t *testing.T) {
	t.Parallel()
	s := newSite(t, os.Geteuid() != 0)
	const keys = 64
	with := func(mode string) string { return s.config(fmt.Sprintf(`wal_failover = { mode = %q }`, mode)) }
	offNote, offCheck := s.inTurn()
	onNote, onCheck := s.inTurn()
	side := func(node string) string { return filepath.Join(s.dir, "nodes", node, "side", "store") }

	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: s.providers(),
		CheckDestroy:             func(*terraform.State) error { return s.goneWithoutTrace() },
		Steps: []resource.TestStep{{
			Config: with("side-disk") + fmt.Sprintf(around, "hello"),
			Check: resource.ComposeAggregateTestCheckFunc(s.armed,
				s.fails("side-disk", map[string][]string{"a": {side("a")}, "b": {side("b")}, "c": {side("c")}}),
				resource.TestCheckResourceAttrSet("data.holdfast_cluster_status.s", "on_secondary.#"),
				resource.TestCheckResourceAttr("data.holdfast_stores.s", "stores.0.failover.mode", "side-disk"),
				resource.TestMatchResourceAttr("data.holdfast_stores.s", "stores.0.failover.active", regexp.MustCompile("^(primary|secondary)$")),
				resource.TestCheckResourceAttr("data.holdfast_stores.s", "stores.0.failover.sides.0.path", side("a")),
				resource.TestCheckResourceAttrSet("data.holdfast_stores.s", "stores.0.failover.switch_count"),
			),
			ConfigStateChecks: []statecheck.StateCheck{
				statecheck.ExpectKnownValue(address, tfjsonpath.New("effective").AtMapKey("a").AtMapKey("wal_failover").AtMapKey("sides"),
					knownvalue.ListExact([]knownvalue.Check{knownvalue.StringExact(side("a"))})),
				statecheck.ExpectKnownValue(address, tfjsonpath.New("effective").AtMapKey("a").AtMapKey("side_disk").AtMapKey("path"), knownvalue.StringExact(side("a"))),
			},
			ConfigPlanChecks: before(plancheck.ExpectResourceAction(address, plancheck.ResourceActionCreate)),
		}, {
			// Failover off and on by settings: the engines run on.
			PreConfig: s.remember,
			Config: s.config(`
				wal_failover = { mode = "side-disk" }
				settings     = { "storage.wal_failover.unhealthy_op_threshold" = "41s" }`),
			ConfigPlanChecks: before(plancheck.ExpectResourceAction(address, plancheck.ResourceActionUpdate)),
			Check:            resource.ComposeAggregateTestCheckFunc(s.sameEngines, s.setting("storage.wal_failover.unhealthy_op_threshold", "41s"), s.turnedOff),
		}, {
			Config:           with("side-disk"),
			ConfigPlanChecks: before(plancheck.ExpectResourceAction(address, plancheck.ResourceActionUpdate)),
			Check:            resource.ComposeAggregateTestCheckFunc(s.sameEngines, s.setting("storage.wal_failover.unhealthy_op_threshold", ""), s.armed),
		}, {
			// Off, with data.
			PreConfig: func() { s.write(keys); offNote() },
			Config:    with("disabled"),
			ConfigPlanChecks: before(
				differ("a", "wal_failover", "side-disk", "disabled", "mode"),
				differ("c", "wal_failover", "["+side("c")+"]", "[]", "sides"),
			),
			Check: resource.ComposeAggregateTestCheckFunc(offCheck, s.fails("disabled", nil), s.keeps(keys)),
		}, {
			// And on again.
			PreConfig: onNote,
			Config:    with("side-disk"),
			ConfigPlanChecks: before(
				differ("b", "wal_failover", "disabled", "side-disk", "mode"),
				differ("b", "wal_failover", "[]", "["+side("b")+"]", "sides"),
			),
			Check: resource.ComposeAggregateTestCheckFunc(onCheck, s.armed,
				s.fails("side-disk", map[string][]string{"a": {side("a")}, "b": {side("b")}, "c": {side("c")}}), s.keeps(keys)),
		}, {
			// Somebody turns it off on one node, and has not restarted it: both values show.
			PreConfig: func() {
				s.putSpec("b", func(spec *agentapi.Spec) { spec.WALFailover.Mode = "disabled" })
				if got, want := s.engineFile("b"), "disabled,prev_path="+side("b"); got != want {
					t.Errorf("the next engine of b would start with %q, not %q", got, want)
				}
			},
			Config: with("side-disk"),
			ConfigPlanChecks: before(
				differ("b", "wal_failover", "disabled", "side-disk", "mode"),
				differ("b", "wal_failover", "[]", "["+side("b")+"]", "sides"),
			),
			Check: s.keeps(keys),
		}, {
			// Another side, as no configuration says it.
			PreConfig: func() {
				s.putSpec("c", func(spec *agentapi.Spec) {
					spec.SideDisk.Path, spec.SideDisk.Device = filepath.Join(s.dir, "nodes", "c", "elsewhere"), ""
				})
				if _, err := s.Node("c").Agent().Restart(t.Context()); err != nil {
					t.Fatal(err)
				}
				s.serves(20 * time.Second)
			},
			Config:           with("side-disk"),
			ConfigPlanChecks: before(differ("c", "wal_failover", "["+filepath.Join(s.dir, "nodes", "c", "elsewhere")+"]", "["+side("c")+"]", "sides")),
			Check: resource.ComposeAggregateTestCheckFunc(s.keeps(keys),
				s.fails("side-disk", map[string][]string{"a": {side("a")}, "b": {side("b")}, "c": {side("c")}})),
		}},
	})
}

// TestAccAmongStores: two stores per node, a partition each, whose logs fail over to
// each other; off and on again without naming them.
func TestAccAmongStores(t *testing.T) {
	t.Parallel()
	s := newSite(t, os.Geteuid() != 0)
	const stores = `stores = [{ disk = { size_gb = 1 }, attrs = ["fast"] }, { disk = { size_gb = 2 } }]`
	with := func(mode string) string {
		return s.config(stores + "\n" + fmt.Sprintf(`wal_failover = { mode = %q }`, mode))
	}
	dirs := func(node string) []string {
		return []string{filepath.Join(s.dir, "nodes", node, "data1", "store"), filepath.Join(s.dir, "nodes", node, "data2", "store")}
	}
	offNote, offCheck := s.inTurn()
	onNote, onCheck := s.inTurn()
	among := s.fails("among-stores", map[string][]string{"a": dirs("a"), "b": dirs("b"), "c": dirs("c")})
	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: s.providers(),
		CheckDestroy:             func(*terraform.State) error { return s.goneWithoutTrace() },
		Steps: []resource.TestStep{{
			Config: with("among-stores") + fmt.Sprintf(around, "hello"),
			Check: resource.ComposeAggregateTestCheckFunc(among, s.armed, s.writePartitions,
				resource.TestCheckResourceAttr("data.holdfast_stores.s", "stores.#", "6"),
				resource.TestCheckResourceAttr("data.holdfast_stores.s", "stores.1.partitions.0.name", "p2"),
				resource.TestCheckResourceAttr("data.holdfast_stores.s", "stores.1.failover.mode", "among-stores"),
				resource.TestCheckResourceAttr(address, "effective.a.stores.#", "2"),
			),
			ConfigPlanChecks: before(plancheck.ExpectResourceAction(address, plancheck.ResourceActionCreate)),
		}, {
			PreConfig:        offNote,
			Config:           with("disabled"),
			ConfigPlanChecks: before(differ("a", "wal_failover", "among-stores", "disabled", "mode")),
			Check:            resource.ComposeAggregateTestCheckFunc(offCheck, s.fails("disabled", nil), s.readPartitions),
		}, {
			PreConfig:        onNote,
			Config:           with("among-stores"),
			ConfigPlanChecks: before(differ("c", "wal_failover", "[]", fmt.Sprint(dirs("c")), "sides")),
			Check:            resource.ComposeAggregateTestCheckFunc(onCheck, among, s.armed, s.readPartitions),
		}, {
			// A side disk is for one store, and the stores are there.
			Config:      with("side-disk"),
			ExpectError: regexp.MustCompile(`A side disk is for one store`),
		}, {
			Config:   with("among-stores"),
			PlanOnly: true,
		}},
	})
}

// fails checks where the logs of every node fail over to, in the specs, in what the
// next engine would start with, and in what the engines that run say; nothing of an
// earlier side is left anywhere.
func (s *site) fails(mode string, sides map[string][]string) resource.TestCheckFunc {
	return func(*terraform.State) error {
		var errs []error
		for name, n := range s.nodes() {
			bad := func(format string, args ...any) {
				errs = append(errs, fmt.Errorf("node %s: "+format, append([]any{name}, args...)...))
			}
			spec := n.Status.Spec
			if got := spec.Sides(); spec.WALFailover.Mode != mode || !slices.Equal(got, sides[name]) {
				bad("its spec fails over %s to %q, not %s to %q", spec.WALFailover.Mode, got, mode, sides[name])
			}
			if got := s.engineFile(name); strings.Contains(got, "prev_path") {
				bad("the next engine would start with %q", got)
			}
			for _, st := range n.Status.Engine.Stores.Stores {
				f := st.Failover
				if f.Mode != mode {
					bad("the log of %s fails over %s", st.Path, f.Mode)
				}
				for _, side := range f.Sides {
					if !slices.Contains(sides[name], side.Path) {
						bad("the log of %s fails over to %s", st.Path, side.Path)
					}
				}
			}
		}
		return errors.Join(errs...)
	}
}

// turnedOff waits until the settings keep every log from failing over.
func (s *site) turnedOff(*terraform.State) error {
	s.eventually(10*time.Second, func() error {
		for name, n := range s.nodes() {
			for _, st := range n.Status.Engine.Stores.Stores {
				if !strings.Contains(st.Failover.Off, "storage.wal_failover.unhealthy_op_threshold") {
					return fmt.Errorf("node %s: %+v", name, st.Failover)
				}
			}
		}
		return nil
	})
	return nil
}

// engineFile is wal_failover as the next engine of a node starts with it.
func (s *site) engineFile(node string) string {
	s.t.Helper()
	b, err := os.ReadFile(filepath.Join(s.dir, "nodes", node, "engine.json"))
	var f struct {
		WALFailover string `json:"wal_failover"`
	}
	if err = cmp.Or(err, json.Unmarshal(b, &f)); err != nil {
		s.t.Fatal(err)
	}
	return f.WALFailover
}

// keeps checks through every node that what write wrote is there.
func (s *site) keeps(n int) resource.TestCheckFunc {
	return func(*terraform.State) error {
		for name := range s.nodes() {
			s.read(name, n)
		}
		return nil
	}
}

// inTurn notes what is there before an apply, and returns a check that each engine
// was restarted since, one after the other, and last the one that led most. That no
// two are away at once is the rollout's gate, and its own test.
func (s *site) inTurn() (note func(), check resource.TestCheckFunc) {
	var leader string // of the most partitions
	note = func() {
		s.remember()
		nodes := s.nodes()
		led := map[string]int{}
		for _, p := range nodes.Partitions() {
			led[nodes.LeaderOf(p)]++
		}
		names := nodes.Names()
		slices.SortStableFunc(names, func(a, b string) int { return led[a] - led[b] })
		leader = names[len(names)-1]
	}
	check = func(*terraform.State) error {
		last, began := "", time.Time{}
		for name, n := range s.nodes() {
			e := n.Status.Engine
			if e.PID == s.pids[name] || e.Restarts > 0 {
				return fmt.Errorf("node %s: pid %d, was %d; %d unwanted restarts", name, e.PID, s.pids[name], e.Restarts)
			}
			if e.StartedAt.After(began) {
				last, began = name, e.StartedAt
			}
		}
		if last != leader {
			return fmt.Errorf("%s was restarted last, and %s led", last, leader)
		}
		return nil
	}
	return note, check
}

// writePartitions writes a key of the same name to each partition.
func (s *site) writePartitions(*terraform.State) error {
	for partition, value := range partitions {
		if err := s.client().Put(s.t.Context(), "k", []byte(value), api.Write{Partition: partition}); err != nil {
			return fmt.Errorf("partition %s: %w", partition, err)
		}
	}
	return nil
}

var partitions = map[string]string{"default": "in the first", "p2": "in the second"}

// readPartitions reads the keys of writePartitions.
func (s *site) readPartitions(*terraform.State) error {
	for partition, want := range partitions {
		got, err := s.client().GetValue(s.t.Context(), "k", api.Read{Partition: partition, Consistency: api.Consistent})
		if err != nil {
			return fmt.Errorf("partition %s: %w", partition, err)
		}
		if string(got) != want {
			return fmt.Errorf("partition %s: %q, want %q", partition, got, want)
		}
	}
	return nil
}

// goneWithoutTrace checks after a destroy.
func (s *site) goneWithoutTrace() error {
	if left := leftovers(s.dir); len(left) > 0 {
		return errors.New("left behind:\n" + strings.Join(left, "\n"))
	}
	return nil
}
