// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Package supervise keeps one engine running on a node while somebody wants it
// to, and never more than one.
//
// The engine is a process of its own session with its log in a file: the
// agent's death never touches it. A new agent finds it by pid, start time and
// boot id, from engine-process.json, or from the process table where the agent
// died before it could write that.
//
// On a whole machine the engine is a unit of systemd ([Unit]): systemd starts it again
// after a crash, and is asked to start, stop and restart it, by systemctl; what it says
// of the unit is looked at every second, and the process is watched besides. A stop with
// systemctl by hand lasts until the node's spec is sent again or a new agent comes.
//
// What to do is decided by a pure function of what is observed (decide.go, unitdecide.go);
// what it takes from the operating system is behind Launcher, Process and Runner.
//
// On disk, in the node's directory: wanted.json (running or stopped, what
// somebody asked for, kept across agents), engine-process.json (the process),
// engine.log and engine.log.1; with a unit wanted.json alone.
//
// It guarantees that no engine is started while its predecessor is there, even
// killed but held in the kernel by a disk, and none after a stop that somebody
// asked for. Where systemd gives up a killed engine that a disk holds, it may try another
// one by itself; the lock of the store keeps that out. It does not know what an engine does, nor whether it does it well.
package supervise
