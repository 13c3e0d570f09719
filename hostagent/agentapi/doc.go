// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Package agentapi is the host agent's API: its wire types, JSON over HTTP on
// a unix socket, and the client that the provider and the command line use.
//
//	GET  /v1/status          Status
//	PUT  /v1/spec            Spec → SpecResult (?dry_run=1: nothing is changed)
//	GET  /v1/devices         the devices of the node
//	POST /v1/engine/start    Status (also /stop and /restart)
//
// An answer of 400 and above carries an Error. The package uses the standard
// library and engine/api alone.
package agentapi
