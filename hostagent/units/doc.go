// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Package units makes the files by which systemd runs a node: services of agent and
// engine, mount units, and the drop-ins around them; and it plans what brings an
// installed set to the wanted one. The agent of a whole machine calls it for the spec
// that is in force, `holdfast agent install` for the agent's own part.
//
//	Host ─▶ Make ─▶ Set ──┐
//	                      ├─▶ MakePlan ─▶ actions ─▶ Apply ─▶ System
//	System ─▶ Observe ────┘
//
// Make and MakePlan are pure. No text that comes from outside can add a line, a word,
// a specifier or a variable to a file: values are quoted by systemd's rules, and what
// these cannot carry is refused (escape.go).
//
// The plan never stops nor restarts anything that runs a node: an engine restarts
// when the rollout wants it, a mount in use stays. What needs a restart is said, with
// the reason. An installed file that does not bear our first line is somebody else's
// and is refused, not overwritten; administrators' drop-ins (NAME.d) are not touched.
//
// systemd is reached by its commands rather than over D-Bus: a person can repeat what
// is in the log, systemctl works as root where the bus does not, their output by
// property is stable, and no library is linked into the static binary.
//
// On disk: the files of a Set, each replaced atomically, owned by root. After a crash
// between any two actions the next plan has the rest, because each action rests on
// what is observed and none on what was done before.
package units
