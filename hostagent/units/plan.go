// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package units

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
)

// State is what is observed on a host.
type State struct {
	// Files are those of the wanted set that are there, and others with our first line.
	Files map[string]Installed
	// Units are the wanted units that systemd knows, those of our files, and journald.
	Units map[string]UnitState
	// Sysctl are the kernel's values of our settings, Overridden those of them that
	// somebody else's file sets after ours.
	Sysctl     map[string]string
	Overridden map[string]bool
	// User and RunDir tell whether the engine's user, with its group, and the socket's
	// directory are there.
	User, RunDir bool
}

// Text is the text of a unit as it is in its file, empty where there is none.
func (s State) Text(unit string) string { return s.Files[unitDir+unit].Text }

// Installed is a file that is there.
type Installed struct {
	Text     string
	Modified time.Time
}

// UnitState is what systemd says of a unit.
type UnitState struct {
	Enabled, Active  bool
	NeedDaemonReload bool
	Since            time.Time // when it became active, zero where it is not
}

// Kind is what an action does.
type Kind string

// Kinds of actions, in the order in which they come.
const (
	Write       Kind = "write"
	Disable     Kind = "disable"
	Delete      Kind = "delete"
	Reload      Kind = "daemon-reload"
	Apply       Kind = "apply" // a drop-in that is not of a unit
	Enable      Kind = "enable"
	Start       Kind = "start"
	NeedRestart Kind = "restart needed" // said, not done
)

// Action is one step to the wanted set.
type Action struct {
	Kind   Kind
	Target string // a path or a unit
	Why    string
	// Command is what is run, nil for files and for what is only said.
	Command []string
	file    File
}

// String is the action as a person reads it.
func (a Action) String() string {
	return strings.TrimSpace(fmt.Sprintf("%s %s", a.Kind, a.Target)) + ": " + a.Why
}

// sysctlProgram is in no PATH; /lib is where it is with /usr merged and without.
const sysctlProgram = "/lib/systemd/systemd-sysctl"

const journaldUnit = "systemd-journald.service"

// MakePlan returns what brings a host from what it is to a set, in order; nothing
// where it is there. A file that is not ours in the place of one of the set is an
// *agentapi.Error. What needs a restart is said as long as it does.
func MakePlan(set Set, is State) ([]Action, error) {
	p := &planner{is: is, wanted: map[string]bool{}, why: map[string]string{}}
	for _, f := range set.Files {
		if err := p.file(f); err != nil {
			return nil, err
		}
	}
	if !set.part {
		p.gone(set)
	}
	p.reload(set)
	p.apply(set)
	for _, u := range set.Units {
		if !is.Units[u.Name].Enabled && u.Enabled {
			p.add(Enable, u.Name, "it shall start at boot", "systemctl", "enable", u.Name)
		}
	}
	for _, u := range set.Units {
		if !is.Units[u.Name].Active && u.Start {
			p.add(Start, u.Name, "it does not run", "systemctl", "start", u.Name)
		}
	}
	p.restarts(set)
	return p.actions, nil
}

type planner struct {
	is      State
	wanted  map[string]bool   // paths
	why     map[string]string // why a path is written, by path
	deleted bool              // a file of a unit is
	actions []Action
}

func (p *planner) add(kind Kind, target, why string, command ...string) {
	p.actions = append(p.actions, Action{Kind: kind, Target: target, Why: why, Command: command})
}

func (p *planner) file(f File) error {
	p.wanted[f.Path] = true
	old, there := p.is.Files[f.Path]
	switch {
	case there && old.Text == f.Text:
		return nil
	case there && !ours(old.Text):
		return &agentapi.Error{What: "the file " + f.Path + " is refused", Why: "it is there, and holdfast did not write it",
			Next: "Look at it; move it away, or make of it a drop-in in " + f.Path + ".d. Nothing was changed.", Field: f.Path}
	case there:
		p.why[f.Path] = changed(old.Text, f.Text)
	default:
		p.why[f.Path] = "it is missing"
	}
	p.actions = append(p.actions, Action{Kind: Write, Target: f.Path, Why: p.why[f.Path], file: f})
	return nil
}

func ours(text string) bool { return strings.HasPrefix(text, marker) }

// gone takes away files of ours that are not wanted any more. What such a unit does is
// left running: stopping a mount would stop the engine that requires it.
func (p *planner) gone(set Set) {
	for _, path := range slices.Sorted(maps.Keys(p.is.Files)) {
		if p.wanted[path] || slices.Contains(set.keep, path) || !ours(p.is.Files[path].Text) {
			continue
		}
		p.deleted = p.deleted || strings.HasPrefix(path, unitDir)
		if name, ok := unitOf(path); ok {
			if p.is.Units[name].Enabled {
				p.add(Disable, name, "it is not wanted any more", "systemctl", "disable", name)
			}
		}
		p.add(Delete, path, "it is not wanted any more")
	}
}

// unitOf is the unit that a file defines.
func unitOf(path string) (string, bool) {
	name, ok := strings.CutPrefix(path, unitDir)
	return name, ok && !strings.Contains(name, "/")
}

func (p *planner) reload(set Set) {
	for _, u := range set.Units {
		if !u.Enabled && p.is.Units[u.Name].Enabled {
			p.add(Disable, u.Name, "it shall not start at boot", "systemctl", "disable", u.Name)
		}
	}
	why := ""
	for _, u := range set.Units {
		if p.why[unitDir+u.Name] != "" || u.Name == EngineUnit && p.why[previousPath] != "" {
			why = "unit files are written"
			break
		}
		if p.is.Units[u.Name].NeedDaemonReload {
			why = u.Name + " was changed on disk since systemd read it"
		}
	}
	if p.deleted && why == "" {
		why = "unit files are deleted"
	}
	if why != "" {
		p.add(Reload, "", why, "systemctl", "daemon-reload")
	}
}

// apply puts drop-ins in force that are not of units: by what is in force, so that
// nothing is lost where an earlier run ended after it had written the file.
func (p *planner) apply(set Set) {
	if p.wanted[sysusersPath] && !p.is.User {
		p.add(Apply, sysusersPath, "there is no user "+set.User, "systemd-sysusers", sysusersPath)
	}
	if p.wanted[tmpfilesPath] && !p.is.RunDir {
		p.add(Apply, tmpfilesPath, "there is no "+runDir, "systemd-tmpfiles", "--create", tmpfilesPath)
	}
	for _, s := range sysctls {
		if got := p.is.Sysctl[s.name]; p.wanted[sysctlPath] && got != s.value && !p.is.Overridden[s.name] {
			p.add(Apply, sysctlPath, fmt.Sprintf("%s is %q", s.name, got), sysctlProgram, sysctlPath)
			break
		}
	}
}

func (p *planner) restarts(set Set) {
	names := []string{}
	for _, u := range set.Units {
		names = append(names, u.Name)
	}
	for _, name := range append(names, journaldUnit) {
		path := unitDir + name
		if name == journaldUnit {
			path = journaldPath
		}
		unit, file := p.is.Units[name], p.is.Files[path]
		switch why := p.why[path]; {
		case !unit.Active:
		case why != "":
			p.add(NeedRestart, name, filepath.Base(path)+": "+why)
		case file.Modified.After(unit.Since):
			p.add(NeedRestart, name, filepath.Base(path)+" was written after it started")
		}
	}
}

// changed names the directives that differ between two texts of a file.
func changed(from, to string) string {
	a, b := directives(from), directives(to)
	all := maps.Clone(a)
	maps.Copy(all, b)
	var names []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if !slices.Equal(a[name], b[name]) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return "its comments or their order differ"
	}
	return strings.Join(names, ", ") + " differs"
}

// directives are the lines of a file without comments, values by name. It is for
// telling, not for understanding: a line without = is its own name.
func directives(text string) map[string][]string {
	d := map[string][]string{}
	for l := range strings.Lines(text) {
		l = strings.TrimSpace(l)
		if l == "" || l[0] == '#' || l[0] == ';' {
			continue
		}
		name, value, _ := strings.Cut(l, "=")
		d[strings.TrimSpace(name)] = append(d[strings.TrimSpace(name)], value)
	}
	return d
}
