// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package httpapi_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/httpapi"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/httpapi/httpapitest"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/kv"
)

// serve runs a real server over the backend and returns its base URL.
func serve(t *testing.T, cfg httpapi.Config) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := httpapi.NewServer(cfg)
	done := make(chan error, 1) // the serving goroutine, once
	go func() { done <- srv.Serve(l) }()
	t.Cleanup(func() {
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return "http://" + l.Addr().String()
}

func do(t *testing.T, method, url string, body io.Reader) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// TestBodies: what a body may be, with and without a Content-Length.
func TestBodies(t *testing.T) {
	base := serve(t, httpapi.Config{Backend: httpapitest.NewMemory()})
	chunked := func(n int) io.Reader { return io.MultiReader(bytes.NewReader(make([]byte, n))) }
	whole := func(n int) io.Reader { return bytes.NewReader(make([]byte, n)) }
	for _, tc := range []struct {
		name   string
		body   io.Reader
		status int
		size   int
	}{
		{"largest", whole(kv.MaxValueBytes), 200, kv.MaxValueBytes},
		{"too large", whole(kv.MaxValueBytes + 1), 413, 0},
		{"largest, chunked", chunked(kv.MaxValueBytes), 200, kv.MaxValueBytes},
		{"too large, chunked", chunked(kv.MaxValueBytes + 1), 413, 0},
		{"much too large, chunked", chunked(20 << 20), 413, 0},
		{"small, chunked", chunked(3), 200, 3},
		{"none, chunked", chunked(0), 200, 0},
	} {
		key := base + "/v1/kv/" + strings.ReplaceAll(tc.name, " ", "-")
		status, text := do(t, http.MethodPut, key, tc.body)
		if status != tc.status {
			t.Errorf("%s: %d %s, want %d", tc.name, status, text, tc.status)
		}
		if status == 413 && !strings.HasPrefix(text, "Request body(") {
			t.Errorf("%s: %q is not Consul's text", tc.name, text)
		}
		status, text = do(t, http.MethodGet, key+"?raw", nil)
		if (status == 200) != (tc.status == 200) || len(text) != tc.size && status == 200 {
			t.Errorf("%s: read back %d with %d bytes", tc.name, status, len(text))
		}
	}
}

// TestBodyThatDoesNotCome: a client promises more than it sends.
func TestBodyThatDoesNotCome(t *testing.T) {
	b := httpapitest.NewMemory()
	addr := strings.TrimPrefix(serve(t, httpapi.Config{Backend: b}), "http://")
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := fmt.Fprintf(conn, "PUT /v1/kv/k HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 10\r\n\r\nhalf"); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 400 ") {
		t.Errorf("%q, %v", answer, err)
	}
	if a, _, err := b.Read(t.Context(), "default", kv.Query{Kind: kv.QueryGet, Key: "k"}, httpapi.Default); err != nil || a.Found {
		t.Errorf("half a value was written: %+v, %v", a, err)
	}
}

func TestServerLimits(t *testing.T) {
	srv := httpapi.NewServer(httpapi.Config{Backend: httpapitest.NewMemory()})
	if srv.ReadHeaderTimeout == 0 || srv.IdleTimeout == 0 || srv.WriteTimeout == 0 || srv.MaxHeaderBytes == 0 {
		t.Errorf("a limit is missing: %+v", srv)
	}
	base := serve(t, httpapi.Config{Backend: httpapitest.NewMemory()})
	if status, _ := do(t, http.MethodGet, base+"/v1/kv/"+strings.Repeat("k", 200<<10), nil); status != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("a path of 200 KiB: %d", status)
	}
}

// TestBackendErrors: each class of error, wrapped, and its answer.
func TestBackendErrors(t *testing.T) {
	for _, tc := range []struct {
		err    error
		status int
		text   string
	}{
		{fmt.Errorf("partition default: %w", httpapi.ErrNoLeader), 500, "No cluster leader"},
		{fmt.Errorf("partition p9: %w", httpapi.ErrNoPartition), 404, "no such partition"},
		{fmt.Errorf("after 10s: %w", httpapi.ErrOutcomeUnknown), 500, "the outcome of the write is unknown"},
		{fmt.Errorf("%w: bad", kv.ErrInvalid), 400, "bad"},
		{context.Canceled, 503, "canceled"},
		{errors.New("disk on fire"), 500, "disk on fire"},
	} {
		b := httpapitest.NewMemory()
		b.Err = tc.err
		h := httpapi.NewHandler(httpapi.Config{Backend: b})
		for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete} {
			w := httptest.NewRecorder()
			r := httptest.NewRequest(method, "/v1/kv/k", nil)
			r.Host = "localhost"
			h.ServeHTTP(w, r)
			if w.Code != tc.status || !strings.Contains(w.Body.String(), tc.text) {
				t.Errorf("%v, %s: %d %q", tc.err, method, w.Code, w.Body)
			}
			if errors.Is(tc.err, httpapi.ErrNoLeader) && w.Body.String() != tc.text {
				t.Errorf("%q is not Consul's text to the letter", w.Body)
			}
		}
	}
}

type panics struct{ httpapi.Backend }

func (panics) LeaderAddress(string) (string, error) { panic("boom") }

func TestPanicIsLoggedAndAnswered(t *testing.T) {
	var log bytes.Buffer
	base := serve(t, httpapi.Config{Backend: panics{httpapitest.NewMemory()}, Logger: hclog.New(&hclog.LoggerOptions{Output: &log})})
	for range 2 {
		if status, text := do(t, http.MethodGet, base+"/v1/status/leader", nil); status != 500 || strings.Contains(text, "boom") {
			t.Errorf("%d %s", status, text)
		}
	}
	if !strings.Contains(log.String(), "boom") || !strings.Contains(log.String(), "server_test.go") {
		t.Errorf("the log lacks the panic or its stack: %s", log.String())
	}
}

func TestHosts(t *testing.T) {
	for _, tc := range []struct {
		hosts []string
		host  string
		ok    bool
	}{
		{nil, "", true},
		{nil, "127.0.0.1", true},
		{nil, "10.1.2.3:8500", true},
		{nil, "[2001:db8::1]:8500", true},
		{nil, "2001:db8::1", true},
		{nil, "LOCALHOST:8500", true},
		{nil, "localhost.", true},
		{nil, "localhost.evil.example", false},
		{nil, "127.0.0.1.evil.example:8500", false},
		{nil, "evil.example", false},
		{[]string{"node1.internal"}, "node1.internal:8500", true},
		{[]string{"node1.internal"}, "Node1.Internal", true},
		{[]string{"node1.internal"}, "node2.internal", false},
		{[]string{"*"}, "anything:1", true},
	} {
		h := httpapi.NewHandler(httpapi.Config{Backend: httpapitest.NewMemory(), Hosts: tc.hosts})
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodGet, "/v1/status/leader", nil)
		r.Host = tc.host
		h.ServeHTTP(w, r)
		if ok := w.Code == http.StatusOK; ok != tc.ok {
			t.Errorf("hosts %q, Host %q: %d", tc.hosts, tc.host, w.Code)
		}
	}
}

func TestMetricsMissing(t *testing.T) {
	h := httpapi.NewHandler(httpapi.Config{Backend: httpapitest.NewMemory()})
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, "/v1/agent/metrics?format=prometheus", nil)
	r.Host = "localhost"
	h.ServeHTTP(w, r)
	if w.Code != http.StatusNotImplemented {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// TestConsoleMounted: the console has /ui and what is below it, behind the
// same checks as everything else, and nothing besides.
func TestConsoleMounted(t *testing.T) {
	with := httpapi.NewHandler(httpapi.Config{Backend: httpapitest.NewMemory(), Console: says("console")})
	without := httpapi.NewHandler(httpapi.Config{Backend: httpapitest.NewMemory()})
	for _, tc := range []struct {
		h      http.Handler
		target string
		host   string
		status int
		body   string
	}{
		{with, "/ui", "127.0.0.1:8500", http.StatusOK, "console"},
		{with, "/ui/", "127.0.0.1:8500", http.StatusOK, "console"},
		{with, "/ui/data?range=6h", "localhost:8500", http.StatusOK, "console"},
		{with, "/ui", "rebound.example", http.StatusForbidden, "does not answer to the name"},
		{with, "/uighur", "127.0.0.1:8500", http.StatusNotFound, "there is nothing at /uighur"},
		{with, "/v1/ui", "127.0.0.1:8500", http.StatusNotFound, "there is nothing at"},
		{with, "/", "127.0.0.1:8500", http.StatusOK, "Holdfast engine; its console is at /ui"},
		{without, "/", "127.0.0.1:8500", http.StatusOK, "Holdfast engine\n"},
		{without, "/ui", "127.0.0.1:8500", http.StatusNotFound, "there is nothing at /ui"},
	} {
		r := httptest.NewRequest(http.MethodGet, tc.target, nil)
		r.Host = tc.host
		w := httptest.NewRecorder()
		tc.h.ServeHTTP(w, r)
		if w.Code != tc.status || !strings.Contains(w.Body.String(), tc.body) {
			t.Errorf("%s of %s: %d %q, want %d %q", tc.target, tc.host, w.Code, w.Body, tc.status, tc.body)
		}
	}
}
