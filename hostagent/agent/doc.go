// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Package agent is the host agent: it takes a node spec, makes the node what
// the spec says, keeps its engine running and tells what it observes.
//
// On disk, in the node's directory, each file replaced atomically:
//
//	agent.lock            locked while an agent lives: there is one per directory
//	agent-process.json    its pid, start time and boot id
//	spec.json             the spec in force
//	stores.json           the id of each store that was ever made, by path, and the
//	                      side directories that logs may be armed on
//	engine.json           the engine's configuration, written from the spec
//	logs.yaml, logs/      where the spec has log.buffering: the log's, and its files
//	wanted.json, engine-process.json, engine.log   see package supervise
//	agent.sock            the API, unless told otherwise
//
// A spec that is accepted is durable before anything is made from it. What
// cannot be made becomes a problem in the status and is tried again; an
// engine is not started before all of its directories are in place. An engine that
// runs is left alone: a changed configuration waits for a restart that
// somebody asks for, and the status names the difference.
//
// The agent's end, however it comes, leaves the engine as it is.
package agent
