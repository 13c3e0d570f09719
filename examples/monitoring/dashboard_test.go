// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package monitoring

import (
	"slices"
	"strings"
	"testing"
)

// TestDashboard: Grafana imports almost anything and shows it wrong; so what
// it would not complain about is looked at here.
func TestDashboard(t *testing.T) {
	d := readDashboard(t)
	const grafana12 = 41
	if d.SchemaVersion != grafana12 || d.UID == "" || d.Title == "" {
		t.Errorf("schemaVersion %d, uid %q, title %q", d.SchemaVersion, d.UID, d.Title)
	}
	var names []string
	for _, v := range d.Templating.List {
		names = append(names, v.Name)
	}
	if want := []string{"datasource", "cluster", "node"}; !slices.Equal(names, want) {
		t.Errorf("variables %q, want %q", names, want)
	}
	for _, want := range []string{"Secondary duration", "Primary duration", "Switch count"} { // the charts that the seeds promise
		if !slices.ContainsFunc(d.Panels, func(p panel) bool { return p.Title == want }) {
			t.Errorf("there is no chart %q", want)
		}
	}
	ids := map[int]bool{}
	taken := map[[2]int]string{} // cells of the grid
	for _, p := range d.Panels {
		if ids[p.ID] || p.ID == 0 {
			t.Errorf("panel %q: id %d is there twice, or 0", p.Title, p.ID)
		}
		ids[p.ID] = true
		g := p.GridPos
		if g.W < 1 || g.H < 1 || g.X < 0 || g.X+g.W > 24 {
			t.Errorf("panel %q is outside the grid: %+v", p.Title, g)
		}
		for x := g.X; x < g.X+g.W; x++ {
			for y := g.Y; y < g.Y+g.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" {
					t.Fatalf("panels %q and %q overlap", other, p.Title)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		if p.Datasource == nil || p.Datasource.UID != "${datasource}" || len(p.Targets) == 0 {
			t.Errorf("panel %q has no targets, or does not use the data source that was chosen", p.Title)
		}
		for _, target := range p.Targets {
			if target.Datasource.UID != "${datasource}" {
				t.Errorf("panel %q: target %s does not use the data source that was chosen", p.Title, target.RefID)
			}
		}
	}
	for where, expr := range d.expressions() {
		selectors := strings.Count(expr, "{")
		if selectors == 0 || strings.Count(expr, `{job="holdfast",cluster=~"$cluster",node=~"$node"}`) != selectors {
			t.Errorf("%s: a selector does not follow the variables: %s", where, expr)
		}
	}
}
