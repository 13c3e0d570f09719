// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package vm

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// ErrHostKey is returned where another host than the guest answers.
var ErrHostKey = errors.New("the host key is not the machine's")

// Login is what a Shell logs in with.
type Login struct {
	Address string // host and port
	User    string
	Signer  ssh.Signer
	// HostKey is the only one that is trusted; nil trusts whoever answers.
	HostKey ssh.PublicKey
	// Explain adds to an error what else is known; nil adds what was done.
	Explain func(doing string, err error) error
}

// Shell runs commands in a machine, over one connection that is made
// again where it broke. A command is never run again by itself.
type Shell struct {
	login Login
	mu    struct {
		sync.Mutex
		client *ssh.Client // nil until asked, and after a Drop
	}
}

// NewShell returns a shell that has asked nothing yet.
func NewShell(l Login) *Shell {
	if l.Explain == nil {
		l.Explain = func(doing string, err error) error { return fmt.Errorf("%s: %s: %w", l.Address, doing, err) }
	}
	return &Shell{login: l}
}

// newShell is one of User.
func newShell(m *Machine) *Shell {
	return NewShell(Login{Address: m.SSHAddr(), User: User, Signer: m.seed.client.signer, HostKey: m.HostKey(), Explain: m.wrap})
}

// handshakeMax is for emulated processors that boot meanwhile.
const handshakeMax = 20 * time.Second

// greeting waits until an sshd says its name. QEMU accepts a connection before the guest does, and asks a guest that
// boots for it again after longer and longer times: what was begun later is answered earlier.
func greeting(ctx context.Context, addr string) error {
	var asked sync.WaitGroup
	defer asked.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	heard := make(chan struct{}, 1) // the first
	ask := func() {
		dialer := net.Dialer{Timeout: handshakeMax}
		conn, err := dialer.DialContext(ctx, "tcp", addr)
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
		_ = conn.SetReadDeadline(time.Now().Add(handshakeMax)) // without one it is closed in the end
		if n, _ := conn.Read(make([]byte, 1)); n == 0 {
			return
		}
		select {
		case heard <- struct{}{}:
		default:
		}
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		asked.Go(ask)
		select {
		case <-heard:
			return nil
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Run runs a command of the user's shell and returns its standard output. What it
// said on standard error is in the error.
func (s *Shell) Run(ctx context.Context, command string) (string, error) {
	return s.RunInput(ctx, command, nil)
}

// RunInput is Run with something on standard input.
func (s *Shell) RunInput(ctx context.Context, command string, input io.Reader) (string, error) {
	out, err := s.run(ctx, command, input)
	if err != nil {
		return out, s.login.Explain("running "+command, err)
	}
	return out, nil
}

func (s *Shell) run(ctx context.Context, command string, input io.Reader) (string, error) {
	session, err := s.session(ctx)
	if err != nil {
		return "", fmt.Errorf("SSH: %w", err)
	}
	defer func() { _ = session.Close() }()
	var stdout, stderr bytes.Buffer
	session.Stdin, session.Stdout, session.Stderr = input, &stdout, &stderr
	// A guest that hangs answers nothing: only the connection can be closed.
	stop := context.AfterFunc(ctx, s.Drop)
	err = session.Run(command)
	if !stop() && err != nil {
		err = errors.Join(context.Cause(ctx), err)
	}
	if err == nil {
		return stdout.String(), nil
	}
	if _, ok := errors.AsType[*ssh.ExitError](err); !ok {
		s.Drop()
	}
	return stdout.String(), fmt.Errorf("%w: %s", err, cmp.Or(tail(stderr.String(), 20), tail(stdout.String(), 5)))
}

// Upload writes a file of the guest, whole or not at all, as root.
func (s *Shell) Upload(ctx context.Context, name string, mode uint32, content io.Reader) error {
	temp := path.Join(path.Dir(name), "."+path.Base(name)+".new")
	_, err := s.RunInput(ctx, fmt.Sprintf("sudo sh -c %s", Quote(fmt.Sprintf(
		"set -e; umask 077; cat > %[1]s; chmod %[2]o %[1]s; sync %[1]s; mv %[1]s %[3]s", Quote(temp), mode, Quote(name)))), content)
	return err
}

// Dial connects from inside the guest: to an address of its loopback, or of
// its Network.
func (s *Shell) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	client, err := s.connect(ctx)
	if err != nil {
		return nil, s.login.Explain("SSH", err)
	}
	conn, err := client.DialContext(ctx, network, addr)
	if err != nil {
		if _, ok := errors.AsType[*ssh.OpenChannelError](err); !ok { // not the machine's word: the connection is broken
			s.Drop()
		}
		return nil, s.login.Explain("connecting to "+addr, err)
	}
	return conn, nil
}

func (s *Shell) session(ctx context.Context) (*ssh.Session, error) {
	client, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, s.Drop)
	session, err := client.NewSession()
	stop()
	if err == nil {
		return session, nil
	}
	// The guest was started again, or its sshd: nothing of the command ran yet.
	s.Drop()
	if client, err = s.connect(ctx); err != nil {
		return nil, err
	}
	return client.NewSession()
}

func (s *Shell) connect(ctx context.Context) (*ssh.Client, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.client != nil {
		return s.mu.client, nil
	}
	dialer := net.Dialer{Timeout: handshakeMax}
	conn, err := dialer.DialContext(ctx, "tcp", s.login.Address)
	if err != nil {
		return nil, err
	}
	// QEMU accepts before the guest does: the handshake is what counts.
	if err := conn.SetDeadline(time.Now().Add(handshakeMax)); err != nil {
		_ = conn.Close()
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	c, channels, requests, err := ssh.NewClientConn(conn, s.login.Address, s.config())
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		_ = c.Close()
		return nil, err
	}
	s.mu.client = ssh.NewClient(c, channels, requests)
	return s.mu.client, nil
}

func (s *Shell) config() *ssh.ClientConfig {
	pinned := s.login.HostKey
	c := &ssh.ClientConfig{
		User:            s.login.User,
		Auth:            []ssh.AuthMethod{ssh.PublicKeys(s.login.Signer)},
		HostKeyCallback: ssh.InsecureIgnoreHostKey(), //nolint:gosec // where nobody pins a key
	}
	if pinned != nil {
		c.HostKeyAlgorithms = []string{pinned.Type()}
		c.HostKeyCallback = func(_ string, _ net.Addr, offered ssh.PublicKey) error {
			if !bytes.Equal(offered.Marshal(), pinned.Marshal()) {
				return fmt.Errorf("%w: it is %s, not %s", ErrHostKey, ssh.FingerprintSHA256(offered), ssh.FingerprintSHA256(pinned))
			}
			return nil
		}
	}
	return c
}

// Drop ends the connection, and with it whatever runs over it.
func (s *Shell) Drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.client != nil {
		_ = s.mu.client.Close()
		s.mu.client = nil
	}
}

// Quote makes one word of the shell out of any text.
func Quote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }
