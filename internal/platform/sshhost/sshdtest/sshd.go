// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Package sshdtest runs OpenSSH's own server for tests, and a TCP relay that does harm to
// connections. Everything ends with the test.
//
// sshd is started once per connection, as inetd would do it: so the test holds the port,
// nothing has to be waited for, and the number of connections is known.
package sshdtest

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/crypto/ssh"
)

// Key is a key pair.
type Key struct {
	Signer ssh.Signer
	PEM    []byte
	Raw    any
}

// NewKey makes an ed25519 key.
func NewKey(t *testing.T) Key {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return keyOf(t, private)
}

// NewRSAKey makes an RSA key.
func NewRSAKey(t *testing.T) Key {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return keyOf(t, private)
}

func keyOf(t *testing.T, private any) Key {
	t.Helper()
	block, err := ssh.MarshalPrivateKey(private, "test")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return Key{Signer: signer, PEM: pem.EncodeToMemory(block), Raw: private}
}

// Line is the public key as authorized_keys has it.
func (k Key) Line() string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(k.Signer.PublicKey())))
}

// Fingerprint is SHA256:….
func (k Key) Fingerprint() string { return ssh.FingerprintSHA256(k.Signer.PublicKey()) }

// Server is one sshd on a port of 127.0.0.1.
type Server struct {
	Dir      string
	Port     int
	User     string
	Key      Key // what authorized_keys has
	HostKeys []Key
	Accepted atomic.Int32 // connections so far
	listener net.Listener
	wg       sync.WaitGroup
	mu       struct {
		sync.Mutex
		running map[*exec.Cmd]bool
		closing bool
	}
}

// Options are what differs from one server to another.
type Options struct {
	HostKeys []Key    // an ed25519 key, where there are none
	Path     string   // PATH of what it runs
	Lines    []string // of sshd_config
	Port     int
	// Enter is the beginning of a command that sshd is run by.
	Enter []string
}

// Setup is for TestMain: it makes the directory that sshd wants, where no service made it.
// It stays: another run may be using it.
func Setup() {
	if os.Geteuid() == 0 {
		_ = os.Mkdir("/run/sshd", 0o755)
	}
}

// Program is the path of sshd; the test is skipped where there is none.
func Program(t *testing.T) string {
	t.Helper()
	for _, path := range []string{"/usr/sbin/sshd", "/usr/local/sbin/sshd"} {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	t.Skip("no sshd: install openssh-server (scripts/deps.sh) to run this")
	return ""
}

// Start starts a server that lets in the user who runs the test.
func Start(t *testing.T, o Options) *Server {
	t.Helper()
	program := Program(t)
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Dir: t.TempDir(), User: me.Username, Key: NewKey(t), HostKeys: o.HostKeys}
	if s.HostKeys == nil {
		s.HostKeys = []Key{NewKey(t)}
	}
	s.mu.running = map[*exec.Cmd]bool{}
	config := fmt.Sprintf("UsePAM no\nStrictModes no\nPidFile none\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\nAuthorizedKeysFile %s\nLogLevel VERBOSE\n",
		s.Write(t, "authorized_keys", s.Key.Line()+"\n"))
	for i, k := range s.HostKeys {
		config += "HostKey " + s.Write(t, fmt.Sprintf("host_key_%d", i), string(k.PEM)) + "\n"
	}
	// SHLVL: bash reads the user's .bashrc for sshd's first shell alone, and what is in there is none of the test's.
	config += "SetEnv SHLVL=2"
	if o.Path != "" {
		config += " PATH=" + o.Path // of several lines the first counts
	}
	config += "\n"
	config += strings.Join(o.Lines, "\n") + "\n"
	file := s.Write(t, "sshd_config", config)
	if out, err := exec.Command(program, "-t", "-f", file).CombinedOutput(); err != nil {
		t.Fatalf("sshd does not take its configuration: %v: %s", err, out)
	}
	if s.listener, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", o.Port)); err != nil {
		t.Fatal(err)
	}
	s.Port = portOf(s.listener)
	log, err := os.Create(filepath.Join(s.Dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	command := append(append([]string(nil), o.Enter...), program, "-i", "-e", "-f", file)
	s.wg.Go(func() { s.serve(t, command, log) })
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

func (s *Server) serve(t *testing.T, command []string, log *os.File) {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.Accepted.Add(1)
		f, err := fileOf(conn)
		_ = conn.Close() // f is another one for the same socket
		if err != nil {
			t.Error(err)
			return
		}
		cmd := exec.Command(command[0], command[1:]...)
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

func portOf(l net.Listener) int {
	address, _ := l.Addr().(*net.TCPAddr) // a TCP listener has no other
	return address.Port
}

func fileOf(conn net.Conn) (*os.File, error) {
	tcp, _ := conn.(*net.TCPConn) // a TCP listener gives no other
	return tcp.File()
}

// Write makes a file of the server's.
func (s *Server) Write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(s.Dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Stubs makes programs that come first in a PATH, which it returns.
func Stubs(t *testing.T, programs map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, script := range programs {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir + ":/usr/sbin:/usr/bin:/sbin:/bin"
}
