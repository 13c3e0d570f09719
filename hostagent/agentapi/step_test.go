// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package agentapi

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What a plan shows of steps: names and short values, a hash of everything long, and
// the order where that is what changes. Seen to fail without digests (the script shows)
// and without reordered (no change).
func TestDiffSteps(t *testing.T) {
	base := func() []Step {
		return []Step{
			{Name: "motd", File: &FileStep{Path: "/etc/motd", Template: "hello {{.who}}", Vars: map[string]string{"who": "you"}, Mode: "0644"}},
			{Name: "tune", Timeout: "5m", Shell: &ShellStep{Inline: []string{"sysctl -w a=1", "true"}, Env: map[string]string{"A": "1"}, SecretEnv: map[string]string{"PW": "db"}}},
		}
	}
	for _, tc := range []struct {
		name string
		edit func(s *Spec)
		want []Change
	}{
		{"nothing", func(*Spec) {}, nil},
		{"a template", func(s *Spec) { s.Provision[0].File.Template = "bye {{.who}}" }, []Change{
			{"provision.motd.file.template", "sha256:5101e7421e59…", "sha256:4f3c89c23ee7…", false}}},
		{"commands", func(s *Spec) { s.Provision[1].Shell.Inline = []string{"sysctl -w a=1,true"} }, []Change{
			{"provision.tune.shell.inline", "sha256:6f35e218ccdd…", "sha256:e38dd627b1dc…", false}}},
		{"a long value", func(s *Spec) { s.Provision[1].Shell.Env["A"] = strings.Repeat("x", 81) }, []Change{
			{"provision.tune.shell.env.A", "1", "sha256:4d1f7bb876c6…", false}}},
		{"an empty value more", func(s *Spec) { s.Provision[1].Shell.Env["B"] = "" }, []Change{
			{"provision.tune.shell.env.B", "", `""`, false}}},
		{"another secret", func(s *Spec) { s.Provision[1].Shell.SecretEnv["PW"] = "db2" }, []Change{
			{"provision.tune.shell.secret_env.PW", "db", "db2", false}}},
		{"the order", func(s *Spec) { s.Provision[0], s.Provision[1] = s.Provision[1], s.Provision[0] }, []Change{
			{"provision", "motd, tune", "tune, motd", false}}},
		{"one less", func(s *Spec) { s.Provision = s.Provision[:1] }, []Change{
			{"provision.tune.shell.env.A", "1", "", false},
			{"provision.tune.shell.inline", "sha256:6f35e218ccdd…", "", false},
			{"provision.tune.shell.secret_env.PW", "db", "", false},
			{"provision.tune.timeout", "5m", "", false}}},
	} {
		from, to := goodSpec(), goodSpec()
		from.Provision, to.Provision = base(), base()
		tc.edit(to)
		if diff := cmp.Diff(append([]Change{}, tc.want...), Diff(from, to)); diff != "" {
			t.Errorf("%s:\n%s", tc.name, diff)
		}
		if r := RestartRequired(from, to); len(r) > 0 {
			t.Errorf("%s: a restart for %v", tc.name, r)
		}
		if text := fmt.Sprint(Diff(nil, to)); strings.Contains(text, "sysctl") || strings.Contains(text, "hello") {
			t.Errorf("%s: a text is shown: %s", tc.name, text)
		}
	}
}

func TestSecretsAreNotPrinted(t *testing.T) {
	r := SpecRequest{Secrets: Secrets{"db": "hunter2"}}
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		for _, v := range []any{r, &r, r.Secrets} {
			if got := fmt.Sprintf(format, v); strings.Contains(got, "hunter2") {
				t.Errorf("%s of %T: %s", format, v, got)
			}
		}
	}
}
