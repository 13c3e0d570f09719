// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package emulator

import (
	"slices"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/test/gcefake/discovery"
)

// Call is one request that reached the server.
type Call struct {
	Time      time.Time
	Method    string // compute.disks.insert; "" when the document has no such method
	Path      string // as sent, without the query
	Scope     string // zones/us-east4-a, regions/us-east4, global; "" for none
	Name      string // of the resource: from the path, or from the body of an insert
	RequestID string

	Status    int    // 0 when the connection ended before an answer
	Operation string // the name of the operation that the call began or repeated
	Replayed  bool   // the request was one that had been carried out before
	Fault     bool   // an injected fault hit the call
	// Violations of the discovery document. A client that is right has none.
	Violations []discovery.Violation
}

// Calls returns the log of calls, in the order in which they arrived.
func (s *Server) Calls() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	calls := make([]Call, len(s.mu.calls))
	for i, c := range s.mu.calls {
		calls[i] = *c
	}
	return calls
}

// ForgetCalls empties the log.
func (s *Server) ForgetCalls() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.calls = nil
}

// Count returns how many calls are in the log, by what key makes of each; ""
// is not counted. A test that wants the calls of each node maps the names of a
// node's resources to the node.
func (s *Server) Count(key func(Call) string) map[string]int {
	counts := map[string]int{}
	for _, c := range s.Calls() {
		if k := key(c); k != "" {
			counts[k]++
		}
	}
	return counts
}

// Violations returns the calls that the discovery document does not allow.
func (s *Server) Violations() []Call {
	return slices.DeleteFunc(s.Calls(), func(c Call) bool { return len(c.Violations) == 0 })
}
