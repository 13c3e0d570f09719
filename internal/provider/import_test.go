// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package provider_test

import (
	"fmt"
	"regexp"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
)

// TestAccImport takes over a cluster that no state knows, with settings and with a node
// that differs from the others: the plan after it is empty, and the cluster is
// protected until somebody says otherwise.
func TestAccImport(t *testing.T) {
	t.Parallel()
	s := newSite(t, true)
	cfg := func(protected bool) string {
		return fmt.Sprintf(`
resource "holdfast_cluster" "c" {
  name  = "acc"
  local = { directory = %q }
  nodes = {
    a = {}
    b = {}
    c = { raft_logstore = { verification = { interval = "5m" } } }
    d = { voter = false }
  }
  ports               = { http = 8600 }
  stores              = [{ disk = { size_gb = 2 }, attrs = ["ssd", "fast"] }, { disk = { size_gb = 3 } }]
  side_disk           = { size_gb = 26 }
  raft_logstore       = { backend = "boltdb", boltdb = { no_freelist_sync = true } }
  log                 = { level = "warn" }
  server              = { leave_on_terminate = true }
  settings            = { "storage.max_sync_duration" = "30s" }
  deletion_protection = %t
}
`, s.dir, protected)
	}
	resource.Test(t, resource.TestCase{
		ProtoV6ProviderFactories: s.providers(),
		Steps: []resource.TestStep{{
			Config: cfg(true),
		}, {
			ResourceName:      address,
			ImportState:       true,
			ImportStateId:     "local:" + s.dir,
			ImportStateVerify: true,
		}, {
			ResourceName:    address,
			ImportState:     true,
			ImportStateKind: resource.ImportBlockWithID, // fails where its plan is not empty
			ImportStateId:   "local:" + s.dir,
		}, {
			ResourceName:  address,
			ImportState:   true,
			ImportStateId: s.dir,
			ExpectError:   regexp.MustCompile(`write\s+local:DIRECTORY`),
		}, {
			ResourceName:  address,
			ImportState:   true,
			ImportStateId: "local:" + t.TempDir(),
			ExpectError:   regexp.MustCompile(`(?s)There is no cluster to import.*holds none`),
		}, {
			Config:      cfg(true),
			Destroy:     true,
			ExpectError: regexp.MustCompile(`(?s)The cluster is protected.*deletion_protection = false`),
		}, {
			Config:           cfg(false),
			ConfigPlanChecks: before(plancheck.ExpectResourceAction(address, plancheck.ResourceActionUpdate)),
		}},
	})
}
