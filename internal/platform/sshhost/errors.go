// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package sshhost

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"golang.org/x/crypto/ssh"
)

// Reaching the machine.
var (
	// ErrConfig is returned by New for a configuration that can never work.
	ErrConfig = errors.New("the configuration of the connection is incomplete or wrong")
	// ErrUnreachable is returned where no SSH server answered for as long as Config.BootTimeout.
	ErrUnreachable = errors.New("no SSH server answers")
	// ErrHostKey is returned, in a *HostKeyError, where the machine shows another key than the pinned one.
	ErrHostKey = errors.New("the host key is not the expected one")
	// ErrHostKeyUnknown is returned, in a *HostKeyError, where nothing says which key the machine must have.
	ErrHostKeyUnknown = errors.New("the host key is not known")
	// ErrKnownHosts is returned where a known_hosts file cannot be read or written.
	ErrKnownHosts = errors.New("the known_hosts file cannot be used")
	// ErrAuth is returned where the server refused user and key.
	ErrAuth = errors.New("the server accepts neither this user nor one of these keys")
	// ErrNoKey is returned where there is no private key to show.
	ErrNoKey = errors.New("there is no private key to log in with")
	// ErrPassphrase is returned where a private key is protected by a passphrase that was not given or is wrong.
	ErrPassphrase = errors.New("the private key is protected by a passphrase")
	// ErrConnectionLost is returned where the connection broke before an answer came.
	ErrConnectionLost = errors.New("the connection to the machine broke")
	// ErrSilent is the cause of a lost connection whose peer answered no keepalive.
	ErrSilent = errors.New("the machine answers no more")
	// ErrClosed is returned by every call after Close.
	ErrClosed = errors.New("the connection was closed by its owner")
)

// On the machine.
var (
	// ErrNoSudo is returned where root is needed, the user is not root, and there is no sudo.
	ErrNoSudo = errors.New("the user is not root, and the machine has no sudo")
	// ErrSudoRefused is returned where sudo wants a password or does not know the user.
	ErrSudoRefused = errors.New("sudo wants a password, or refuses the user")
	// ErrTimeout is returned where a command ran for longer than it was given.
	ErrTimeout = errors.New("it did not end in the time given")
	// ErrRefused is returned where the server opens no channel: too many sessions, or forwarding is off.
	ErrRefused = errors.New("the SSH server refuses to open a channel")
	// ErrDiskFull is returned where the file system has no room for an upload.
	ErrDiskFull = errors.New("too little space is left on the machine")
	// ErrArchitecture is returned where a binary is for another kind of machine.
	ErrArchitecture = errors.New("the binary is for another architecture")
	// ErrIncomplete is returned where an upload ended early; the next one goes on.
	ErrIncomplete = errors.New("the file arrived incompletely")
	// ErrCorrupt is returned where the file that arrived does not have the hash of the one sent.
	ErrCorrupt = errors.New("the file that arrived is another one")
	// ErrNoPrevious is returned by Rollback where no previous file was kept.
	ErrNoPrevious = errors.New("no previous version was kept")
	// ErrNoSocket is returned where nothing listens on a unix socket.
	ErrNoSocket = errors.New("nothing listens on the socket")
	// ErrSocketDenied is returned where the user may not open a unix socket, and no Bridge was configured.
	ErrSocketDenied = errors.New("the user may not open the socket")
	// ErrAnswer is returned where a machine's answer cannot be understood.
	ErrAnswer = errors.New("the machine's answer makes no sense")
)

// What Facts.Check finds.
var (
	ErrSystem  = errors.New("the operating system is not supported")
	ErrKernel  = errors.New("the kernel is too old")
	ErrSystemd = errors.New("systemd is missing or too old")
	ErrClock   = errors.New("the clock is far off")
)

// HostKeyError says which key a machine showed. It is ErrHostKey where Want
// has keys, and ErrHostKeyUnknown where it has none.
type HostKeyError struct {
	Address string
	// Got and Want are of the form "ssh-ed25519 SHA256:…".
	Got  string
	Want []string
	// Source is where Want comes from: a file and line, or "the configuration".
	Source string
}

// Error names both keys.
func (e *HostKeyError) Error() string {
	if len(e.Want) == 0 {
		return fmt.Sprintf("%s: %s shows %s", ErrHostKeyUnknown, e.Address, e.Got)
	}
	return fmt.Sprintf("%s: %s shows %s, expected is %s (%s)", ErrHostKey, e.Address, e.Got, strings.Join(e.Want, " or "), e.Source)
}

// Unwrap returns the class.
func (e *HostKeyError) Unwrap() error {
	if len(e.Want) == 0 {
		return ErrHostKeyUnknown
	}
	return ErrHostKey
}

// ExitError is a command that ended with another status than 0.
type ExitError struct {
	// What is the command's name for a person.
	What string
	// Code is the exit status; 128 and more, or -1, where a signal ended it.
	Code int
	// Signal is the name of the signal that ended it, without SIG.
	Signal string
	// Tail is the end of what it wrote, standard error first choice, secrets removed.
	Tail string
}

// Error gives the status and the tail.
func (e *ExitError) Error() string {
	s := fmt.Sprintf("%s ended with exit status %d", e.What, e.Code)
	if e.Signal != "" {
		s = fmt.Sprintf("%s was ended by signal %s", e.What, e.Signal)
	}
	if tail := strings.TrimSpace(e.Tail); tail != "" {
		s += ": " + tail
	}
	return s
}

// broken tells whether err means that the transport failed, as opposed to a
// refusal by the peer. An ExitMissingError is one: sshd reports a command that
// was killed by its signal, so a channel closed without any status was cut.
func broken(err error) bool {
	var missing *ssh.ExitMissingError
	var network net.Error
	return errors.As(err, &missing) || errors.As(err, &network) || errors.Is(err, io.EOF) ||
		errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrClosedPipe)
}

// ended gives the reason of a context that ended, as a time-out where it was one.
func ended(ctx context.Context) error {
	if cause := context.Cause(ctx); !errors.Is(cause, context.DeadlineExceeded) {
		return cause
	}
	return fmt.Errorf("%w: %w", ErrTimeout, context.DeadlineExceeded)
}
