// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

//go:build linux

package ssh

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform/sshhost"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform/sshhost/sshdtest"
)

// TestBake: the binary is installed, steps run, the machine is sealed last; a step that fails ends it unsealed. Secrets are in
// no progress and no error.
func TestBake(t *testing.T) {
	t.Parallel()
	m := startMachine(t, sshdtest.Options{})
	cfg := configOf(m)
	give(t, &cfg, m)
	bin, hash := build(t, "1")
	step := func(name string) agentapi.Step {
		return agentapi.Step{Name: name, Shell: &agentapi.ShellStep{Script: "true", SecretEnv: map[string]string{"T": "token"}}}
	}
	const token = "correct-horse-battery"
	in := Baking{Binary: bin, Steps: []agentapi.Step{step("one"), step("two")}, Secrets: agentapi.Secrets{"token": token}}
	var s steps
	sum, err := Bake(within(t), cfg.Nodes["a"], cfg.Access, in, s.add)
	if err != nil || sum != hash {
		t.Fatalf("%s, %v", sum, err)
	}
	if !slices.Contains(s.lines, "step one with [secret removed]") || !slices.Contains(s.lines, "step two with [secret removed]") {
		t.Errorf("told: %q", s.lines)
	}
	sealed := []string{"image seal -yes -user " + m.User}
	if diff := cmp.Diff(sealed, m.calls(t)); diff != "" {
		t.Errorf("commands: %s", diff)
	}

	in.Steps = append(in.Steps, step("fails"))
	_, err = Bake(within(t), cfg.Nodes["a"], cfg.Access, in, s.add)
	wantError(t, err, errSteps, "it failed with [secret removed]")
	if calls := m.calls(t); len(calls) > 0 {
		t.Errorf("after a step that failed: %q", calls)
	}
	if all := strings.Join(s.lines, "\n"); strings.Contains(all, token) || strings.Contains(err.Error(), token) {
		t.Errorf("the secret is told: %v\n%s", err, all)
	}

	in.Binary = "/nowhere/holdfast"
	if _, err = Bake(within(t), cfg.Nodes["a"], cfg.Access, in, s.add); err == nil {
		t.Error("a binary that is not there")
	}
	cfg.Nodes["a"] = Node{User: m.User, Address: "127.0.0.1", Port: m.Port, HostKeys: []string{sshdtest.NewKey(t).Line()}}
	in.Binary = bin
	_, err = Bake(within(t), cfg.Nodes["a"], cfg.Access, in, s.add)
	wantError(t, err, sshhost.ErrHostKey)
}
