// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Package console is the page at /ui of every node: the cluster's nodes as
// this node knows them, its stores and partitions, where each log writes to,
// and charts of the last minutes and hours.
//
// # How it is made
//
//	Source ──1/s──▶ sampler ──▶ history (ring 1 s × 10 min, ring 10 s × 6 h)
//	   │                            │
//	   ▼                            ▼
//	view (pure) ──▶ html/template ──▶ GET /ui, GET /ui/data
//
// There is one renderer, on the server. /ui is complete without JavaScript;
// with it, the page asks /ui/data every second for the same fragments rendered
// anew and for the samples that it lacks, and draws the charts with uPlot. The
// alternative, tables that a script builds from JSON, would have said
// everything twice.
//
// # Guarantees
//
//   - It only reads: GET and HEAD, nothing else is answered.
//   - It answers from memory, also while every disk of the node hangs.
//   - Memory is bounded: the rings are allocated at the start.
//   - Nothing is loaded from elsewhere. The Content-Security-Policy allows this
//     origin's scripts and styles and none inline.
//   - A page that cannot reach its node says so, and since when.
//
// # What it does not do
//
// It puts nothing on disk: history begins anew with the process. It does not
// ask other nodes: servers know each other's raft addresses and not where
// their HTTP APIs are, so a node's disks are shown on that node's page only.
// It knows no raft: [Source] is all that it sees of an engine.
package console
