// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package sshhost

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform/sshhost/sshdtest"
)

// bridgeArgument makes the test binary a bridge, as a program on the machine would be.
const bridgeArgument = "bridge-for-test"

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == bridgeArgument {
		os.Exit(bridgeMain(os.Args[2]))
	}
	for _, name := range []string{EnvironmentKey, "SSH_AUTH_SOCK"} {
		_ = os.Unsetenv(name)
	}
	sshdtest.Setup()
	os.Exit(m.Run())
}

func bridgeMain(socket string) int {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	go func() {
		_, _ = io.Copy(conn, os.Stdin)
		_ = conn.(*net.UnixConn).CloseWrite()
	}()
	if _, err := io.Copy(os.Stdout, conn); err != nil {
		return 1
	}
	return 0
}

type (
	testKey       = sshdtest.Key
	serverOptions = sshdtest.Options
	relay         = sshdtest.Relay
)

var (
	newKey    = sshdtest.NewKey
	newRSAKey = sshdtest.NewRSAKey
	sshdPath  = sshdtest.Program
	stubs     = sshdtest.Stubs
)

func startRelay(t *testing.T, target int) *relay {
	t.Helper()
	return sshdtest.StartRelay(t, 0, target)
}

func startRelayOn(t *testing.T, port, target int) *relay {
	t.Helper()
	return sshdtest.StartRelay(t, port, target)
}

// server is one sshd, in the words of this package.
type server struct{ *sshdtest.Server }

func startServer(t *testing.T, o serverOptions) *server {
	t.Helper()
	return &server{sshdtest.Start(t, o)}
}

func (s *server) endpoint() Endpoint {
	return Endpoint{User: s.User, Address: "127.0.0.1", Port: s.Port,
		Key: Key{PEM: s.Key.PEM}, HostKey: HostKey{Given: []string{s.HostKeys[0].Line()}}}
}

// config reaches the server, and does nothing twice.
func (s *server) config() Config {
	return Config{Endpoint: s.endpoint(), BootTimeout: -1, Repeats: -1}
}

func newHost(t *testing.T, cfg Config) *Host {
	t.Helper()
	h, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

func wantError(t *testing.T, err error, class error, words ...string) {
	t.Helper()
	if !errors.Is(err, class) {
		t.Fatalf("got %v, want %v", err, class)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("it does not say %q: %v", w, err)
		}
	}
}

func through(r *relay, cfg Config) Config {
	cfg.Port = r.Port
	return cfg
}

func output(t *testing.T, h *Host, script string) string {
	t.Helper()
	result, err := h.Run(t.Context(), Command{Script: script})
	if err != nil {
		t.Fatal(err)
	}
	return string(bytes.TrimSpace(result.Stdout))
}

// within is a bound for what must end by itself; not a measurement.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}
