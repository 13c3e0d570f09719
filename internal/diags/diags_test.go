// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package diags

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
)

func TestFromError(t *testing.T) {
	refused := &agentapi.Error{What: "the node spec is refused", Why: "ports.http = 0", Next: "Use 8500."}
	for name, tc := range map[string]struct {
		err  error
		want Problem
	}{
		"an agent's refusal keeps its advice": {
			fmt.Errorf("node b: %w", refused),
			Problem{What: "Apply", Why: "node b: the node spec is refused: ports.http = 0", Next: "Use 8500."},
		},
		"each of several keeps its own": {
			errors.Join(fmt.Errorf("node b: %w", refused), fmt.Errorf("node c: %w", &agentapi.Error{What: "no", Next: "Wait."})),
			Problem{What: "Apply", Why: "node b: the node spec is refused: ports.http = 0. Use 8500.\nnode c: no. Wait.", Next: "Try again."},
		},
		"a deadline names timeouts": {
			fmt.Errorf("node b: engine starting: %w", context.DeadlineExceeded),
			Problem{What: "Apply", Why: "node b: engine starting: context deadline exceeded", Next: "Try again. More time can be given in timeouts."},
		},
		"a problem keeps its own words": {
			Problem{What: "No binary", Why: "it is not there", Next: "Build it."},
			Problem{What: "No binary", Why: "it is not there", Next: "Build it."},
		},
		"anything else": {
			errors.New("no space left"),
			Problem{What: "Apply", Why: "no space left", Next: "Try again."},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, FromError("Apply", tc.err, "Try again.")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAttributePath(t *testing.T) {
	for at, want := range map[string]string{
		"name":                               `name`,
		"nodes.1.raft_logstore.backend":      `nodes["1"].raft_logstore.backend`,
		"stores.0.disk.size_gb":              `stores[0].disk.size_gb`,
		"nodes.nodes.address":                `nodes["nodes"].address`,
		"nodes.a.stores.1.match.by_id":       `nodes["a"].stores[1].match.by_id`,
		"provision.0.shell.secret_env.TOKEN": `provision[0].shell.secret_env["TOKEN"]`,
		"settings.storage.max_sync_duration": `settings["storage.max_sync_duration"]`,
	} {
		if got := attributePath(at).String(); got != want {
			t.Errorf("%s: got %s, want %s", at, got, want)
		}
	}
}
