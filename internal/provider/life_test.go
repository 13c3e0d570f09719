// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package provider_test

import (
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
)

// around are a key and both data sources beside a cluster.
const around = `
resource "holdfast_kv" "k" {
  local      = holdfast_cluster.c.local
  cluster_id = holdfast_cluster.c.id
  key        = "greeting"
  value      = %q
}

data "holdfast_cluster_status" "s" {
  local      = holdfast_cluster.c.local
  cluster_id = holdfast_cluster.c.id
}

data "holdfast_stores" "s" {
  local      = holdfast_cluster.c.local
  cluster_id = holdfast_cluster.c.id
}
`

// TestAccLife is the whole life of a cluster on loop devices: made, looked at, written
// to, changed in place, destroyed without a trace.
func TestAccLife(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("loop devices need root; TestAccLifePlain is the same on directories")
	}
	life(t, newSite(t, false))
}

// TestAccLifePlain is the same life on plain directories, as without root.
func TestAccLifePlain(t *testing.T) {
	life(t, newSite(t, true))
}

func life(t *testing.T, s *site) {
	t.Parallel()
	greet := func(value string) string { return fmt.Sprintf(around, value) }
	var id string // of the cluster, which no later step may change
	sameID := func(st *terraform.State) error {
		now := st.RootModule().Resources[address].Primary.ID
		if id == "" {
			id = now
		}
		if now == "" || now != id {
			return fmt.Errorf("the cluster's id is %q, and was %q", now, id)
		}
		return nil
	}
	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: s.providers(),
		CheckDestroy:             func(*terraform.State) error { return s.goneWithoutTrace() },
		Steps: []resource.TestStep{{
			Config: s.config("") + greet("hello"),
			Check: resource.ComposeAggregateTestCheckFunc(
				sameID,
				resource.TestCheckResourceAttrPair("data.holdfast_cluster_status.s", "id", address, "id"),
				resource.TestMatchResourceAttr("data.holdfast_cluster_status.s", "leader", regexp.MustCompile(`^[abc]$`)),
				resource.TestCheckResourceAttr("data.holdfast_stores.s", "stores.#", "3"),
				s.onDisks,
				s.readsEverywhere("greeting", "hello"),
			),
			ConfigStateChecks: []statecheck.StateCheck{
				statecheck.ExpectKnownValue(address, tfjsonpath.New("ready_nodes"), knownvalue.ListExact([]knownvalue.Check{
					knownvalue.StringExact("a"), knownvalue.StringExact("b"), knownvalue.StringExact("c")})),
				statecheck.ExpectKnownValue(address, tfjsonpath.New("endpoints"), knownvalue.MapSizeExact(3)),
				statecheck.ExpectKnownValue(address, tfjsonpath.New("effective").AtMapKey("b").AtMapKey("raft_logstore").AtMapKey("backend"), knownvalue.StringExact("wal")),
				statecheck.ExpectKnownValue(address, tfjsonpath.New("effective").AtMapKey("c").AtMapKey("spec_differences"), knownvalue.ListSizeExact(0)),
			},
			ConfigPlanChecks: before(
				plancheck.ExpectResourceAction(address, plancheck.ResourceActionCreate),
				plancheck.ExpectUnknownValue(address, tfjsonpath.New("endpoints")),
			),
		}, {
			// A setting, the log's level and its files take effect while the engines run.
			PreConfig: s.remember,
			Config: s.config(`
				settings = { "storage.max_sync_duration" = "30s" }
				log      = { level = "debug", buffering = { max_staleness = "1ms" } }`) + greet("hello"),
			ConfigPlanChecks: before(plancheck.ExpectResourceAction(address, plancheck.ResourceActionUpdate),
				plancheck.ExpectResourceAction("holdfast_kv.k", plancheck.ResourceActionNoop)),
			Check: resource.ComposeAggregateTestCheckFunc(sameID, s.setting("storage.max_sync_duration", "30s"), s.sameEngines,
				func(*terraform.State) error {
					for _, n := range []string{"a", "b", "c"} {
						if level := s.status(n).Spec.Log.Level; level != "debug" {
							return fmt.Errorf("node %s: log.level is %s", n, level)
						}
						s.logs(n, "reloaded: log_level=debug")
					}
					return nil
				}),
		}, {
			// The log cache needs a restart of every engine: one at a time, and nothing is lost.
			Config: s.config(`raft_logstore = { disable_log_cache = true }`) + greet("hello again"),
			ConfigPlanChecks: before(
				differ("a", "raft_logstore", false, true, "disable_log_cache"),
				differ("c", "raft_logstore", false, true, "disable_log_cache"),
				plancheck.ExpectResourceAction("holdfast_kv.k", plancheck.ResourceActionUpdate),
			),
			Check: resource.ComposeAggregateTestCheckFunc(sameID,
				s.setting("storage.max_sync_duration", ""), // it left the map: its default again
				s.readsEverywhere("greeting", "hello again"),
			),
		}, {
			// A key that somebody deletes is written again.
			PreConfig: func() {
				if err := s.client().Delete(t.Context(), "greeting", api.Write{}); err != nil {
					t.Fatal(err)
				}
			},
			Config: s.config(`raft_logstore = { disable_log_cache = true }`) + greet("hello again"),
			ConfigPlanChecks: before(plancheck.ExpectResourceAction("holdfast_kv.k", plancheck.ResourceActionCreate),
				plancheck.ExpectResourceAction(address, plancheck.ResourceActionNoop)),
			Check: s.readsEverywhere("greeting", "hello again"),
		}, {
			ResourceName:                         "holdfast_kv.k",
			ImportState:                          true,
			ImportStateId:                        "local:" + s.dir + "#greeting",
			ImportStateVerify:                    true,
			ImportStateVerifyIdentifierAttribute: "key",
			ImportStateVerifyIgnore:              []string{"cluster_id"},
		}},
	})
}

// onDisks checks what the stores lie on.
func (s *site) onDisks(*terraform.State) error {
	devices := map[string]bool{}
	for name, n := range s.nodes() {
		for _, st := range append(slices.Clone(n.Status.Stores), *n.Status.Side) {
			if (st.Device == "" || !strings.HasPrefix(st.Mountpoint, s.dir)) != s.plain {
				return fmt.Errorf("node %s: %s lies on %q, mounted at %s", name, st.Path, st.Device, st.Mountpoint)
			}
			devices[st.Device] = true
		}
	}
	if want := 6; !s.plain && len(devices) != want {
		return fmt.Errorf("the disks are %v: %d of %d", devices, len(devices), want)
	}
	return nil
}

// readsEverywhere checks that each node serves the key.
func (s *site) readsEverywhere(key, want string) resource.TestCheckFunc {
	return func(*terraform.State) error {
		for name, n := range s.nodes() {
			c, err := api.New(api.Config{Addresses: []string{n.Status.Engine.HTTPAddress}})
			if err != nil {
				return err
			}
			got, err := c.GetValue(s.t.Context(), key, api.Read{Consistency: api.Consistent})
			c.Close()
			if err != nil {
				return fmt.Errorf("node %s: %s: %w", name, key, err)
			}
			if string(got) != want {
				return fmt.Errorf("node %s: %s = %q, want %q", name, key, got, want)
			}
		}
		return nil
	}
}

// setting checks a setting that somebody set; "" is one that nobody did.
func (s *site) setting(name, want string) resource.TestCheckFunc {
	return func(*terraform.State) error {
		set, err := s.nodes().Settings(s.t.Context(), s)
		if err == nil && set[name] != want {
			err = fmt.Errorf("setting %s is %q, not %q", name, set[name], want)
		}
		return err
	}
}

// remember notes the engines' pids for sameEngines.
func (s *site) remember() {
	s.pids = map[string]int{}
	for name, n := range s.nodes() {
		s.pids[name] = n.Status.Engine.PID
	}
}

// logs waits until a line is in the log files of a node, which its engine was told
// to write while it ran.
func (s *site) logs(node, line string) {
	path := filepath.Join(s.dir, "nodes", node, "logs", "holdfast.log")
	s.eventually(10*time.Second, func() error {
		log, err := os.ReadFile(path)
		if err == nil && !strings.Contains(string(log), line) {
			err = fmt.Errorf("%s has no line with %q", path, line)
		}
		return err
	})
}

// sameEngines checks that no engine was restarted since remember.
func (s *site) sameEngines(*terraform.State) error {
	for name, n := range s.nodes() {
		if pid := n.Status.Engine.PID; pid != s.pids[name] || pid == 0 {
			return fmt.Errorf("node %s: the engine has pid %d, and had %d", name, pid, s.pids[name])
		}
	}
	return nil
}
