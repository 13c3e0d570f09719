// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Package httpapi answers the engine's HTTP API over a [Backend].
//
// Paths, status codes, headers, field names and most texts under /v1 are
// Consul's, so that its clients work unchanged; the tests hold the table of
// behaviours that were compared (testdata/consul). /_status and
// /v1/operator/settings are Holdfast's own. What Consul has and Holdfast does
// not have yet is refused in words, never ignored: a parameter (blocking
// queries, sessions, other datacenters) with 501, a path (transactions, the
// catalog) with 404.
//
// # Where it differs from Consul on purpose
//
//   - ?cas and ?flags that are not numbers answer 400 rather than 500.
//   - A key may have at most [kv.MaxKeyBytes] bytes (400). Consul has no limit.
//   - A put of the value that is there already takes a new ModifyIndex.
//   - A value that comes chunked is held to the same limit as one with a
//     Content-Length.
//   - /v1/operator/raft/configuration answers from this node's memory.
//
// # Who may call it
//
// There are no ACLs yet: whoever reaches the listener may read and write. A
// browser is kept out. A page of another site cannot write, because writes
// are PUT and DELETE, which need a CORS preflight that no handler grants, and
// because [http.CrossOriginProtection] refuses what bears another site's
// mark; and a site whose name was rebound to this machine's address is
// refused for its Host header, which must be an IP address, localhost or one
// of [Config].Hosts.
//
// # What it does not do
//
// It puts nothing on disk, starts no goroutine of its own, and forwards
// nothing: that is the Backend's.
package httpapi
