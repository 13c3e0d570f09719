// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package sshhost

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
)

// EnvironmentKey is the environment variable that may hold a private key in PEM form.
const EnvironmentKey = "HOLDFAST_SSH_PRIVATE_KEY"

// Config is how a machine is reached.
type Config struct {
	Endpoint
	// Jump are the machines to go through, the first one first. Each has
	// its own user, key and host key.
	Jump []Endpoint

	// AttemptTimeout is for one attempt to connect and log in, through all of Jump. 15 s.
	AttemptTimeout time.Duration
	// BootTimeout is for how long a machine that refuses connections, or does not
	// answer, is tried again: it may be starting. 2 min; negative: tried once.
	BootTimeout time.Duration
	// UserComes says that the machine makes its users while it starts: one that is refused is tried
	// again for BootTimeout, too.
	UserComes bool
	Keepalive Keepalive
	// Attempts, if set, holds a token per attempt that is under way. Hosts behind one jump
	// host share it: sshd drops connections at random once ten have not logged in
	// (MaxStartups). Never closed.
	Attempts chan struct{}
	// Repeats is how often an idempotent operation is done again after the
	// connection broke in it. 2; negative: never.
	Repeats int

	// Bridge gives the command that connects its standard input and output to a
	// unix socket of the machine. It is run as root where the user may not open
	// the socket. Nil: such a socket is ErrSocketDenied.
	Bridge func(socket string) []string
	// Secrets are removed from everything that goes into an error.
	Secrets []string
	// Progress, which may be nil, gets a line when the machine has to be waited for,
	// and when an upload begins. It may be called by several goroutines at once.
	Progress func(string)
}

// Endpoint is an SSH server, the user on it, and the keys of both.
type Endpoint struct {
	User string
	// Address is a name or an IP address, without a port.
	Address string
	Port    int // 22
	Key     Key
	HostKey HostKey
}

// Key is where the private key comes from: the first of these that is set.
// Where none is: the environment (EnvironmentKey), then the agent of SSH_AUTH_SOCK.
type Key struct {
	PEM  []byte
	File string // "~/" is the home directory
	// AgentSocket is the socket of an ssh-agent. Every key of it is shown.
	AgentSocket string
	// Passphrase opens PEM or File.
	Passphrase string
}

// HostKey is which key the server must show. With several, any of them will do.
type HostKey struct {
	// Given are lines of known_hosts (its host names are not looked at), lines as of a
	// server's ssh_host_*_key.pub, or fingerprints: "SHA256:…". A fingerprint does
	// not say of which type its key is: where a server has several keys, and
	// it is not of the one that OpenSSH prefers, write "ssh-rsa SHA256:…".
	Given []string
	// File is a known_hosts file.
	File string
	// Record adds the key of a machine that File does not know to it. Whoever
	// answers at first contact is then trusted.
	Record bool
	// Again, where not nil, asks anew for what Given holds, of a machine that makes its keys while it
	// starts and tells them one by one: while it shows none of Given it is asked and tried
	// again, for keysBound and no longer than BootTimeout. One call at a time.
	Again func(context.Context) ([]string, error)
}

// Keepalive is how a machine that vanished is noticed.
type Keepalive struct {
	// Interval is how often the machine is asked for a sign of life. 3 s.
	Interval time.Duration
	// Dead is how long it may give none. 10 s.
	Dead time.Duration
}

func (c Config) withDefaults() Config {
	c.AttemptTimeout = cmp.Or(c.AttemptTimeout, 15*time.Second)
	c.BootTimeout = cmp.Or(c.BootTimeout, 2*time.Minute)
	c.Keepalive.Interval = cmp.Or(c.Keepalive.Interval, 3*time.Second)
	c.Keepalive.Dead = cmp.Or(c.Keepalive.Dead, 10*time.Second)
	c.Repeats = cmp.Or(c.Repeats, 2)
	c.Port = cmp.Or(c.Port, 22)
	jump := make([]Endpoint, len(c.Jump))
	for i, e := range c.Jump {
		e.Port = cmp.Or(e.Port, 22)
		jump[i] = e
	}
	c.Jump = jump
	if c.Progress == nil {
		c.Progress = func(string) {}
	}
	return c
}

func (c Config) validate() error {
	for i, e := range append([]Endpoint{c.Endpoint}, c.Jump...) {
		where := ""
		if i > 0 {
			where = fmt.Sprintf("jump[%d].", i-1)
		}
		if field, err := e.validate(); err != nil {
			return &platform.Error{What: "a machine cannot be reached over SSH with this configuration",
				Err: fmt.Errorf("%w: %s%s: %w", ErrConfig, where, field, err), Next: "Correct it; nothing was changed."}
		}
	}
	return nil
}

var (
	errEmpty      = errors.New("it is empty")
	errCharacters = errors.New("it has characters that cannot be in it")
	errPort       = errors.New("it is not a port from 1 to 65535")
	errUnpinned   = errors.New("nothing says which key the machine has: give the key or its fingerprint, or a known_hosts file")
	errRecord     = errors.New("a first contact can be recorded only where a known_hosts file is named")
)

// validate returns the field that is wrong.
func (e Endpoint) validate() (string, error) {
	switch {
	case e.User == "":
		return "user", errEmpty
	case strings.ContainsAny(e.User, " \t\r\n\x00"):
		return "user", fmt.Errorf("%q: %w", e.User, errCharacters)
	case e.Address == "":
		return "address", errEmpty
	case strings.ContainsAny(e.Address, " \t\r\n\x00/@[]"):
		return "address", fmt.Errorf("%q: %w", e.Address, errCharacters)
	case e.Port < 1 || e.Port > 65535:
		return "port", fmt.Errorf("%d: %w", e.Port, errPort)
	case e.HostKey.Record && e.HostKey.File == "":
		return "host key", errRecord
	case len(e.HostKey.Given) == 0 && e.HostKey.File == "":
		return "host key", errUnpinned
	}
	for _, line := range e.HostKey.Given {
		if _, err := parsePin(line); err != nil {
			return "host key", err
		}
	}
	return "", nil
}

// target is what is dialled.
func (e Endpoint) target() string { return net.JoinHostPort(e.Address, strconv.Itoa(e.Port)) }

// name is what a person calls it.
func (e Endpoint) name() string { return e.User + "@" + e.target() }
