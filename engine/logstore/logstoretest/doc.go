// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Package logstoretest is the conformance suite of package logstore: what a
// Store promises, asked of any implementation. It keeps nothing on disk but
// what the store under test does, in directories of the test.
package logstoretest
