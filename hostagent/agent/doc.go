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
//	rates.json            what the data disks and the side disk take, see rates.go
//	provision/            which provisioning steps were done, see package provision
//	engine.json           the engine's configuration, written from the spec
//	logs.yaml, logs/      where the spec has log.buffering: the log's, and its files
//	pki/                  the node's keyring, see package pki: what it trusts, the CA's
//	                      key encrypted to host.key, its own certificate
//	certs/                where the spec has tls: ca.crt, node.crt and node.key for the
//	                      engine, copies of those in pki/
//	wanted.json, engine-process.json, engine.log   see package supervise
//	agent.sock            the API, unless told otherwise
//
// The agent of a whole machine (Options.Systemd) does more, in this order, each part only
// where those before it are in place: the user of the engine; the disks of the spec
// (layout/disk: found, formatted when blank, mounted by units of systemd); directories and
// identities, which are the engine's user's; the engine's configuration, in /etc/holdfast;
// units and the files around them (package units). systemd runs the engine, as a unit.
// It has these besides:
//
//	configs.json          the last configurations by their hash, which is what an
//	                      engine says that it runs with
//	engine-unit.json      which engine was started from which text of its unit
//	disk.lock             see package layout/disk
//	/etc/holdfast         engine.json, logs.yaml: root's, readable for the engine's group
//
// Of what has effects beyond the node's own files nothing comes unannounced: GET
// /v1/pending has the operations that the next PUT of the same spec would do, a dry run
// those of another spec, and a file system grows only after a spec was sent.
//
// Remove is the way back: what a destroy does on the machine.
//
// A spec that is accepted is durable before anything is made from it. What
// cannot be made becomes a problem in the status and is tried again, but for a
// provisioning step that failed, see provision.go; an engine is not started before all
// of its directories are in place. An engine that
// runs is left alone: a changed configuration waits for a restart that
// somebody asks for, and the status names the difference.
//
// The agent makes the node's certificate itself, of the CA that it was given or told to
// make, for the hosts of its spec, and again in the last third of its life; the engine
// takes it over while it runs. In what order the nodes of a cluster do such things is
// the matter of package rotation.
//
// The agent's end, however it comes, leaves the engine as it is.
package agent
