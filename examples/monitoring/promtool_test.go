// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package monitoring

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// promtool runs $PROMTOOL and returns what it said.
func promtool(t *testing.T, args ...string) (string, error) {
	t.Helper()
	tool := os.Getenv("PROMTOOL")
	if tool == "" {
		t.Skip("PROMTOOL is not set: make monitoring builds one and runs this")
	}
	out, err := exec.CommandContext(t.Context(), tool, args...).CombinedOutput()
	return string(out), err
}

func TestPromtool(t *testing.T) {
	for _, args := range [][]string{
		{"check", "config", "prometheus.yml"},
		{"check", "rules", "rules.yml"},
		{"test", "rules", "rules_test.yml"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			if out, err := promtool(t, args...); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// TestPromtoolDashboard has the dashboard's expressions parsed, as rules.
func TestPromtoolDashboard(t *testing.T) {
	d := readDashboard(t)
	all := d.expressions()
	group := map[string]any{"name": "dashboard"}
	var rules []map[string]string
	for i, where := range slices.Sorted(maps.Keys(all)) {
		expr := strings.ReplaceAll(all[where], "$__rate_interval", "1m")
		rules = append(rules, map[string]string{"record": fmt.Sprintf("dashboard:%d", i), "expr": expr})
	}
	group["rules"] = rules
	path := writeYAML(t, "dashboard.yml", map[string]any{"groups": []any{group}})
	if out, err := promtool(t, "check", "rules", path); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestEveryAlertMatters takes each alert out, and then what it waits for, and
// expects rules_test.yml to notice.
func TestEveryAlertMatters(t *testing.T) {
	for i, r := range readRules(t) {
		mutations := map[string]func(*rule){"never fires": func(r *rule) { r.Expr = "vector(0) > 1" }}
		if r.For != "" {
			mutations["does not wait"] = func(r *rule) { r.For = "" }
		}
		for name, mutate := range mutations {
			t.Run(r.Alert+" "+name, func(t *testing.T) {
				changed := readRules(t)
				mutate(&changed[i])
				path := writeYAML(t, "rules.yml", ruleFile{Groups: []ruleGroup{{Name: "changed", Rules: changed}}})
				tests, err := os.ReadFile("rules_test.yml")
				if err != nil {
					t.Fatal(err)
				}
				copied := filepath.Join(filepath.Dir(path), "rules_test.yml")
				if err := os.WriteFile(copied, tests, 0o600); err != nil {
					t.Fatal(err)
				}
				if out, err := promtool(t, "test", "rules", copied); err == nil {
					t.Errorf("rules_test.yml passes all the same\n%s", out)
				} else if !strings.Contains(out, r.Alert) {
					t.Errorf("it fails for another reason: %v\n%s", err, out)
				}
			})
		}
	}
}

func writeYAML(t *testing.T, name string, v any) string {
	t.Helper()
	b, err := yaml.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
