// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package httpapi_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/api"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/httpapi"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/httpapi/httpapitest"
)

// TestConsul runs the scripts of testdata/consul: what a client sends, and
// every byte of what it gets. Each was compared with Consul's handlers
// (agent/kvs_endpoint.go, agent/http.go, agent/consul/state/kvs.go); where
// Holdfast differs on purpose the script says so.
//
//	http            one request: method, target, then headers, a blank line, the body
//	backend         leader=ADDR | leader=none | last-contact=DURATION
func TestConsul(t *testing.T) {
	datadriven.Walk(t, "testdata/consul", func(t *testing.T, path string) {
		b := newBackend()
		h := httpapi.NewHandler(httpapi.Config{Backend: b, Metrics: says("inmem"), Prometheus: says("prometheus")})
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "http":
				return roundTrip(h, d.Input)
			case "backend":
				for _, a := range d.CmdArgs {
					switch a.Key {
					case "leader":
						b.Leader = strings.TrimPrefix(a.Vals[0], "none")
					case "last-contact":
						var err error
						if b.LastContact, err = time.ParseDuration(a.Vals[0]); err != nil {
							t.Fatal(err)
						}
					}
				}
				return ""
			}
			t.Fatalf("unknown command %q", d.Cmd)
			return ""
		})
	})
}

func newBackend() *httpapitest.Memory {
	b := httpapitest.NewMemory("p2")
	b.Raft = api.RaftConfiguration{Index: 1, Servers: []api.RaftServer{
		{ID: "n1-id", Node: "n1", Address: "127.0.0.1:8300", Leader: true, ProtocolVersion: "3", Voter: true, LastIndex: 7},
		{ID: "n2-id", Node: "n2", Address: "127.0.0.2:8300", ProtocolVersion: "3", Voter: true, LastIndex: 6},
	}}
	b.Node = api.NodeStores{Node: "n1", Stores: []api.Store{{ID: "s1", Failover: api.Failover{Mode: "side-disk"}}}}
	return b
}

func says(text string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(text)) })
}

// roundTrip sends a request and writes down the answer: status, headers in
// order, a blank line, and the body as it is.
func roundTrip(h http.Handler, input string) string {
	head, body, _ := strings.Cut(input, "\n\n")
	lines := strings.Split(strings.TrimSpace(head), "\n")
	method, target, _ := strings.Cut(lines[0], " ")
	r := httptest.NewRequest(method, target, strings.NewReader(strings.TrimSuffix(body, "\n")))
	r.Host = "127.0.0.1:8500"
	for _, l := range lines[1:] {
		name, value, _ := strings.Cut(l, ": ")
		if name == "Host" {
			r.Host = value
			continue
		}
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	var b strings.Builder
	fmt.Fprintf(&b, "%d %s\n", w.Code, http.StatusText(w.Code))
	for _, name := range slices.Sorted(maps.Keys(w.Header())) {
		fmt.Fprintf(&b, "%s: %s\n", name, strings.Join(w.Header()[name], " | "))
	}
	if w.Body.Len() > 0 {
		fmt.Fprintf(&b, "| %s", strings.TrimSuffix(strings.ReplaceAll(w.Body.String(), "\n", "\n| "), "\n| "))
		if strings.HasSuffix(w.Body.String(), "\n") {
			b.WriteString("\\n")
		}
		b.WriteByte('\n')
	}
	return b.String()
}
