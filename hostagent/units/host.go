// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package units

import (
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
)

// Host is what the files of one host are made from. What is left out has a default,
// except for Node and Stores.
type Host struct {
	Node   string
	Binary string // the program, DefaultBinary
	Dir    string // the agent's directory, DefaultDir
	User   string // who the engine runs as, DefaultUser; its group has the same name
	Config string // the engine's configuration, DefaultConfig
	// LogConfig is its logs.yaml, DefaultLogConfig, made where Buffering is set.
	LogConfig string
	Buffering *agentapi.Buffering
	// AgentLog is a file for the agent's log, which is rotated then; empty is the journal.
	AgentLog string
	Stores   []Disk
	Side     *Disk
	// Previous are directories that the log may have left its newest entries in, of side
	// disks that the node has no more: an engine drains them when it starts.
	Previous []Previous
	// EngineWanted: the engine starts now and at boot. Without it neither; one that
	// runs is not stopped by this.
	EngineWanted bool
	// Systemd is the version of systemd, at least MinSystemd.
	Systemd int
}

// Disk is a directory of the node.
type Disk struct {
	Path string
	// UUID and FSType are of the file system that is mounted at Path; both empty where
	// Path is a directory of a mount that somebody else cares for.
	UUID, FSType string
}

// Previous is a directory that an engine still needs once, and the mount point of ours
// that it lies on, empty where that is somebody else's.
type Previous struct{ Path, Mount string }

// Defaults.
const (
	DefaultBinary    = "/usr/local/bin/holdfast"
	DefaultDir       = "/var/lib/holdfast"
	DefaultUser      = "holdfast"
	DefaultConfig    = "/etc/holdfast/engine.json"
	DefaultLogConfig = "/etc/holdfast/logs.yaml"
	DefaultSocket    = runDir + "/agent.sock" // the agent's

	// MinSystemd is Debian 12's, the oldest that the units are verified with.
	MinSystemd = 252
	// restartSteps came with this version.
	restartStepsSystemd = 254
)

// The names of our services.
const (
	AgentUnit  = "holdfast-agent.service"
	EngineUnit = "holdfast-engine.service"
)

const (
	unitDir  = "/etc/systemd/system/"
	logDir   = "/var/log/holdfast" // LogsDirectory=holdfast
	runDir   = "/run/holdfast"
	marker   = "# Written by holdfast; changes are lost. Use a drop-in.\n"
	fileMode = fs.FileMode(0o644) // nothing in them is secret, and systemctl cat works for everybody
)

// File is one file as it should be, owned by root.
type File struct {
	Path string
	Mode fs.FileMode
	Text string
}

// Unit is what should become of a unit: at boot and now.
type Unit struct {
	Name           string
	Enabled, Start bool
}

// Set is everything that Make makes: files in the order of their writing, units in
// the order of their start.
type Set struct {
	Files []File
	Units []Unit
	// User is the engine's.
	User string
	// optional are files that another set of the host may have had.
	optional []string
	// keep are files of earlier sets that stay as they are.
	keep []string
	// part: there are more files of the host than those, which stay.
	part bool
}

// Text is the text of a unit in the set, empty where it has none.
func (s Set) Text(unit string) string {
	for _, f := range s.Files {
		if f.Path == unitDir+unit {
			return f.Text
		}
	}
	return ""
}

// withDefaults returns a copy in which what was left out says what it means.
func (h Host) withDefaults() Host {
	for _, d := range []struct {
		field *string
		value string
	}{
		{&h.Binary, DefaultBinary}, {&h.Dir, DefaultDir}, {&h.User, DefaultUser},
		{&h.Config, DefaultConfig}, {&h.LogConfig, DefaultLogConfig},
	} {
		if *d.field == "" {
			*d.field = d.value
		}
	}
	return h
}

var (
	userRE = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,30}$`)
	uuidRE = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)
)

// closed are directories that the engine's service does not see as the host has them.
var closed = []string{"/home", "/root", "/run/user", "/tmp", "/var/tmp", "/dev", "/proc", "/sys"}

// fsTypes are the file systems that a store or a side may have.
var fsTypes = []string{"ext4", "xfs"}

// validateSelf checks what is not about disks.
func (h *Host) validateSelf() error {
	if h.Systemd < MinSystemd {
		return bad("systemd", h.Systemd, fmt.Sprintf("older than %d", MinSystemd), "Upgrade the host: Debian 12, Ubuntu 23.04, RHEL 9.2 and newer ones have it.")
	}
	if err := checkText("node", h.Node); err != nil {
		return err
	}
	if !userRE.MatchString(h.User) || h.User == "root" {
		return bad("user", h.User, "not a user for an engine", "Use a name such as holdfast; small letters, digits, dashes, 31 at most, and not root.")
	}
	for field, p := range map[string]string{"binary": h.Binary, "dir": h.Dir, "config": h.Config, "log_config": h.LogConfig} {
		if err := checkPath(field, p); err != nil {
			return err
		}
		if err := checkOpen(field, p); err != nil {
			return err
		}
	}
	if strings.ContainsAny(h.Binary, "\"'\\") {
		return bad("binary", h.Binary, "systemd starts no program with quotes or a backslash in its path", "Install it elsewhere.")
	}
	if h.AgentLog != "" {
		if err := checkPath("agent_log", h.AgentLog); err != nil {
			return err
		}
		if strings.ContainsAny(h.AgentLog, "*?[]{}\"'\\ #") {
			return bad("agent_log", h.AgentLog, "logrotate would take it for a pattern or for several", "Use letters, digits, dots and dashes.")
		}
	}
	return nil
}

func (h *Host) validate() error {
	if err := h.validateSelf(); err != nil {
		return err
	}
	if len(h.Stores) == 0 {
		return bad("stores", "", "empty", "Give the node a store.")
	}
	seen := map[string]string{}
	for _, d := range h.disks() {
		if err := d.validate(); err != nil {
			return err
		}
		for _, key := range []string{d.Path, strings.ToLower(d.UUID)} {
			if other, ok := seen[key]; ok && key != "" {
				return bad(d.field+".path", key, "the same as of "+other, "Give every store and the side disk a directory and a file system of its own.")
			}
			seen[key] = d.field
		}
	}
	for i, d := range h.Previous {
		field := fmt.Sprintf("previous.%d", i)
		if err := (namedDisk{Disk{Path: d.Path}, field}).validate(); err != nil {
			return err
		}
		if d.Mount != "" {
			if err := checkPath(field+".mount", d.Mount); err != nil {
				return err
			}
		}
	}
	return nil
}

// namedDisk is a disk with its field, for errors.
type namedDisk struct {
	Disk
	field string
}

func (h *Host) disks() []namedDisk {
	var all []namedDisk
	for i, d := range h.Stores {
		all = append(all, namedDisk{d, fmt.Sprintf("stores.%d", i)})
	}
	if h.Side != nil {
		all = append(all, namedDisk{*h.Side, "side_disk"})
	}
	return all
}

// checkOpen refuses a path that the engine would not find.
func checkOpen(field, p string) error {
	for _, dir := range closed {
		if p == dir || strings.HasPrefix(p, dir+"/") {
			return bad(field, p, "below "+dir+", which the engine's service does not see", "Use another place: /mnt, /srv, /etc, /usr/local.")
		}
	}
	return nil
}

func (d namedDisk) validate() error {
	if err := checkPath(d.field+".path", d.Path); err != nil {
		return err
	}
	if err := checkOpen(d.field+".path", d.Path); err != nil {
		return err
	}
	switch {
	case d.UUID == "" && d.FSType == "":
		return nil
	case !uuidRE.MatchString(d.UUID):
		return bad(d.field+".uuid", d.UUID, "not the UUID of a file system", "Take it from `holdfast devices`.")
	case !slices.Contains(fsTypes, d.FSType):
		return bad(d.field+".fstype", d.FSType, "not a file system for a log", "Use one of "+strings.Join(fsTypes, ", ")+".")
	}
	return nil
}

// MakeAgent makes the part of a host's set that an agent needs before it has a spec:
// its unit, and the engine's user. What is in a host beside Node, Binary, Dir, User,
// AgentLog and Systemd does not matter. An error is an *agentapi.Error.
func MakeAgent(h Host) (Set, error) {
	h = h.withDefaults()
	if err := h.validateSelf(); err != nil {
		return Set{}, err
	}
	set := MakeUser(h)
	set.Files = append(set.Files, File{Path: unitDir + AgentUnit, Mode: fileMode, Text: marker + agent(&h)})
	set.Units = []Unit{{Name: AgentUnit, Enabled: true, Start: true}}
	return set, nil
}

// MakeUser makes the part of a host's set that has the engine's user and the socket's
// directory. h is one that Make takes.
func MakeUser(h Host) Set {
	h = h.withDefaults()
	return Set{
		Files: []File{
			{Path: sysusersPath, Mode: fileMode, Text: marker + sysusers(&h)},
			{Path: tmpfilesPath, Mode: fileMode, Text: marker + tmpfiles()},
		},
		User: h.User, part: true,
	}
}

// Make makes the files and units of a host. An error is an *agentapi.Error.
func Make(h Host) (Set, error) {
	h = h.withDefaults()
	if err := h.validate(); err != nil {
		return Set{}, err
	}
	set := Set{User: h.User, optional: []string{logrotatePath, h.LogConfig, previousPath}}
	add := func(path, text string) {
		set.Files = append(set.Files, File{Path: path, Mode: fileMode, Text: marker + text})
	}
	add(sysusersPath, sysusers(&h))
	add(tmpfilesPath, tmpfiles())
	add(sysctlPath, sysctl())
	add(journaldPath, journald())
	if h.AgentLog != "" {
		add(logrotatePath, logrotate(&h))
	}
	if h.Buffering != nil {
		text, err := logsYAML(&h)
		if err != nil {
			return Set{}, err
		}
		add(h.LogConfig, text)
	}
	// The agent first: it tells where a disk of the others is missing.
	add(unitDir+AgentUnit, agent(&h))
	set.Units = append(set.Units, Unit{Name: AgentUnit, Enabled: true, Start: true})
	for _, d := range h.disks() {
		if d.UUID != "" {
			name := MountName(d.Path)
			add(unitDir+name, mount(d.Disk))
			set.Units = append(set.Units, Unit{Name: name, Enabled: true, Start: true})
		}
	}
	add(unitDir+EngineUnit, engine(&h))
	if len(h.Previous) > 0 {
		add(previousPath, previous(&h))
	}
	for _, d := range h.Previous {
		if d.Mount != "" {
			set.keep = append(set.keep, unitDir+MountName(d.Mount))
		}
	}
	set.Units = append(set.Units, Unit{Name: EngineUnit, Enabled: h.EngineWanted, Start: h.EngineWanted})
	return set, nil
}
