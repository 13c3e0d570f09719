// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package agentapi

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// serve answers on a socket in a directory whose path alone exceeds sun_path.
func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), strings.Repeat("deep/", 30))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "agent.sock")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: time.Second}
	done := make(chan struct{}) // closed when Serve returned
	go func() { defer close(done); _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close(); <-done })
	return path
}

func TestLongSocketPath(t *testing.T) {
	path := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"node":"a","stores":[],"problems":[]}`))
	}))
	if len(path) <= maxSocketPath {
		t.Fatalf("the test's path is short: %d bytes", len(path))
	}
	s, err := NewClient(path).Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s.Node != "a" {
		t.Errorf("node: %q", s.Node)
	}
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if fi.Mode().Perm() != 0o600 {
		t.Errorf("mode of the socket: %v", fi.Mode())
	}
}

func TestListenReplacesLeftSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "agent.sock")
	for range 2 {
		l, err := Listen(path)
		if err != nil {
			t.Fatal(err)
		}
		_ = l.Close()
		if _, err := os.Stat(path); err != nil {
			t.Fatalf("the file is kept: %v", err)
		}
	}
}

func TestUnreachable(t *testing.T) {
	dir := t.TempDir()
	closed := filepath.Join(dir, "closed.sock")
	l, err := Listen(closed)
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	silent := serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	for name, path := range map[string]string{
		"no socket":      filepath.Join(dir, "none.sock"),
		"no directory":   filepath.Join(dir, strings.Repeat("x/", 80), "agent.sock"),
		"nobody listens": closed,
		"no answer":      silent,
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			_, err := NewClient(path).Status(ctx)
			if !errors.Is(err, ErrUnreachable) {
				t.Errorf("got %v", err)
			}
			if !strings.Contains(err.Error(), path) {
				t.Errorf("the error does not name %s: %v", path, err)
			}
		})
	}
	t.Run("given up by the caller", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		c := NewClientWithDialer(func(context.Context) (net.Conn, error) { cancel(); return nil, errors.New("no") })
		if _, err := c.Status(ctx); errors.Is(err, ErrUnreachable) || !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}

func TestRefusal(t *testing.T) {
	path := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			w.WriteHeader(http.StatusUnprocessableEntity)
			_, _ = w.Write([]byte(`{"what":"the spec is refused","why":"ports.http is 0","next":"Set it to 8500.","field":"ports.http"}`))
			return
		}
		http.Error(w, "oops", http.StatusInternalServerError)
	}))
	c := NewClient(path)
	_, err := c.PutSpec(t.Context(), &Spec{}, nil)
	e, ok := errors.AsType[*Error](err)
	if !ok {
		t.Fatalf("got %v", err)
	}
	want := &Error{What: "the spec is refused", Why: "ports.http is 0", Next: "Set it to 8500.", Field: "ports.http"}
	if diff := cmp.Diff(want, e); diff != "" {
		t.Error(diff)
	}
	if got := e.Error(); got != "the spec is refused: ports.http is 0. Set it to 8500." {
		t.Errorf("reads %q", got)
	}
	if _, err := c.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "500 Internal Server Error oops") {
		t.Errorf("got %v", err)
	}
}
