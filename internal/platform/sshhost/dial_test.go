// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package sshhost

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// serveAgent is an ssh-agent with keys.
func serveAgent(t *testing.T, keys ...testKey) string {
	t.Helper()
	ring := agent.NewKeyring()
	for _, k := range keys {
		if err := ring.Add(agent.AddedKey{PrivateKey: k.Raw}); err != nil {
			t.Fatal(err)
		}
	}
	dir, err := os.MkdirTemp("", "agent") //nolint:usetesting // t.TempDir may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { _ = agent.ServeAgent(ring, conn); _ = conn.Close() })
		}
	})
	t.Cleanup(func() { _ = l.Close(); wg.Wait(); _ = os.RemoveAll(dir) })
	return socket
}

func protected(t *testing.T, k testKey, passphrase string) []byte {
	t.Helper()
	block, err := ssh.MarshalPrivateKeyWithPassphrase(k.Raw, "test", []byte(passphrase))
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(block)
}

func TestWaysToLogIn(t *testing.T) {
	s := startServer(t, serverOptions{})
	locked := protected(t, s.Key, "open sesame")
	stranger := newKey(t)
	for _, tc := range []struct {
		name  string
		key   Key
		env   map[string]string
		want  error
		words []string
	}{
		{name: "key in the configuration", key: Key{PEM: s.Key.PEM}},
		{name: "key file", key: Key{File: s.Write(t, "id", string(s.Key.PEM))}},
		{name: "environment", env: map[string]string{EnvironmentKey: string(s.Key.PEM)}},
		{name: "agent", key: Key{AgentSocket: serveAgent(t, stranger, s.Key)}},
		{name: "agent of the environment", env: map[string]string{"SSH_AUTH_SOCK": serveAgent(t, s.Key)}},
		{name: "protected key file", key: Key{File: s.Write(t, "locked", string(locked)), Passphrase: "open sesame"}},
		{name: "protected, no passphrase", key: Key{File: s.Write(t, "locked", string(locked))},
			want: ErrPassphrase, words: []string{"locked", "none was given", "ssh-add"}},
		{name: "protected, wrong passphrase", key: Key{PEM: locked, Passphrase: "open"}, want: ErrPassphrase, words: []string{"does not open it"}},
		{name: "no key at all", want: ErrNoKey, words: []string{EnvironmentKey}},
		{name: "no such file", key: Key{File: "/does/not/exist"}, want: ErrNoKey, words: []string{"/does/not/exist"}},
		{name: "not a key", key: Key{PEM: []byte("hello")}, want: ErrNoKey},
		{name: "empty agent", key: Key{AgentSocket: serveAgent(t)}, want: ErrNoKey, words: []string{"holds no key"}},
		{name: "no agent", key: Key{AgentSocket: "/does/not/exist"}, want: ErrNoKey, words: []string{"does not answer"}},
		{name: "wrong key", key: Key{PEM: stranger.PEM}, want: ErrAuth, words: []string{"authorized_keys", "the configuration"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for k, v := range tc.env {
				t.Setenv(k, v)
			}
			cfg := s.config()
			cfg.Key = tc.key
			h := newHost(t, cfg)
			err := h.Connect(t.Context())
			if tc.want != nil {
				wantError(t, err, tc.want, tc.words...)
				if strings.Contains(err.Error(), "open sesame") || strings.Contains(err.Error(), "PRIVATE KEY") {
					t.Errorf("a secret is in the error: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := output(t, h, "echo $((6*7))"); got != "42" {
				t.Errorf("got %q", got)
			}
		})
	}
}

func TestWrongUser(t *testing.T) {
	s := startServer(t, serverOptions{})
	cfg := s.config()
	cfg.User = "nobody-of-that-name"
	wantError(t, newHost(t, cfg).Connect(t.Context()), ErrAuth, "nobody-of-that-name@127.0.0.1", "Check the user's name")
	if n := s.Accepted.Load(); n != 1 {
		t.Errorf("it was tried %d times, want 1", n)
	}
}

// A machine that starts refuses connections first. The server starts once
// the host says that it waits, so without trying again this fails.
func TestMachineThatBoots(t *testing.T) {
	sshdPath(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	_ = l.Close()
	host := newKey(t)
	var s *server
	cfg := Config{Endpoint: Endpoint{User: "later", Address: "127.0.0.1", Port: port, HostKey: HostKey{Given: []string{host.Line()}}, Key: Key{PEM: newKey(t).PEM}}}
	cfg.Progress = func(line string) {
		if s == nil {
			if !strings.Contains(line, "waiting for") || !strings.Contains(line, "refused") {
				t.Errorf("it says %q", line)
			}
			s = startServer(t, serverOptions{HostKeys: []testKey{host}, Port: port})
		}
	}
	// The user does not exist, which only a server that runs can say.
	wantError(t, newHost(t, cfg).Connect(within(t)), ErrAuth)
}

func TestUnreachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	_ = l.Close()
	cfg := Config{Endpoint: Endpoint{User: "u", Address: "127.0.0.1", Port: port, Key: Key{PEM: newKey(t).PEM},
		HostKey: HostKey{Given: []string{newKey(t).Line()}}}, BootTimeout: -1}
	wantError(t, newHost(t, cfg).Connect(t.Context()), ErrUnreachable, "firewall")

	ctx, cancel := context.WithCancel(t.Context())
	cfg.BootTimeout = 0
	cfg.Progress = func(string) { cancel() } // it waits; not for the two minutes that it would
	wantError(t, newHost(t, cfg).Connect(ctx), context.Canceled)
}

// Something listens and never says a word: the attempt ends.
func TestSilentServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	cfg := Config{Endpoint: Endpoint{User: "u", Address: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port, Key: Key{PEM: newKey(t).PEM},
		HostKey: HostKey{Given: []string{newKey(t).Line()}}}, BootTimeout: -1, AttemptTimeout: 100_000_000}
	wantError(t, newHost(t, cfg).Connect(within(t)), ErrUnreachable, "deadline")
}

func TestMayBoot(t *testing.T) {
	on := Endpoint{User: "u", Address: "a", Port: 22}
	refused := &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	for _, tc := range []struct {
		err  error
		want bool
	}{
		{&attemptError{at: stepReach, on: on, err: refused}, true},
		{&attemptError{at: stepReach, on: on, err: context.DeadlineExceeded}, true},
		{&attemptError{at: stepReach, on: on, err: &ssh.OpenChannelError{Reason: ssh.ConnectionFailed}}, true},
		{&attemptError{at: stepReach, on: on, err: &ssh.OpenChannelError{Reason: ssh.Prohibited}}, false},
		{&attemptError{at: stepReach, on: on, err: &net.DNSError{IsNotFound: true}}, false},
		{&attemptError{at: stepReach, on: on, err: errors.New("something else")}, false},
		{&attemptError{at: stepHello, on: on, err: &net.OpError{Op: "read", Err: syscall.ECONNRESET}}, true},
		{&attemptError{at: stepKey, on: on, err: &HostKeyError{}}, false},
		{&attemptError{at: stepLogin, on: on, err: fmt.Errorf("%w: no", ErrAuth)}, false},
		{refused, false},
	} {
		if got := mayBoot(tc.err); got != tc.want {
			t.Errorf("%v: got %v", tc.err, got)
		}
	}
}

func TestJump(t *testing.T) {
	first, second, machine := startServer(t, serverOptions{}), startServer(t, serverOptions{}), startServer(t, serverOptions{})
	cfg := machine.config()
	cfg.Jump = []Endpoint{first.endpoint(), second.endpoint()}
	h := newHost(t, cfg)
	// Each hop is entered from the one before.
	if got, want := output(t, h, `echo "${SSH_CONNECTION##* }"`), fmt.Sprint(machine.Port); got != want {
		t.Errorf("it is the machine at port %s, want %s", got, want)
	}
	for i, s := range []*server{first, second, machine} {
		if n := s.Accepted.Load(); n != 1 {
			t.Errorf("server %d was entered %d times", i, n)
		}
	}

	t.Run("its host key is checked", func(t *testing.T) {
		cfg := cfg
		bad := first.endpoint()
		bad.HostKey.Given = []string{newKey(t).Line()}
		cfg.Jump = []Endpoint{bad}
		before := machine.Accepted.Load()
		wantError(t, newHost(t, cfg).Connect(t.Context()), ErrHostKey, first.HostKeys[0].Fingerprint())
		if machine.Accepted.Load() != before {
			t.Error("the machine was reached all the same")
		}
	})
	t.Run("the machine's host key is checked behind it", func(t *testing.T) {
		cfg := cfg
		cfg.HostKey.Given = []string{newKey(t).Line()}
		wantError(t, newHost(t, cfg).Connect(t.Context()), ErrHostKey, machine.HostKeys[0].Fingerprint())
	})
	t.Run("it cannot reach the machine", func(t *testing.T) {
		cfg := cfg
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		cfg.Port = l.Addr().(*net.TCPAddr).Port
		_ = l.Close()
		wantError(t, newHost(t, cfg).Connect(within(t)), ErrUnreachable)
	})
}

func TestConfig(t *testing.T) {
	good := Config{Endpoint: Endpoint{User: "u", Address: "a", HostKey: HostKey{File: "f"}}}
	if _, err := New(good); err != nil {
		t.Fatal(err)
	}
	for field, spoil := range map[string]func(*Config){
		"user":             func(c *Config) { c.User = "" },
		"address":          func(c *Config) { c.Address = "a:22/" },
		"port":             func(c *Config) { c.Port = 70000 },
		"host key":         func(c *Config) { c.HostKey = HostKey{} },
		"known_hosts":      func(c *Config) { c.HostKey = HostKey{Record: true} },
		"jump[0].user":     func(c *Config) { c.Jump = []Endpoint{{}} },
		"jump[0].host key": func(c *Config) { c.Jump = []Endpoint{{User: "u", Address: "a"}} },
	} {
		cfg := good
		spoil(&cfg)
		_, err := New(cfg)
		wantError(t, err, ErrConfig, field)
	}
}

func TestClosed(t *testing.T) {
	s := startServer(t, serverOptions{})
	h := newHost(t, s.config())
	if err := h.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := h.Run(t.Context(), Command{Args: []string{"true"}})
	wantError(t, err, ErrClosed)
}

// Try does not wait for a machine that may be starting.
func TestTry(t *testing.T) {
	s := startServer(t, serverOptions{})
	r := startRelay(t, s.Port)
	r.Down.Store(true)
	var tried atomic.Int32
	r.OnAccept(func() { tried.Add(1) })
	cfg := through(r, s.config())
	cfg.BootTimeout = 0 // two minutes
	h := newHost(t, cfg)
	wantError(t, h.Try(within(t)), ErrUnreachable)
	if n := tried.Load(); n != 1 {
		t.Errorf("it was tried %d times", n)
	}
	r.Down.Store(false)
	if err := h.Try(within(t)); err != nil {
		t.Fatal(err)
	}
	if got := output(t, h, "echo well"); got != "well" {
		t.Errorf("got %q", got)
	}
}

// No attempt is made without its token, which is given back.
func TestAttempts(t *testing.T) {
	s := startServer(t, serverOptions{})
	cfg := s.config()
	cfg.Attempts = make(chan struct{}, 1)
	cfg.Attempts <- struct{}{} // of another host
	h := newHost(t, cfg)
	ctx, cancel := context.WithTimeout(t.Context(), 50_000_000)
	defer cancel()
	wantError(t, h.Connect(ctx), ErrTimeout)
	if n := s.Accepted.Load(); n != 0 {
		t.Errorf("%d attempts were made", n)
	}
	<-cfg.Attempts
	if err := h.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(cfg.Attempts) != 0 {
		t.Error("the token was kept")
	}
}
