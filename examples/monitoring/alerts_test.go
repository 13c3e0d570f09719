// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package monitoring

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// targetLabels come with every series from the scrape configuration; the
// engine adds the others to some.
var (
	targetLabels = []string{"cluster", "node", "instance"}
	engineLabels = []string{"partition", "store", "sink"}
)

var (
	usedLabel = regexp.MustCompile(`\$labels\.(\w+)`)
	byClause  = regexp.MustCompile(`^(?:sum|count) by \(([^)]*)\)`)
)

// TestAlerts: somebody who is woken finds what it is, what to do, and a
// section of the runbook. Seen to fail with a renamed section, and with
// $labels.node in an alert of a whole cluster.
func TestAlerts(t *testing.T) {
	runbook, err := os.ReadFile("RUNBOOK.md")
	if err != nil {
		t.Fatal(err)
	}
	tests, err := os.ReadFile("rules_test.yml")
	if err != nil {
		t.Fatal(err)
	}
	const book = "https://github.com/holdfastdb/terraform-provider-holdfast/blob/main/examples/monitoring/RUNBOOK.md#"
	seen := map[string]bool{}
	for _, r := range readRules(t) {
		if !strings.HasPrefix(r.Alert, "Holdfast") || seen[r.Alert] {
			t.Errorf("alert %q: its name is there twice, or does not begin with Holdfast", r.Alert)
		}
		seen[r.Alert] = true
		if s := r.Labels["severity"]; s != "critical" && s != "warning" {
			t.Errorf("%s: severity %q", r.Alert, s)
		}
		if r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
			t.Errorf("%s: summary or description is missing", r.Alert)
		}
		if got, want := r.Annotations["runbook_url"], book+strings.ToLower(r.Alert); got != want {
			t.Errorf("%s: runbook_url %s, want %s", r.Alert, got, want)
		}
		if !strings.Contains(string(runbook), "\n## "+r.Alert+"\n") {
			t.Errorf("%s: RUNBOOK.md has no section", r.Alert)
		}
		if !strings.Contains(string(tests), `alertname="`+r.Alert+`"`) {
			t.Errorf("%s: rules_test.yml does not see it fire", r.Alert)
		}
		labels := slices.Concat(targetLabels, engineLabels)
		if m := byClause.FindStringSubmatch(r.Expr); m != nil {
			labels = strings.Split(m[1], ", ")
		}
		for _, text := range r.Annotations {
			for _, m := range usedLabel.FindAllStringSubmatch(text, -1) {
				if !slices.Contains(labels, m[1]) {
					t.Errorf("%s: label %s is not one that it has: %q", r.Alert, m[1], labels)
				}
			}
		}
	}
	for _, m := range regexp.MustCompile(`(?m)^## (Holdfast\w+)$`).FindAllSubmatch(runbook, -1) {
		if !seen[string(m[1])] {
			t.Errorf("RUNBOOK.md explains %s, which is no alert", m[1])
		}
	}
}
