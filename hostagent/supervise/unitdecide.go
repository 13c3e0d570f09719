// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package supervise

// unitFacts are all that a decision about a unit of systemd rests on.
type unitFacts struct {
	wanted bool // somebody wants an engine
	ready  bool // its configuration, directories and unit are in place
	loaded bool // systemd has the unit
	// due is set while a start was asked for that was not made yet, replace while the
	// engine that is there shall give way to a new one.
	due, replace bool
	held         bool // a process of it was killed and does not end
	enabled      bool // it starts at boot
	active, sub  string
}

// What systemd calls the states of a unit.
const (
	active       = "active"
	reloading    = "reloading"
	activating   = "activating"
	deactivating = "deactivating"
	inactive     = "inactive"
	failed       = "failed"
	autoRestart  = "auto-restart" // activating: systemd waits before it starts it again
)

// verb is what is asked of systemctl, empty for nothing.
type verb string

const (
	enableUnit  verb = "enable"
	disableUnit verb = "disable"
	startUnit   verb = "start"
	stopUnit    verb = "stop"
	restartUnit verb = "restart"
)

// decideUnit returns what to ask of systemd now. An engine that crashed is started
// again by systemd: it is not raced with, so there is a start only where one is due, and
// none while a predecessor is held.
func decideUnit(f unitFacts) verb {
	up := f.active == active || f.active == reloading || f.active == activating
	switch {
	case !f.loaded:
		return ""
	case !f.wanted && up: // before the symbolic link, which a full or damaged disk may keep
		return stopUnit
	case !f.wanted && f.enabled:
		return disableUnit
	case !f.wanted || !f.ready:
		return ""
	case !f.enabled:
		return enableUnit
	case f.held || f.active == deactivating:
		return "" // what is due stays due
	case f.replace, f.due && f.sub == autoRestart: // systemd takes no start while it waits itself
		return restartUnit
	case f.due && !up:
		return startUnit
	}
	return ""
}
