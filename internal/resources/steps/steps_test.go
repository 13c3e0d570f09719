// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package steps

import (
	"strings"
	"testing"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
)

// Each mistake is told at its attribute, and what a validator of the schema tells is not told again.
func TestProblems(t *testing.T) {
	shell := func(change func(*agentapi.Step)) agentapi.Step {
		s := agentapi.Step{Name: "packages", Shell: &agentapi.ShellStep{Inline: []string{"true"}}}
		change(&s)
		return s
	}
	file := func(change func(*agentapi.FileStep)) agentapi.Step {
		s := agentapi.Step{Name: "motd", File: &agentapi.FileStep{Path: "/etc/motd", Template: "hello {{ .token }}"}}
		change(s.File)
		return s
	}
	same := func(*agentapi.Step) {}
	for name, tc := range map[string]struct {
		steps []agentapi.Step
		want  []string // "attribute: what it says"
	}{
		"nothing wrong": {steps: []agentapi.Step{shell(same), file(func(f *agentapi.FileStep) { f.SecretVars = map[string]string{"token": "t"} })}},
		"a node that is none": {steps: []agentapi.Step{shell(func(s *agentapi.Step) { s.Only = []string{"a", "z"} })},
			want: []string{`provision.0.only.1: "z", which is none of a, b`}},
		"a secret that is not given": {steps: []agentapi.Step{shell(func(s *agentapi.Step) { s.Shell.SecretEnv = map[string]string{"TOKEN": "u"} })},
			want: []string{`provision.0.shell.secret_env.TOKEN: provision_secrets has nothing of that name`}},
		"secret and plain": {steps: []agentapi.Step{shell(same), file(func(f *agentapi.FileStep) {
			f.Vars, f.SecretVars = map[string]string{"token": "x"}, map[string]string{"token": "t"}
		})}, want: []string{`provision.1.file.secret_vars.token: that is no secret, too`}},
		"two of one name": {steps: []agentapi.Step{shell(same), shell(same)}, want: []string{"provision.1.name: "}},
		"told by the schema": {steps: []agentapi.Step{
			shell(func(s *agentapi.Step) { s.Timeout = "soon" }),
			file(func(f *agentapi.FileStep) { f.Mode, f.Vars = "rw", map[string]string{"token": "x"} }),
		}},
	} {
		t.Run(name, func(t *testing.T) {
			got := Problems(tc.steps, []string{"a", "b"}, []string{"t"})
			if len(got) != len(tc.want) {
				t.Fatalf("%+v", got)
			}
			for i, p := range got {
				at, says, _ := strings.Cut(tc.want[i], ": ")
				if p.At != at || !strings.Contains(p.Why, says) || p.Next == "" {
					t.Errorf("%+v, want %s", p, tc.want[i])
				}
			}
		})
	}
	if got := Problems([]agentapi.Step{shell(func(s *agentapi.Step) { s.Only = []string{"z"} })}, nil, nil); len(got) > 0 {
		t.Errorf("nodes that are not known: %+v", got)
	}
}
