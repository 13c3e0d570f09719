// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package monitoring

import (
	"bufio"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/telemetry"
	"github.com/holdfastdb/terraform-provider-holdfast/test/cluster"
)

// awaited are metrics that the rules and the dashboard use and that no part of
// the program measures yet, by what their names begin with. A list counts only
// while nothing of its kind is measured: with the first of them, all have to be
// there under these names, and the list can go.
var awaited = map[string][]string{
	"storage.wal.": {
		"storage.wal.failover.active",
		"storage.wal.failover.hedge.count",
		"storage.wal.failover.journal.budget.bytes",
		"storage.wal.failover.journal.bytes",
		"storage.wal.failover.primary.duration",
		"storage.wal.failover.primary.hung",
		"storage.wal.failover.secondary.duration",
		"storage.wal.failover.side.armed",
		"storage.wal.failover.side.healthy",
		"storage.wal.failover.switch.count",
		"storage.wal.failover.write_and_sync.latency", // a sample, in ms
		"storage.wal.fsync.latency",                   // a sample, in ms
	},
	"raft.logstore.verifier.": {
		"raft.logstore.verifier.ranges_verified",
		"raft.logstore.verifier.read_checksum_failures",
		"raft.logstore.verifier.write_checksum_failures",
	},
	"log.messages.": {
		"log.messages.dropped",
	},
}

// foreign are metrics of Prometheus itself.
var foreign = []string{"up", "ALERTS"}

// TestMetrics: every metric that rules and dashboard name is one that engines
// show, under that name. Renaming one breaks this test: seen with kv.elected
// and with a letter changed in a rule.
func TestMetrics(t *testing.T) {
	used := map[string]string{} // metric → where
	for _, r := range readRules(t) {
		for _, m := range metricNames(r.Expr) {
			used[m] = "rules.yml: " + r.Alert
		}
	}
	d := readDashboard(t)
	for where, expr := range d.expressions() {
		for _, m := range metricNames(expr) {
			used[m] = "dashboard.json: " + where
		}
	}
	shown, source := shownByCluster(t), measuredBySource(t)
	for _, name := range slices.Sorted(maps.Keys(used)) {
		if slices.Contains(foreign, name) || shown[name] {
			continue
		}
		if !known(name, source) {
			t.Errorf("%s uses %s, which no engine shows", used[name], name)
		}
	}
}

// known tells whether the source measures the metric, or it is awaited.
func known(name string, source *literals) bool {
	dotted := func(n string) bool {
		return prometheusName(n) == name || prometheusName(n)+"_sum" == name || prometheusName(n)+"_count" == name
	}
	for prefix, names := range awaited {
		if i := slices.IndexFunc(names, dotted); i >= 0 {
			return source.measures(names[i]) || !source.begins(prefix)
		}
	}
	return false
}

// shownByCluster are the names that three engines show after some writes.
func shownByCluster(t *testing.T) map[string]bool {
	t.Helper()
	c := cluster.New(t, cluster.Options{})
	leader := c.Leader("default")
	for _, node := range c.Names() {
		c.Put(node, "key", "value of "+node)
	}
	c.Stop(leader)
	c.LeaderOther("default", leader)
	names := map[string]bool{}
	// A leader looks at its followers twice in its lease of 500 ms, and raft
	// reports how busy its loops are once a second.
	cluster.Eventually(t, "raft's own metrics", func() error {
		w := httptest.NewRecorder()
		telemetry.Process().Prometheus().ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		lines := bufio.NewScanner(w.Body)
		for lines.Scan() {
			if name := regexp.MustCompile(`^[a-zA-Z_:][\w:]*`).FindString(lines.Text()); name != "" {
				names[name] = true
			}
		}
		for _, late := range []string{"raft_leader_lastContact_sum", "raft_thread_main_saturation_sum"} {
			if !names[late] {
				return fmt.Errorf("%s is not there", late)
			}
		}
		return lines.Err()
	})
	return names
}

// literals are the strings of the program's source that a name may be made of.
type literals struct{ all map[string]bool }

// measures tells whether the name is there, whole or as a prefix and a rest.
func (l *literals) measures(name string) bool {
	if l.all[name] {
		return true
	}
	for i, r := range name {
		if r == '.' && l.all[name[:i+1]] && l.all[name[i+1:]] {
			return true
		}
	}
	return false
}

// begins tells whether anything is measured whose name begins so.
func (l *literals) begins(prefix string) bool {
	for s := range l.all {
		if strings.HasPrefix(s, prefix) {
			return true
		}
	}
	return false
}

func measuredBySource(t *testing.T) *literals {
	t.Helper()
	l := &literals{all: map[string]bool{}}
	for _, dir := range []string{"../../engine", "../../hostagent"} {
		err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
					if s, err := strconv.Unquote(lit.Value); err == nil {
						l.all[s] = true
					}
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return l
}

// prometheusName is what engine/telemetry makes of a name.
func prometheusName(dotted string) string { return strings.ReplaceAll(dotted, ".", "_") }

var (
	noMetric   = regexp.MustCompile(`\{[^}]*\}|\[[^\]]*\]|"[^"]*"|\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)|\boffset\s+\w+|\b[0-9.]+(?:e[0-9]+)?\b`)
	identifier = regexp.MustCompile(`[a-zA-Z_:][\w:]*(\s*\()?`)
	operators  = []string{"and", "or", "unless", "bool"}
)

// metricNames are the metrics of an expression of PromQL, as far as rules and
// dashboard use the language: what is left once functions, operators, labels
// and durations are taken away.
func metricNames(expr string) (names []string) {
	for _, word := range identifier.FindAllString(noMetric.ReplaceAllString(expr, " "), -1) {
		if !strings.HasSuffix(word, "(") && !slices.Contains(operators, word) {
			names = append(names, word)
		}
	}
	return names
}

func TestMetricNames(t *testing.T) {
	for expr, want := range map[string][]string{
		`up{job="holdfast"} == 0`:                             {"up"},
		`sum by (a, b) (rate(x_sum{n=~"$n"}[5m])) > bool 1e9`: {"x_sum"},
		`a{} / (b > 0) > 0.8 unless on (c) d offset 1m == 1`:  {"a", "b", "d"},
		`vector(0) > 1`: nil,
	} {
		if diff := cmp.Diff(want, metricNames(expr)); diff != "" {
			t.Errorf("%s: %s", expr, diff)
		}
	}
}

// TestAwaited: an awaited metric is excused only until its kind is measured.
func TestAwaited(t *testing.T) {
	for _, tc := range []struct {
		name   string
		source []string
		want   bool
	}{
		{"storage_wal_fsync_latency_sum", nil, true},
		{"storage_wal_fsync_latency_sum", []string{"storage.wal.failover.active"}, false},
		{"storage_wal_fsync_latency_sum", []string{"storage.wal.fsync.latency"}, true},
		{"storage_wal_fsync_latency_sum", []string{"storage.wal.", "fsync.latency"}, true},
		{"storage_wal_fsync_latency_sum", []string{"storage.wal.", "fsync.seconds"}, false},
		{"storage_wal_fsync_latencies", nil, false},
	} {
		l := &literals{all: map[string]bool{}}
		for _, s := range tc.source {
			l.all[s] = true
		}
		if got := known(tc.name, l); got != tc.want {
			t.Errorf("%s with %q: %t", tc.name, tc.source, got)
		}
	}
}
