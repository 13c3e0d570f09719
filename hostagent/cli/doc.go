// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Package cli is the command line of the holdfast binary.
//
// Data goes to standard output, messages to standard error. Where a person
// sees a table, -json gives the same for programs. The exit code is 0 on
// success, 1 when the command failed, 2 when it was called in a wrong way. An
// error says what failed, why, and what to do next.
//
// Flags are of the standard flag package: -name and --name are the same, and
// they stand before other arguments. Those of holdfast cert may follow, as
// CockroachDB's do.
package cli
