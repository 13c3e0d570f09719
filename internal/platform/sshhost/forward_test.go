// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package sshhost

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// serveHTTP is what an agent would be: HTTP on a unix socket.
func serveHTTP(t *testing.T) (socket string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "sock") //nolint:usetesting // t.TempDir may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket = filepath.Join(dir, "agent.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	serve(t, l)
	return socket
}

func serve(t *testing.T, l net.Listener) {
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		_, _ = w.Write([]byte(r.URL.Path + " " + string(b)))
	})}
	done := make(chan struct{}) // closed by the server's goroutine
	go func() { _ = server.Serve(l); close(done) }()
	t.Cleanup(func() { _ = server.Close(); <-done })
}

func post(t *testing.T, dial func(context.Context) (net.Conn, error), keep bool) string {
	t.Helper()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) }, DisableKeepAlives: !keep}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	var text string
	for range 3 {
		req, err := http.NewRequestWithContext(within(t), http.MethodPost, "http://agent/v1/spec", strings.NewReader(strings.Repeat("x", 100_000)))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		text = string(b)
	}
	return text
}

var posted = "/v1/spec " + strings.Repeat("x", 100_000)

func TestDialUnix(t *testing.T) {
	s := startServer(t, serverOptions{})
	h := newHost(t, s.config())
	socket := serveHTTP(t)
	for _, keep := range []bool{false, true} {
		if got := post(t, func(ctx context.Context) (net.Conn, error) { return h.DialUnix(ctx, socket) }, keep); got != posted {
			t.Errorf("got %d bytes", len(got))
		}
	}
	_, err := h.DialUnix(t.Context(), socket+"x")
	wantError(t, err, ErrNoSocket, "agent runs")
	_, err = h.DialUnix(t.Context(), "relative")
	wantError(t, err, ErrConfig)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = h.DialUnix(ctx, socket)
	wantError(t, err, context.Canceled)
}

func TestDialContext(t *testing.T) {
	s := startServer(t, serverOptions{})
	h := newHost(t, s.config())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serve(t, l)
	address := l.Addr().String()
	if got := post(t, func(ctx context.Context) (net.Conn, error) { return h.DialContext(ctx, "tcp", address) }, true); got != posted {
		t.Errorf("got %d bytes", len(got))
	}
	_, err = h.DialContext(t.Context(), "udp", address)
	if err == nil {
		t.Error("UDP went through")
	}
}

func TestForwardingOnANewConnection(t *testing.T) {
	s := startServer(t, serverOptions{})
	r := startRelay(t, s.Port)
	cfg := through(r, s.config())
	cfg.Repeats = 1
	h := newHost(t, cfg)
	if err := h.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.Cut()
	socket := serveHTTP(t)
	if got := post(t, func(ctx context.Context) (net.Conn, error) { return h.DialUnix(ctx, socket) }, false); got != posted {
		t.Errorf("got %d bytes", len(got))
	}
}

// sshd does not open the socket; the bridge does, by way of sudo.
func TestBridge(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	off := []string{"AllowStreamLocalForwarding no"}
	sudo := stubs(t, map[string]string{"id": notRoot, "sudo": `shift 2; exec "$@"`})
	s := startServer(t, serverOptions{Path: sudo, Lines: off})
	cfg := s.config()
	cfg.Bridge = func(socket string) []string { return []string{self, bridgeArgument, socket} }
	h := newHost(t, cfg)
	socket := serveHTTP(t)
	for _, keep := range []bool{false, true} {
		// More requests than sessions: each connection gives its one back.
		for range maxSessions {
			if got := post(t, func(ctx context.Context) (net.Conn, error) { return h.DialUnix(ctx, socket) }, keep); got != posted {
				t.Errorf("got %d bytes", len(got))
			}
		}
	}
	_, err = h.DialUnix(t.Context(), socket+"x")
	wantError(t, err, ErrNoSocket)

	t.Run("no program", func(t *testing.T) {
		cfg := cfg
		cfg.Bridge = func(string) []string { return []string{"/does/not/exist"} }
		h := newHost(t, cfg)
		conn, err := h.DialUnix(t.Context(), socket)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Read(make([]byte, 1)); err == nil {
			t.Error("it read something")
		}
		_ = conn.Close()
	})
	t.Run("no bridge", func(t *testing.T) {
		cfg := cfg
		cfg.Bridge = nil
		_, err := newHost(t, cfg).DialUnix(t.Context(), socket)
		wantError(t, err, ErrRefused, "AllowStreamLocalForwarding")
	})
	t.Run("no sudo", func(t *testing.T) {
		s := startServer(t, serverOptions{Lines: off, Path: stubs(t, map[string]string{"id": notRoot, "sudo": "echo a password is required >&2; exit 1"})})
		cfg := s.config()
		cfg.Bridge = h.cfg.Bridge
		_, err := newHost(t, cfg).DialUnix(t.Context(), socket)
		wantError(t, err, ErrSudoRefused)
	})
}
