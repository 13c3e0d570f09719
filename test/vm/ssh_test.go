// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package vm

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

// fakeGuest is an sshd that answers each command with its name and what came
// in, and fails those that begin with "false". It ends with the test.
func fakeGuest(t *testing.T, hostKey, client key) (port int) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	config := &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, offered ssh.PublicKey) (*ssh.Permissions, error) {
		if string(offered.Marshal()) != string(client.public.Marshal()) {
			return nil, errors.New("another key")
		}
		return nil, nil
	}}
	config.AddHostKey(hostKey.signer)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go serve(conn, config)
		}
	}()
	return listener.Addr().(*net.TCPAddr).Port
}

func serve(conn net.Conn, config *ssh.ServerConfig) {
	defer func() { _ = conn.Close() }()
	_, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	for offered := range channels {
		channel, requests, err := offered.Accept()
		if err != nil {
			return
		}
		for r := range requests {
			if r.Type != "exec" {
				_ = r.Reply(false, nil)
				continue
			}
			var command struct{ Line string }
			_ = r.Reply(ssh.Unmarshal(r.Payload, &command) == nil, nil)
			input, _ := io.ReadAll(channel)
			_, _ = io.WriteString(channel, command.Line+" "+string(input))
			status := struct{ Status uint32 }{}
			if strings.HasPrefix(command.Line, "false") {
				_, _ = io.WriteString(channel.Stderr(), "it is false")
				status.Status = 1
			}
			_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(status))
			_ = channel.Close()
		}
	}
}

// TestShell pins the host key. Seen to fail with the comparison in config
// taken out.
func TestShell(t *testing.T) {
	s, err := newSeed(Config{Name: "a"})
	if err != nil {
		t.Fatal(err)
	}
	m := &Machine{launch: launch{Config: Config{Name: "a"}, dir: t.TempDir()}, seed: s}
	if err := os.WriteFile(m.file("console.log"), []byte("\x1b[0;1;31mkernel panic\x1b[0m\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	m.sshPort = fakeGuest(t, s.hostKey, s.client)
	m.shell = newShell(m)
	defer m.shell.Drop()
	for range 2 { // on the same connection
		out, err := m.SSH().RunInput(t.Context(), "echo", strings.NewReader("in"))
		if err != nil || out != "echo in" {
			t.Errorf("said %q, %v", out, err)
		}
	}
	_, err = m.SSH().Run(t.Context(), "false")
	if exit, ok := errors.AsType[*ssh.ExitError](err); !ok || exit.ExitStatus() != 1 {
		t.Errorf("error %v, want exit status 1", err)
	} else if text := err.Error(); !strings.Contains(text, "it is false") || !strings.HasSuffix(text, "\nkernel panic") {
		t.Errorf("the error lacks what was said: %q", text)
	}

	other, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	m.sshPort = fakeGuest(t, other, s.client)
	m.shell = newShell(m)
	defer m.shell.Drop()
	if _, err := m.SSH().Run(t.Context(), "echo"); !errors.Is(err, ErrHostKey) {
		t.Errorf("error %v, want %v", err, ErrHostKey)
	}
}
