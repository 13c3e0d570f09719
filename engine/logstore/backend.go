// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package logstore

import (
	"fmt"
	"strings"
)

// Backend names an implementation. The names are those of Consul's
// raft_logstore.backend.
type Backend string

const (
	// WAL is raft-wal: segments of a write-ahead log, in wal/.
	WAL Backend = "wal"
	// BoltDB is raft-boltdb: one B+tree file, raft.db.
	BoltDB Backend = "boltdb"
)

// Default is used where no backend is configured and no log exists yet.
const Default = WAL

// Backends lists the known backends in the order in which they are shown.
func Backends() []Backend { return []Backend{WAL, BoltDB} }

// Parse reads a backend's name as a user wrote it. The empty string is the
// default.
func Parse(s string) (Backend, error) {
	if s == "" {
		return Default, nil
	}
	var known []string
	for _, b := range Backends() {
		if s == string(b) {
			return b, nil
		}
		known = append(known, fmt.Sprintf("%q", b))
	}
	return "", fmt.Errorf("%w %q: use one of %s", ErrUnknownBackend, s, strings.Join(known, ", "))
}

// String returns the name as it is configured.
func (b Backend) String() string { return string(b) }
