// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package console

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/api"
)

// state is what a page shows, gathered at one moment.
type state struct {
	Now    time.Time
	Stores api.NodeStores
	// Raft holds the configuration of each partition by name; one that could
	// not be had is missing.
	Raft map[string]api.RaftConfiguration
	// Contact is PeerContact for each server of each partition, by both names.
	Contact map[[2]string]time.Time
	// Applied, Writes and P99 are of the last second; NaN where not known.
	Applied, Writes, P99 float64
}

// page is what the templates render. All words and numbers are made here, so
// that a template holds no decision.
type page struct {
	verdict
	Title         string
	Cluster, Node string
	Version       string
	Started       moment
	Tiles         []tile
	Charts        []chart
	Shaded        bool // charts may show failovers
	Stores        []storeView
	Nodes         []nodeView
	Partitions    []partitionView
}

// moment is a time as people say it and as machines read it.
type moment struct {
	Text string // "3 min ago"
	ISO  string // empty: it never was
}

func (s *state) moment(at time.Time) moment {
	if at.IsZero() {
		return moment{}
	}
	return moment{agoText(s.Now.Sub(at)), at.UTC().Format(time.RFC3339)}
}

// tile is one figure at the top of the page.
type tile struct {
	Label, Value, Unit string
	Note               string
	Tone               tone
}

// value is a row of a store's list of facts.
type value struct {
	Name, Text string
	Note       string
	Tone       tone
	At         moment
	Wide       bool // it wants more room than most
}

type storeView struct {
	Path    string
	Device  string
	Active  string // primary | secondary
	Tone    tone
	Said    string // what Active means
	Used    string // percent, for the meter
	Size    string
	Facts   []value
	Sides   []sideView
	NoSides string
}

type sideView struct {
	Path, Device, Free   string
	Journal              string // used of its budget
	Health, Arms         string
	HealthTone, ArmsTone tone
	JournalTone          tone
	Error                string
}

type nodeView struct {
	Name, Address string
	Self          bool
	Role          string
	Leads         string
	Behind        string
	Contact       string
}

type partitionView struct {
	Name, State, Leader   string
	Store                 string
	Term, Commit, Applied string
	Keys, Contact         string
	Error                 string
	Tone                  tone
	Last                  string
}

// render is the whole page of a state.
func render(s *state) page {
	n := &s.Stores
	p := page{
		verdict: judge(n), Cluster: n.Cluster, Node: n.Node, Version: n.Version, Started: s.moment(n.StartedAt),
		Charts: charts(n), Shaded: anyConfigured(n), Nodes: s.nodes(),
	}
	mark := "●"
	if p.Tone == toneOK {
		mark = "○"
	}
	p.Title = fmt.Sprintf("%s %s / %s: %s", mark, n.Cluster, n.Node, p.Word)
	p.Tiles = s.tiles()
	for i := range n.Stores {
		st := &n.Stores[i]
		p.Stores = append(p.Stores, s.store(st))
		for j := range st.Partitions {
			p.Partitions = append(p.Partitions, s.partition(st, &st.Partitions[j]))
		}
	}
	return p
}

// tiles sum the node up.
func (s *state) tiles() []tile {
	leader := tile{Label: "Leader", Value: unknown}
	active := tile{Label: "Logs write to", Value: unknown}
	var (
		switches uint64
		last     *api.Switch
		over     int
		canFail  bool
		terms    []string
		leaders  []string
	)
	for i := range s.Stores.Stores {
		st := &s.Stores.Stores[i]
		for _, p := range st.Partitions {
			if p.Leader == "" {
				leaders = append(leaders, "none")
				continue
			}
			leaders = append(leaders, p.Leader)
			terms = append(terms, fmt.Sprintf("term %d", p.Term))
		}
		f := &st.Failover
		canFail = canFail || failsOver(f)
		switches += f.SwitchCount
		if f.Active == activeSecondary {
			over++
		}
		if f.LastSwitch != nil && (last == nil || f.LastSwitch.At.After(last.At)) {
			last = f.LastSwitch
		}
	}
	if len(leaders) > 0 {
		leader.Value = strings.Join(unique(leaders), ", ")
		leader.Note = strings.Join(unique(terms), ", ")
		if leader.Value == s.Stores.Node {
			leader.Note = "this node, " + leader.Note
		}
		if slices.Contains(leaders, "none") {
			leader.Tone = toneBad
			leader.Note = strings.TrimPrefix(leader.Note+"; writes wait", "; ")
		}
	}
	count := tile{Label: "Switches", Value: unknown, Note: "no log fails over"}
	switch total := len(s.Stores.Stores); {
	case total == 0:
		leader = tile{Label: "Leader", Value: unknown, Note: "no partition here"}
		active.Note = "no store here"
	case over > 0:
		active.Value, active.Tone = activeSecondary, toneWarn
		active.Note = fmt.Sprintf("%d of %d stores failed over", over, total)
		if total == 1 {
			active.Note = "failed over"
		}
	default:
		active.Value, active.Tone = activePrimary, toneOK
		if active.Note = "failover is off"; canFail {
			active.Note = "a side is armed"
		} else if anyConfigured(&s.Stores) {
			active.Note, active.Tone = "no side is armed", toneWarn
		}
	}
	if canFail {
		count.Value, count.Note = countText(switches), "since the start"
		if last != nil {
			count.Note = "last one " + agoText(s.Now.Sub(last.At))
		}
	}
	rate := tile{Label: "Writes", Value: figure(s.Applied), Unit: "/s", Note: figure(s.Writes) + "/s through this node"}
	p99 := tile{Label: "Write p99", Value: figure(s.P99), Unit: "ms", Note: "through this node"}
	return []tile{leader, active, rate, p99, count}
}

// unique drops words that were there before.
func unique(words []string) []string {
	var out []string
	seen := make(map[string]bool)
	for _, w := range words {
		if !seen[w] {
			seen[w] = true
			out = append(out, w)
		}
	}
	return out
}

func (s *state) store(st *api.Store) storeView {
	f := &st.Failover
	v := storeView{Path: st.Path, Device: device(st), Active: f.Active, Size: unknown, NoSides: "This log has no side."}
	if st.SizeBytes > 0 {
		v.Used = fmt.Sprintf("%.0f", 100*float64(st.SizeBytes-st.FreeBytes)/float64(st.SizeBytes))
		v.Size = fmt.Sprintf("%s free of %s", bytesText(st.FreeBytes), bytesText(st.SizeBytes))
	}
	switch {
	case f.Active == activeSecondary:
		v.Tone, v.Said = toneWarn, "failed over: the log writes to its side"
	case f.Mode == modeDisabled:
		v.Tone, v.Said = toneOK, "failover is disabled"
		v.NoSides = "Failover is disabled: this log has no side."
	case f.Off != "":
		v.Tone, v.Said = toneWarn, "nothing would fail over: "+f.Off
	case !anySide(f, armed):
		v.Tone, v.Said = toneWarn, "no side is armed: a data disk that hangs stalls the writes"
	default:
		v.Tone, v.Said = toneOK, "the log writes to its data disk"
	}
	v.Facts = s.failover(f)
	backend := value{Name: "Log backend", Text: st.EffectiveBackend}
	if st.ConfiguredBackend != st.EffectiveBackend {
		backend.Note, backend.Tone = st.ConfiguredBackend+" is configured; the log that is there stays in use", toneWarn
	}
	var names []string
	for _, p := range st.Partitions {
		names = append(names, p.Name)
	}
	v.Facts = append(v.Facts, backend, value{Name: "Partition", Text: orUnknown(strings.Join(names, ", "))})
	v.Facts = append(v.Facts, s.verification(st.Verification))
	if len(st.Attrs) > 0 {
		v.Facts = append(v.Facts, value{Name: "Attributes", Text: strings.Join(st.Attrs, ", ")})
	}
	for i := range f.Sides {
		v.Sides = append(v.Sides, side(&f.Sides[i]))
	}
	return v
}

func side(s *api.Side) sideView {
	v := sideView{Path: s.Path, Device: orUnknown(s.Device), Free: unknown, Journal: unknown, Error: s.Error,
		Health: "unhealthy", HealthTone: toneBad, Arms: "not armed", ArmsTone: toneWarn}
	if s.FreeBytes > 0 {
		v.Free = bytesText(s.FreeBytes)
	}
	if s.BudgetBytes > 0 {
		v.Journal = fmt.Sprintf("%s of %s", bytesText(s.JournalBytes), bytesText(s.BudgetBytes))
	}
	if s.Alarm {
		v.JournalTone = toneBad
	}
	if s.Armed {
		v.Arms, v.ArmsTone = "armed", toneOK
	}
	switch {
	case s.Healthy:
		v.Health, v.HealthTone = "healthy", toneOK
	case !s.Armed && s.Error == "": // nobody looks at a side that is not in use
		v.Health, v.HealthTone = "not checked", ""
	}
	return v
}

// failover are the facts of a store's failover log.
func (s *state) failover(f *api.Failover) []value {
	out := []value{{Name: "Failover", Text: f.Mode}}
	can := failsOver(f)
	if can || f.HungNS > 0 || f.PrimaryError != "" { // else nobody watches the disk
		out = append(out, dataDisk(f))
	}
	if !can {
		return out
	}
	secondary := value{Name: "On the secondary", Text: spanText(time.Duration(f.SecondaryDurationNS))}
	if f.Active == activeSecondary {
		secondary.Tone = toneWarn
	}
	last := value{Name: "Last switch", Text: "never"}
	if f.LastSwitch != nil {
		last.Text, last.At, last.Note, last.Wide = "", s.moment(f.LastSwitch.At), f.LastSwitch.Reason, true
	}
	out = append(out,
		value{Name: "Switches", Text: countText(f.SwitchCount)},
		last,
		secondary,
		value{Name: "On the primary", Text: spanText(time.Duration(f.PrimaryDurationNS))},
		value{Name: "Hedged writes", Text: countText(f.HedgeCount)},
	)
	if f.Replayed > 0 {
		out = append(out, value{Name: "Replayed at the start", Text: countText(uint64(f.Replayed)) + " operations"})
	}
	return out
}

// dataDisk says how the data disk does.
func dataDisk(f *api.Failover) value {
	v := value{Name: "Data disk", Text: "answers", Note: f.PrimaryError}
	switch hung := time.Duration(f.HungNS); {
	case hung >= hangs:
		v.Text, v.Tone = "hangs for "+spanText(hung.Truncate(time.Second)), toneWarn
	case f.PrimaryError != "":
		v.Text, v.Tone = "failed", toneBad
	case f.Active == activeSecondary:
		v.Text, v.Tone = "answers, being watched", toneWarn
	}
	if f.Active == activeSecondary && f.Pending > 0 {
		behind := fmt.Sprintf("%s operations (%s) behind the log", countText(uint64(f.Pending)), bytesText(f.PendingBytes))
		v.Note = strings.TrimPrefix(v.Note+"; "+behind, "; ")
	}
	v.Wide = v.Note != ""
	return v
}

// verification is the last report on a store's log.
func (s *state) verification(v *api.Verification) value {
	out := value{Name: "Verification", Text: "off"}
	if v == nil {
		return out
	}
	if corrupt(v) {
		out.Text, out.Tone = "the log is corrupt", toneBad
	} else if out.Text = "no report yet"; v.LastReport != nil {
		out.Text = v.LastReport.Result + ", "
		out.At = s.moment(v.LastReport.At)
	}
	if r := v.LastReport; r != nil {
		out.Wide = true
		out.Note = fmt.Sprintf("entries %s to %s in %s; %s ranges since the start", countText(r.RangeStart), countText(r.RangeEnd),
			spanText(time.Duration(r.ElapsedNS)), countText(v.RangesVerified))
		if corrupt(v) {
			out.Note = r.Result + ": " + out.Note
		}
		if r.Error != "" {
			out.Note += ": " + r.Error
		}
	}
	return out
}

// corrupt tells whether a checksum ever was wrong: one wrong range stays news,
// however well the later ones are.
func corrupt(v *api.Verification) bool {
	return v != nil && v.ReadChecksumFailures+v.WriteChecksumFailures > 0
}

func device(st *api.Store) string {
	switch {
	case st.Device == "":
		return ""
	case st.MajMin == "":
		return st.Device
	}
	return fmt.Sprintf("%s (%s)", st.Device, st.MajMin)
}

func orUnknown(s string) string {
	if s == "" {
		return unknown
	}
	return s
}

func (s *state) partition(st *api.Store, p *api.Partition) partitionView {
	v := partitionView{
		Name: p.Name, State: p.State, Leader: p.Leader, Store: st.Path,
		Term: countText(p.Term), Commit: countText(p.CommitIndex), Applied: countText(p.AppliedIndex), Last: countText(p.LastIndex),
		Keys: countText(uint64(max(p.Keys, 0))), Error: p.Error, Tone: toneOK,
		Contact: contactText(p),
	}
	switch {
	case p.Error != "":
		v.Tone = toneBad
	case p.Leader == "":
		v.Leader, v.Tone = "none", toneBad
	}
	return v
}

// contactText is when this node last heard the leader.
func contactText(p *api.Partition) string {
	switch {
	case p.LastContactMS < 0:
		return "never"
	case p.State == "Leader":
		return "this node"
	}
	return heardText(time.Duration(p.LastContactMS) * time.Millisecond)
}

// heardText is how long ago a peer was heard. Heartbeats are a second apart at
// most; a figure that dances below that says nothing.
func heardText(d time.Duration) string {
	if d < 1500*time.Millisecond {
		return "now"
	}
	return agoText(d)
}
