// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package provider_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/terraform"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/api"
)

// says matches words as Terraform prints them, broken into lines anywhere.
func says(all ...string) *regexp.Regexp {
	var patterns []string
	for _, words := range all {
		var quoted []string
		for _, w := range strings.Fields(words) {
			quoted = append(quoted, regexp.QuoteMeta(w))
		}
		patterns = append(patterns, strings.Join(quoted, `\s+`))
	}
	return regexp.MustCompile(`(?s)` + strings.Join(patterns, `.*`))
}

// TestAccRefused asks an existing cluster for what it cannot become. Each is refused
// while it is planned, with words that say what to do, and changes and loses nothing.
func TestAccRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t, true)
	const key = `
resource "holdfast_kv" "k" {
  local      = holdfast_cluster.c.local
  cluster_id = holdfast_cluster.c.id
  key        = "kept"
  value      = "still here"
}
`
	cfg := s.config("") + key
	steps := []resource.TestStep{{Config: cfg}}
	for _, refused := range []struct {
		config string
		error  *regexp.Regexp
	}{
		{s.config(`raft_logstore = { backend = "boltdb" }`), says(`raft_logstore.backend: "wal" → "boltdb"`, `its conversion comes with the rollouts, which are not built yet`, `Set the backend back to "wal"`)},
		{s.config(`side_disk = { size_gb = 30 }`), says(`side_disk.size_gb: "25" → "30": disks are not resized yet`)},
		{s.config(`stores = [{ disk = { size_gb = 11 } }]`), says(`stores.0.disk.size_gb: "10" → "11"`)},
		{s.config(`stores = [{}, {}]`), says(`stores: "1" → "2"`)},
		{s.config(`ports = { http = 8600 }`), says(`ports.http: "8500" → "8600"`)},
		{strings.Replace(cfg, `"acc"`, `"other"`, 1), says(`name: "acc" → "other"`)},
		{strings.Replace(cfg, s.dir, s.dir+"-other", 1), says(`local.directory:`, `the disks are there`)},
		{strings.Replace(cfg, `c = {} }`, `d = {} }`, 1), says(`nodes added: d; nodes removed: c`, `a renamed node is another node with empty disks`)},
		{strings.Replace(cfg, `c = {} }`, `c = { voter = false } }`, 1), says(`nodes.c.voter: "true" → "false"`)},
		{cfg + strings.Replace(key, `"k"`, `"twice"`, 1), says(`The key is there already`, `Import it to take it over`)},
		{cfg + strings.NewReplacer(`"k"`, `"lost"`, "holdfast_cluster.c.id", `"00000000-0000-4000-8000-000000000000"`).Replace(key), says(`Another cluster is in its place`)},
	} {
		steps = append(steps, resource.TestStep{Config: refused.config, ExpectError: refused.error})
	}
	steps = append(steps, resource.TestStep{
		PreConfig: s.remember,
		Config:    cfg,
		PlanOnly:  true,
	}, resource.TestStep{
		Config: cfg,
		Check:  resource.ComposeAggregateTestCheckFunc(s.sameEngines, s.readsEverywhere("kept", "still here")),
	})
	resource.Test(t, resource.TestCase{ProtoV6ProviderFactories: s.providers(), Steps: steps})
}

// TestAccNotMade asks for clusters where none can be. Nothing of them exists after it.
func TestAccNotMade(t *testing.T) {
	t.Parallel()
	s := newSite(t, true)
	own := filepath.Join(s.dir, "thesis.txt")
	listener, err := net.Listen("tcp", "0.0.0.0:0") //nolint:gosec // on every address is what is tested
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }() // it accepts nothing
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: s.providers(),
		Steps: []resource.TestStep{{
			PreConfig: func() {
				if err := os.WriteFile(own, []byte("years of work"), 0o600); err != nil {
					t.Fatal(err)
				}
			},
			Config:      s.config(""),
			ExpectError: says(`The cluster cannot be made here`, `the directory holds something else`, `thesis.txt`, `Set local.directory to an empty or a new directory; nothing was changed in this one.`),
		}, {
			PreConfig: func() {
				if b, err := os.ReadFile(own); err != nil || string(b) != "years of work" {
					t.Fatalf("%q, %v", b, err)
				}
				if entries, err := os.ReadDir(s.dir); err != nil || len(entries) != 1 {
					t.Fatalf("%v, %v", entries, err)
				}
				if err := os.Remove(own); err != nil {
					t.Fatal(err)
				}
			},
			Config:      s.config("ports = { http = " + port + " }"),
			ExpectError: says(`The cluster cannot be made here`, `a node cannot listen on 127.0.`, `:`+port, `the port is in use`, fmt.Sprintf("by pid %d", os.Getpid())),
		}, {
			Config:      s.config(`binary = "/nowhere/holdfast"`),
			ExpectError: says(`the resource's binary is "/nowhere/holdfast"`, "make build"),
		}, {
			// Nobody made a cluster there, so that this one is as good as the first.
			Config: s.config(""),
			Check:  s.onDisks,
		}, {
			// A second resource for the same directory.
			Config:      s.config("") + strings.NewReplacer(`"c"`, `"second"`, `"acc"`, `"second"`).Replace(s.config("")),
			ExpectError: says(`The place belongs to another cluster`, `holds the cluster "acc", the configuration says "second"`),
		}},
	})
}

// TestAccBrokenNode breaks one node in ways that an apply must not mend by starting it
// empty. The others serve on, and once the cause is gone an apply brings it back.
func TestAccBrokenNode(t *testing.T) {
	t.Parallel()
	s := newSite(t, true)
	cfg := s.config("")
	storeOf := func(node string) string { return filepath.Join(s.dir, "nodes", node, "data1", "store") }
	aside := filepath.Join(t.TempDir(), "store")
	var listener net.Listener
	stopAll := func(node string) {
		st := s.status(node)
		s.kill(st.Agent.PID)
		s.kill(st.Engine.PID)
	}
	rename := func(from, to string) {
		t.Helper()
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: s.providers(),
		Steps: []resource.TestStep{{
			Config: cfg,
		}, {
			// Its store is gone, as when a disk is not mounted.
			PreConfig: func() {
				s.write(8)
				stopAll("a")
				rename(storeOf("a"), aside)
			},
			Config:      cfg,
			ExpectError: says(`node a:`, `it is missing or empty: its disk is not mounted, or was wiped`, `An empty log is never started in place of an old one`),
		}, {
			// Another node's store is in its place.
			PreConfig: func() {
				s.read("b", 8)
				stopAll("b")
				rename(storeOf("b"), storeOf("a"))
			},
			Config:      cfg,
			ExpectError: says(`it is a store of node "b", this one has "a"`),
		}, {
			PreConfig: func() {
				rename(storeOf("a"), storeOf("b"))
				rename(aside, storeOf("a"))
			},
			Config: cfg,
			Check:  s.readsEverywhere("acked/7", "value 7"),
		}, {
			// A stranger took a stopped engine's port.
			PreConfig: func() {
				if _, err := s.Node("c").Agent().Stop(t.Context()); err != nil {
					t.Fatal(err)
				}
				machines, err := s.Observe(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if listener, err = net.Listen("tcp", machines["c"].Address+":8500"); err != nil {
					t.Fatal(err)
				}
			},
			Config:      cfg,
			ExpectError: says(`a node cannot listen on 127.0.`, `the port is in use, by pid`, `Stop that process`),
		}, {
			PreConfig: func() {
				if err := listener.Close(); err != nil {
					t.Fatal(err)
				}
			},
			Config: cfg,
			Check:  s.readsEverywhere("acked/7", "value 7"),
		}, {
			// Somebody took all of it away: it is said, and a new cluster is made.
			PreConfig: func() {
				if err := destroy(s.dir); err != nil {
					t.Fatal(err)
				}
			},
			Config:           cfg,
			ConfigPlanChecks: before(plancheck.ExpectResourceAction(address, plancheck.ResourceActionCreate)),
			Check: func(*terraform.State) error {
				if _, err := s.client().GetValue(t.Context(), "acked/7", api.Read{}); err == nil {
					return fmt.Errorf("the new cluster has the old one's data")
				}
				return nil
			},
		}},
	})
}
