// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package provision

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Action is what is to be done about a step.
type Action string

// Actions.
const (
	Run    Action = "run"    // it was never done
	Rerun  Action = "rerun"  // it was done or begun, and has to be again: Why says why
	Change Action = "change" // it was done as it said before; Changes says what differs
	Skip   Action = "skip"   // it is done, or not for this node
	Forget Action = "forget" // it is on record and not wanted any more; nothing is undone
)

// Difference is one attribute of a step that differs from what was done.
type Difference struct {
	Attribute string `json:"attribute"`
	From      string `json:"from"`
	To        string `json:"to"`
}

// Decision is what is to be done about one step.
type Decision struct {
	Step    string       `json:"step"`
	Action  Action       `json:"action"`
	Why     string       `json:"why"`
	Changes []Difference `json:"changes,omitempty"`
	// Unknown are the names of secrets that are not known, of a step that is to be run
	// and cannot be without them.
	Unknown []string `json:"unknown,omitempty"`
	// forced: it runs because an earlier step does; failed: it did, as it is wanted now.
	forced, failed bool
	hash           string
	attrs          map[string]string
}

// Runs reports whether the step is to be done.
func (d Decision) Runs() bool { return d.Action == Run || d.Action == Rerun || d.Action == Change }

// Plan is a decision for each wanted step, in their order, then for those that are
// only on record, by name.
type Plan []Decision

// Empty reports whether there is nothing to do.
func (p Plan) Empty() bool {
	return !slices.ContainsFunc(p, func(d Decision) bool { return d.Action != Skip })
}

// String is a line for each step, and one for each attribute that differs.
func (p Plan) String() string {
	var b strings.Builder
	for _, d := range p {
		fmt.Fprintf(&b, "%-6s %s: %s\n", d.Action, d.Step, d.Why)
		if len(d.Unknown) > 0 {
			fmt.Fprintf(&b, "       not known any more: %s\n", strings.Join(d.Unknown, ", "))
		}
		for _, c := range d.Changes {
			fmt.Fprintf(&b, "       %s: %s → %s\n", c.Attribute, cmp.Or(c.From, "none"), cmp.Or(c.To, "none"))
		}
	}
	return b.String()
}

// Facts are what a plan rests on beside the steps.
type Facts struct {
	Node   string
	Record Record
	Key    Key
	// Disk says how the file of each file step on record is now; nil is a file that is
	// missing. A step that is not in it was not looked at.
	Disk map[string]*Disk
}

// MakePlan decides what is to be done about steps, which are valid.
func MakePlan(steps []Step, f Facts) Plan {
	plan := Plan{}
	wanted := map[string]bool{}
	cause := "" // the step that makes all later ones run
	for i := range steps {
		s := &steps[i]
		wanted[s.Name] = true
		entry, recorded := f.Record.Steps[s.Name]
		if !s.appliesTo(f.Node) {
			d := Decision{Step: s.Name, Action: Skip, Why: "not for node " + f.Node}
			if recorded {
				d.Action, d.Why = Forget, "not for node "+f.Node+" any more; what it did stays"
			}
			plan = append(plan, d)
			continue
		}
		d := decide(s, entry, recorded, f)
		if cause != "" && d.Action == Skip {
			d.Action, d.Why = Rerun, "step "+cause+" runs, and says then = all"
		}
		d.forced = cause != ""
		if cause == "" && d.Runs() && s.Then == ThenAll {
			cause = s.Name
		}
		if d.Runs() {
			d.Unknown = s.unknown()
		}
		plan = append(plan, d)
	}
	for _, name := range slices.Sorted(maps.Keys(f.Record.Steps)) {
		if !wanted[name] {
			plan = append(plan, Decision{Step: name, Action: Forget, Why: "not among the steps any more; what it did stays"})
		}
	}
	return plan
}

func decide(s *Step, entry Entry, recorded bool, f Facts) Decision {
	attrs := s.attributes(f.Key, entry.Attributes)
	d := Decision{Step: s.Name, hash: hash(attrs), attrs: attrs}
	if !recorded {
		d.Action, d.Why = Run, "it was never done here"
		return d
	}
	switch same := entry.Hash == d.hash; {
	case !same && entry.State == Finished:
		d.Action, d.Why, d.Changes = Change, "it differs from what was done", differences(entry.Attributes, attrs)
		if len(d.Changes) == 0 {
			d.Action, d.Why = Rerun, "its hash is of another version of this program"
		}
		return d
	case entry.State == Started:
		d.Action, d.Why = Rerun, "it was interrupted: started at "+stamp(entry)+", and no end is on record"
	case entry.State == Failed:
		d.Action, d.Why, d.failed = Rerun, "it failed at "+stamp(entry), same
	case entry.State == Due:
		d.Action, d.Why = Rerun, "an earlier step that says then = all was run, and this one was not after it"
	default:
		d.Action, d.Why = Skip, "done at "+stamp(entry)
	}
	d.Changes = differences(entry.Attributes, attrs)
	if d.Action == Skip {
		if drift := drift(entry.Disk, f, s.Name); drift != "" {
			d.Action, d.Why = Rerun, "its file was changed on disk: "+drift
		}
	}
	return d
}

const stampLayout = "2006-01-02 15:04:05Z"

func stamp(e Entry) string { return e.At.UTC().Format(stampLayout) }

func differences(from, to map[string]string) []Difference {
	all := map[string]bool{}
	for _, m := range []map[string]string{from, to} {
		for name := range m {
			all[name] = true
		}
	}
	var changes []Difference
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if from[name] != to[name] {
			changes = append(changes, Difference{name, short(from[name]), short(to[name])})
		}
	}
	return changes
}

// short is an attribute as a plan shows it: of a digest the beginning, of a secret none.
func short(value string) string {
	const digits = 12
	if strings.HasPrefix(value, hmacPrefix) {
		return hidden
	}
	if sum, ok := strings.CutPrefix(value, "sha256:"); ok && len(sum) > digits {
		return "sha256:" + sum[:digits] + "…"
	}
	return value
}

// drift says how a file differs from what was written, empty if it does not.
func drift(was *Disk, f Facts, name string) string {
	is, looked := f.Disk[name]
	switch {
	case was == nil || !looked:
		return ""
	case is == nil:
		return "it is missing"
	case is.Sum == "":
		return "it is not a regular file, or larger than a step writes"
	}
	var parts []string
	if is.Sum != was.Sum {
		parts = append(parts, "content")
	}
	if is.Mode != was.Mode {
		parts = append(parts, fmt.Sprintf("mode %04o instead of %04o", is.Mode, was.Mode))
	}
	if is.UID != was.UID || is.GID != was.GID {
		parts = append(parts, fmt.Sprintf("owner %d:%d instead of %d:%d", is.UID, is.GID, was.UID, was.GID))
	}
	return strings.Join(parts, ", ")
}
