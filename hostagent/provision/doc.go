// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Package provision brings a host to what a list of ordered steps says: files and
// shell commands, Packer's idea made declarative. The host agent makes the steps of
// a node's spec from it.
//
// A step has a hash over everything that changes its effect. The host records the
// hash of each step that was done, so a step that was edited shows in the plan and
// runs again, and one that was not is skipped. What to do is decided by MakePlan, a
// pure function of the wanted steps, the record and the files as they are; Host
// looks, acts and records.
//
//	wanted steps ─┐
//	record ───────┼─▶ MakePlan ─▶ Plan ─▶ for each step: "started" ─▶ act ─▶ "finished"
//	files on disk ┘                               └─ record, durable ───────────┘
//
// Packer runs all of its provisioners on a new machine each time. A host lives on,
// so here an edited step runs and later steps do not, unless it says then = "all".
// A file that somebody changed on disk is written again. A step that was started
// and has no end on record, because the machine or the agent died, runs again: a
// step has to bear that. A step that is gone from the list, or not for this node any
// more, is forgotten; what it did stays. Names are the identity of steps: another
// place in the list changes nothing, another name is another step.
//
// On disk, in the directory of the host, each replaced atomically and readable by
// its owner alone:
//
//	provision.record  magic, version, checksum and the record (see record.go)
//	provision.key     32 random bytes: secrets enter hashes through an HMAC with it
//	provision.lock    locked while a run is on: a second one gets ErrBusy
//
// A value that is marked secret is in no record, plan, event, error or command line:
// it reaches a command by its environment and a file by its content, and is taken out
// of the output that an error shows, also line by line, whichever step it is of. What a
// command derives from a secret is not known here. Without the key, steps with secrets
// look changed. Of a secret only the name may be known, as in a host agent that was
// started after the steps were done: what was done with it counts as done, a step that
// would have to run with it is not run, and no command's output is shown meanwhile. Short values that are not secret are in record and plan as they are.
//
// A command runs in a session of its own, its text in no argument list. Nothing of its
// process group outlives it: services belong to systemd. A process that leaves the
// group by setsid escapes that. A timeout is for commands: a file step does not end
// before the disk of its file answers.
package provision
