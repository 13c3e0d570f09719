// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Package api holds the engine's wire types and its Go client.
//
// The paths, status codes, headers and field names under /v1 are Consul's;
// those under /_status and /v1/operator/settings are Holdfast's own. The
// package uses the standard library alone, so that a program can link it
// without linking raft.
//
// [Client] reaches a cluster through any of its nodes. It never repeats a
// write that was sent; see [ErrOutcomeUnknown]. It follows no leader itself:
// nodes forward to theirs. Over TLS it shows the certificate of Config.TLS, and
// a node that refuses it counts as one that was not reached: nothing was sent
// that the node has served.
package api
