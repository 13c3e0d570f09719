// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package drill

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/drill/pace"
)

// Text writes a drill for a person: what is about to happen, a line per second,
// and, by Summary, how it ended. Columns are aligned without knowing what comes.
type Text struct {
	W     io.Writer
	nodes []string
}

// Begin implements Progress.
func (t *Text) Begin(c *Cluster, n Node, disks []Disk, o Options) {
	fmt.Fprintf(t.W, "Cluster %s in %s\n\n", c.Name, c.Directory)
	tw := tabwriter.NewWriter(t.W, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "  NODE\tROLE\tDISK\tDEVICE\tMOUNTED AT")
	for _, node := range c.Nodes {
		t.nodes = append(t.nodes, node.Name)
		for i, d := range node.Disks {
			name, role := node.Name, strings.ToLower(node.state)
			if i > 0 {
				name, role = "", ""
			}
			mark := ""
			if slices.Contains(disks, d) {
				mark = "\t<- will hang"
			}
			fmt.Fprintf(tw, "  %s\t%s\t%s\t%s\t%s%s\n", name, role, d.Name, d.Device, strings.TrimPrefix(d.Mountpoint, c.Directory+"/"), mark)
		}
	}
	_ = tw.Flush() // as the others: a terminal that is gone ends the program by itself
	fmt.Fprintf(t.W, "\nFailover of the log: %s.", cmp.Or(n.Mode, "unknown"))
	if n.Mode == "disabled" {
		fmt.Fprint(t.W, " Writes are expected to wait as long as the disk does.")
	}
	fmt.Fprintf(t.W, "\n%d clients write %v keys per second through all nodes. After %s the disk hangs for %s, and they go on for %s.\n"+
		"A latency counts from the moment that a write was due, so that none is left out while the others wait.\n\n",
		o.Clients, o.Rate, o.Warmup, o.Duration, o.After)
	fmt.Fprintln(t.W, t.row("", "", "", "", "", "", "", "LOG WRITES TO", nil, "", ""))
	fmt.Fprintln(t.W, t.row("SECOND", "DISK", "WRITES", "ERRORS", "P50", "WORST", "WAITING", "LEADER", t.nodes, "SWITCHES", "HEDGES"))
}

// row is one line; the last columns are the nodes'.
func (t *Text) row(second, phase, writes, errs, p50, worst, waiting, leader string, nodes []string, switches, hedges string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%6s  %-5s  %6s  %6s  %6s  %6s  %7s", second, phase, writes, errs, p50, worst, waiting)
	if nodes == nil {
		fmt.Fprintf(&b, "  %*s%s", t.leaderWidth()+2, "", leader)
		return strings.TrimRight(b.String(), " ")
	}
	fmt.Fprintf(&b, "  %-*s", t.leaderWidth(), leader)
	for i, n := range nodes {
		fmt.Fprintf(&b, "  %-*s", max(len(logSecondary), len(t.nodes[i])), n)
	}
	fmt.Fprintf(&b, "  %8s  %6s", switches, hedges)
	return b.String()
}

func (t *Text) leaderWidth() int {
	w := len("LEADER")
	for _, n := range t.nodes {
		w = max(w, len(n))
	}
	return w
}

// Second implements Progress.
func (t *Text) Second(s Second) {
	disk := map[string]string{PhaseStall: "HANGS"}[s.Phase]
	p50, worst, waiting := "-", "-", "-"
	if s.Acknowledged > 0 {
		p50, worst = Short(s.P50), Short(s.Worst)
	}
	if s.Waiting >= 10*time.Millisecond {
		waiting = Short(s.Waiting)
	}
	var logs []string
	var switches, hedges uint64
	for _, n := range s.Nodes {
		logs = append(logs, cmp.Or(n.Log, "?"))
		switches += n.Switches
		hedges += n.Hedges
	}
	fmt.Fprintln(t.W, t.row(fmt.Sprint(s.Second), cmp.Or(disk, "well"), fmt.Sprint(s.Acknowledged), fmt.Sprint(s.Errors), p50, worst, waiting,
		cmp.Or(s.Leader, "-"), logs, fmt.Sprint(switches), fmt.Sprint(hedges)))
}

// Note implements Progress.
func (t *Text) Note(text string) { fmt.Fprintf(t.W, "        … %s\n", text) }

// Summary writes how a drill ended.
func (t *Text) Summary(r *Result) error {
	var names []string
	for _, d := range r.Disks {
		names = append(names, fmt.Sprintf("%s of %s (%s)", d.Name, r.Node, d.Device))
	}
	fmt.Fprintf(t.W, "\nDisk %s, the %s, hung for %s and is thawed.\n\n", strings.Join(names, " and "), r.Role, Short(r.Hung))
	tw := tabwriter.NewWriter(t.W, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "WRITES\tACKNOWLEDGED\tERRORS\tP50\tP99\tP99.9\tWORST\t")
	for _, row := range []struct {
		name string
		s    pace.Summary
	}{{"before", r.Before}, {"while it hung", r.During}, {"after", r.After}, {"all", r.All}} {
		fmt.Fprintf(tw, "%s\t%d\t%d\t%s\t\n", row.name, row.s.Acknowledged, row.s.Errors, latencies(row.s))
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(t.W)
	tw = tabwriter.NewWriter(t.W, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "NODE\tSWITCHES\tHEDGES\tON THE SIDE DISK\tBACK AFTER\tACKNOWLEDGED KEYS THERE")
	for _, n := range r.Nodes {
		fmt.Fprintf(tw, "%s\t%d\t%d\t%s\t%s\t%s\n", n.Name, n.Switches, n.Hedges, orDash(n.Secondary), n.back(), n.keys(r.All.Acknowledged))
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(t.W, "\nLongest time without an acknowledged write: %s", Short(r.Pause))
	if r.Idle > 0 {
		fmt.Fprintf(t.W, "; whole seconds without any: %d", r.Idle)
	}
	fmt.Fprintf(t.W, ".\nLeader at the end: %s; changes of it: %d.\n", cmp.Or(r.Leader, "none"), r.LeaderChanges)
	if r.FirstError != "" {
		fmt.Fprintf(t.W, "Writes that failed: %d; the first: %s\n", r.All.Errors, r.FirstError)
	}
	if r.Unsent > 0 {
		fmt.Fprintf(t.W, "Writes that were due and never begun, for what their clients did before hung on: %d.\n", r.Unsent)
	}
	verdict := fmt.Sprintf("All %d acknowledged keys are on every node, each written once, with its value.", r.All.Acknowledged)
	if !r.Verified {
		verdict = "NOT every acknowledged key is on every node as it was written."
	}
	_, err := fmt.Fprintln(t.W, verdict)
	return err
}

// latencies are the last four columns of a summary's line.
func latencies(s pace.Summary) string {
	if s.Acknowledged == 0 {
		return "-\t-\t-\t-"
	}
	return fmt.Sprintf("%s\t%s\t%s\t%s", Short(s.P50), Short(s.P99), Short(s.P999), Short(s.Worst))
}

func orDash(d time.Duration) string {
	if d == 0 {
		return "-"
	}
	return Short(d)
}

func (n NodeResult) back() string {
	if n.Failback < 0 {
		return "not yet"
	}
	return orDash(n.Failback)
}

func (n NodeResult) keys(acknowledged int) string {
	switch {
	case n.Error != "":
		return "not read: " + n.Error
	case n.right(acknowledged):
		return fmt.Sprintf("all %d", n.Keys)
	}
	return fmt.Sprintf("%d of %d: %d MISSING, %d WRONG, %d APPLIED TWICE", n.Keys, acknowledged, n.Missing, n.Wrong, n.Twice)
}

// Short prints a duration with three digits.
func Short(d time.Duration) string {
	switch {
	case d >= 100*time.Second:
		return fmt.Sprintf("%.0fs", d.Seconds())
	case d >= 10*time.Second:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d >= time.Second:
		return fmt.Sprintf("%.2fs", d.Seconds())
	case d >= 100*time.Millisecond:
		return fmt.Sprintf("%.0fms", d.Seconds()*1e3)
	case d >= 10*time.Millisecond:
		return fmt.Sprintf("%.1fms", d.Seconds()*1e3)
	case d >= time.Millisecond:
		return fmt.Sprintf("%.2fms", d.Seconds()*1e3)
	}
	return fmt.Sprintf("%.0fµs", d.Seconds()*1e6)
}
