// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"encoding/json"
	"errors"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
)

// What the disks of this machine take is said of a node that is shown, and of no other.
func TestAskRates(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "agent.sock")
	l, err := agentapi.Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	st := agentapi.Status{Node: "a", Spec: &agentapi.Spec{Cluster: agentapi.Cluster{ID: "c1"}},
		Rates: &agentapi.Rates{At: time.Unix(0, 0), Enough: true, Verdict: "the side disk takes 500 writes"}}
	srv := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(st)
	})}
	done := make(chan error, 1) // one result
	go func() { done <- srv.Serve(l) }()
	t.Cleanup(func() {
		_ = srv.Close() // no request is left
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	line := func(nodes ...nodeStatus) string {
		t.Helper()
		r, err := askRates(t.Context(), socket, nodes)
		var b strings.Builder
		if err != nil || r.print(&b) != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(b.String())
	}
	ours := nodeStatus{Name: "a", cluster: "c1"}
	if got, want := line(nodeStatus{Name: "b", cluster: "c1"}, ours), "the disks of a: the side disk takes 500 writes (measured 1970-01-01T00:00:00Z)"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	st.Rates.Enough = false
	if got := line(ours); !strings.HasPrefix(got, "the disks of a: too slow: ") {
		t.Error(got)
	}
	if got := line(nodeStatus{Name: "a", cluster: "c2"}); got != "" {
		t.Errorf("of another cluster: %q", got)
	}
	st.Rates = nil
	if got := line(ours); got != "" {
		t.Errorf("not measured: %q", got)
	}
	if _, err := askRates(t.Context(), socket+"2", nil); err == nil {
		t.Error("nobody answers, and there is no error")
	}
}
