// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/holdfastdb/terraform-provider-holdfast"

// TestImports pins the direction of imports that ARCHITECTURE.md draws: a row
// names a package and what must never be linked into it.
func TestImports(t *testing.T) {
	for _, tc := range []struct {
		pkg    string
		denied []string // prefixes of import paths
		why    string
	}{
		{".", []string{"github.com/hashicorp/raft", "go.etcd.io/bbolt", module + "/engine/node", module + "/engine/kv", module + "/test"},
			"the provider speaks to agents and APIs; it links no engine, and nothing that is for tests"},
		{"./hostagent", []string{"github.com/hashicorp/terraform-plugin", module + "/internal", module + "/test"},
			"the host agent knows nothing of Terraform, and links nothing that is for tests"},
		{"./engine/kv", []string{module},
			"the state machine stands alone: no clock, no I/O, no other package of the project"},
		{"./engine/api", []string{"github.com", "golang.org", module + "/engine/kv"},
			"a client links the standard library only"},
		{"./engine/console", []string{"github.com/hashicorp/raft", module + "/engine/node", module + "/engine/failover", module + "/engine/httpapi"},
			"the console knows what the API says, and no raft"},
		{"./hostagent/agentapi", []string{"github.com/hashicorp", "golang.org"},
			"the agent's client links the standard library and engine/api only"},
		{"./hostagent/pki", []string{"github.com/hashicorp/raft", module + "/engine/node", "github.com/hashicorp/terraform-plugin", module + "/internal"},
			"certificates are made where no engine is"},
		{"./hostagent/rotation", []string{"github.com/hashicorp", "filippo.io", module + "/hostagent/pki", module + "/internal"},
			"the provider links it: it knows what agents say, and no key"},
		{"./engine/node", []string{module + "/hostagent", module + "/internal"},
			"imports point downward"},
		{"./internal/platform/...", []string{"github.com/hashicorp/terraform-plugin", module + "/engine/node"},
			"a platform knows nothing of Terraform or raft"},
	} {
		t.Run(tc.pkg, func(t *testing.T) {
			self := goList(t, "-f", "{{.ImportPath}}", tc.pkg)
			for _, dep := range goList(t, "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", tc.pkg) {
				if slices.Contains(self, dep) || dep == module+"/engine/api" {
					continue
				}
				for _, prefix := range tc.denied {
					if strings.HasPrefix(dep, prefix) {
						t.Errorf("%s links %s: %s", tc.pkg, dep, tc.why)
					}
				}
			}
		})
	}
}

func goList(t *testing.T, args ...string) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", append([]string{"list"}, args...)...).Output()
	if err != nil {
		t.Fatalf("go list %v: %v", args, err)
	}
	return strings.Fields(string(out))
}
