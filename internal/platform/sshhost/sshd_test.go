// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package sshhost

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// The tests speak to OpenSSH's own server. It is started once per connection, as inetd
// would do it: so the test holds the port, nothing has to be waited for, and the number
// of connections is known.

// bridgeArgument makes the test binary a bridge, as a program on the machine would be.
const bridgeArgument = "bridge-for-test"

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == bridgeArgument {
		os.Exit(bridgeMain(os.Args[2]))
	}
	for _, name := range []string{EnvironmentKey, "SSH_AUTH_SOCK"} {
		_ = os.Unsetenv(name)
	}
	if os.Geteuid() == 0 {
		// sshd's own, where no service made it. It stays: another run may be using it.
		_ = os.Mkdir("/run/sshd", 0o755)
	}
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

// testKey is a key pair.
type testKey struct {
	signer ssh.Signer
	pem    []byte
	raw    any
}

func newKey(t *testing.T) testKey {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return keyOf(t, private)
}

func newRSAKey(t *testing.T) testKey {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return keyOf(t, private)
}

func keyOf(t *testing.T, private any) testKey {
	t.Helper()
	block, err := ssh.MarshalPrivateKey(private, "test")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return testKey{signer: signer, pem: pem.EncodeToMemory(block), raw: private}
}

func (k testKey) line() string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(k.signer.PublicKey())))
}

func (k testKey) fingerprint() string { return ssh.FingerprintSHA256(k.signer.PublicKey()) }

// server is one sshd.
type server struct {
	dir      string
	port     int
	user     string
	key      testKey // what authorized_keys has
	hostKeys []testKey
	accepted atomic.Int32
	listener net.Listener
	wg       sync.WaitGroup
	mu       struct {
		sync.Mutex
		running map[*exec.Cmd]bool
		closing bool
	}
}

type serverOptions struct {
	hostKeys []testKey
	path     string // PATH of what it runs
	lines    []string
	port     int
}

func sshdPath(t *testing.T) string {
	t.Helper()
	for _, path := range []string{"/usr/sbin/sshd", "/usr/local/sbin/sshd"} {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	t.Skip("no sshd: install openssh-server (scripts/deps.sh) to run this")
	return ""
}

func startServer(t *testing.T, o serverOptions) *server {
	t.Helper()
	program := sshdPath(t)
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	s := &server{dir: t.TempDir(), user: me.Username, key: newKey(t), hostKeys: o.hostKeys}
	if s.hostKeys == nil {
		s.hostKeys = []testKey{newKey(t)}
	}
	s.mu.running = map[*exec.Cmd]bool{}
	config := fmt.Sprintf("UsePAM no\nStrictModes no\nPidFile none\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\nAuthorizedKeysFile %s\nLogLevel VERBOSE\n",
		s.write(t, "authorized_keys", s.key.line()+"\n"))
	for i, k := range s.hostKeys {
		config += "HostKey " + s.write(t, fmt.Sprintf("host_key_%d", i), string(k.pem)) + "\n"
	}
	if o.path != "" {
		config += "SetEnv PATH=" + o.path + "\n"
	}
	config += strings.Join(o.lines, "\n") + "\n"
	file := s.write(t, "sshd_config", config)
	if out, err := exec.Command(program, "-t", "-f", file).CombinedOutput(); err != nil {
		t.Fatalf("sshd does not take its configuration: %v: %s", err, out)
	}
	if s.listener, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", o.port)); err != nil {
		t.Fatal(err)
	}
	s.port = s.listener.Addr().(*net.TCPAddr).Port
	log, err := os.Create(filepath.Join(s.dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	s.wg.Go(func() { s.serve(t, program, file, log) })
	t.Cleanup(func() {
		_ = s.listener.Close()
		s.mu.Lock()
		s.mu.closing = true
		for cmd := range s.mu.running {
			_ = cmd.Process.Kill()
		}
		s.mu.Unlock()
		s.wg.Wait()
		_ = log.Close()
		if t.Failed() {
			b, _ := os.ReadFile(log.Name())
			t.Logf("sshd says:\n%s", b)
		}
	})
	return s
}

func (s *server) serve(t *testing.T, program, config string, log *os.File) {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.accepted.Add(1)
		f, err := conn.(*net.TCPConn).File()
		_ = conn.Close() // f is another one for the same socket
		if err != nil {
			t.Error(err)
			return
		}
		cmd := exec.Command(program, "-i", "-e", "-f", config)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = f, f, log
		s.mu.Lock()
		if !s.mu.closing {
			if err := cmd.Start(); err != nil {
				t.Error(err)
			} else {
				s.mu.running[cmd] = true
				s.wg.Go(func() {
					_ = cmd.Wait() // it fails where a client goes away
					s.mu.Lock()
					delete(s.mu.running, cmd)
					s.mu.Unlock()
				})
			}
		}
		s.mu.Unlock()
		_ = f.Close()
	}
}

func (s *server) write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func (s *server) endpoint() Endpoint {
	return Endpoint{User: s.user, Address: "127.0.0.1", Port: s.port,
		Key: Key{PEM: s.key.pem}, HostKey: HostKey{Given: []string{s.hostKeys[0].line()}}}
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

// relay is a TCP proxy that can do harm.
type relay struct {
	port     int
	listener net.Listener
	wg       sync.WaitGroup
	// budget is after how many bytes from the client the next connection is cut; below 0: never.
	budget atomic.Int64
	// silent swallows everything and closes nothing.
	silent atomic.Bool
	up     atomic.Int64 // bytes from clients
	mu     struct {
		sync.Mutex
		conns []net.Conn
	}
}

func startRelay(t *testing.T, target int) *relay {
	t.Helper()
	return startRelayOn(t, 0, target)
}

func startRelayOn(t *testing.T, port, target int) *relay {
	t.Helper()
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{port: l.Addr().(*net.TCPAddr).Port, listener: l}
	r.budget.Store(-1)
	r.wg.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			machine, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", target))
			if err != nil {
				_ = client.Close()
				continue
			}
			r.mu.Lock()
			r.mu.conns = append(r.mu.conns, client, machine)
			r.mu.Unlock()
			budget := r.budget.Swap(-1)
			r.wg.Go(func() { r.pump(machine, client, true, budget) })
			r.wg.Go(func() { r.pump(client, machine, false, -1) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		r.cut()
		r.wg.Wait()
	})
	return r
}

func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.mu.conns {
		_ = c.Close()
	}
	r.mu.conns = nil
}

func (r *relay) pump(to, from net.Conn, counted bool, budget int64) {
	defer func() { _ = to.Close(); _ = from.Close() }()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if r.silent.Load() {
			if err != nil {
				return
			}
			continue
		}
		if counted {
			r.up.Add(int64(n))
			if budget >= 0 {
				if int64(n) >= budget {
					_, _ = to.Write(buf[:budget])
					return
				}
				budget -= int64(n)
			}
		}
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func through(r *relay, cfg Config) Config {
	cfg.Port = r.port
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

// stubs makes programs that come first in the PATH of the machine.
func stubs(t *testing.T, programs map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, script := range programs {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir + ":/usr/sbin:/usr/bin:/sbin:/bin"
}

// within is a bound for what must end by itself; not a measurement.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}
