// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package sshhost

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
)

// step is how far an attempt to log in came.
type step int

const (
	stepReach step = iota // no connection to the server's port
	stepHello             // the server has not shown its host key
	stepKey               // the host key was refused
	stepLogin             // the host key is right; user and key were not accepted
)

// attemptError is why one attempt failed, and where.
type attemptError struct {
	at   step
	on   Endpoint
	keys string // where the keys came from, from stepLogin on
	err  error
}

func (e *attemptError) Error() string { return e.on.name() + ": " + e.err.Error() }
func (e *attemptError) Unwrap() error { return e.err }

// mayBoot tells whether the failure is one that a machine shows while it starts.
// Once it has shown its host key, it has started.
func mayBoot(err error) bool {
	var attempt *attemptError
	if !errors.As(err, &attempt) {
		return false
	}
	switch attempt.at {
	case stepReach:
		var channel *ssh.OpenChannelError
		if errors.As(err, &channel) {
			return channel.Reason == ssh.ConnectionFailed // the jump host could not reach it
		}
		var name *net.DNSError
		if errors.As(err, &name) && name.IsNotFound {
			return false
		}
		var network net.Error
		return errors.As(err, &network) && network.Timeout() || errors.Is(err, context.DeadlineExceeded) || dialRefused(err)
	case stepHello:
		return broken(err) || errors.Is(err, context.DeadlineExceeded)
	case stepKey, stepLogin:
	}
	return false
}

func dialRefused(err error) bool {
	for _, e := range []error{syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.EHOSTDOWN} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

const (
	firstPause   = 200 * time.Millisecond
	longestPause = 5 * time.Second
	// keysBound is for how long a machine that is refused for its host key is asked for its keys
	// again: a small one takes seconds to make each of them.
	keysBound = time.Minute
)

// dial connects and logs in. A machine that may be starting is tried again
// until boot is over, everything else is final.
func (h *Host) dial(ctx context.Context, boot time.Duration) (*connection, error) {
	began, pause := time.Now(), firstPause
	var refused time.Time // since when the machine showed no key that is known of it
	var unasked error     // why it could not be asked for its keys again
	for {
		c, err := h.attempt(ctx)
		if err == nil {
			return c, nil
		}
		if ctx.Err() != nil {
			return nil, h.explain(fmt.Errorf("%w: %w", ended(ctx), err))
		}
		keys := h.keysCome(err)
		switch {
		case !keys:
			refused = time.Time{}
		case refused.IsZero():
			refused = time.Now()
		}
		comes := mayBoot(err) || h.cfg.UserComes && errors.Is(err, ErrAuth) || keys && time.Since(refused)+pause <= keysBound
		if !comes || time.Since(began)+pause > boot {
			return nil, h.explain(errors.Join(err, unasked))
		}
		h.cfg.Progress(fmt.Sprintf("waiting for %s: %v", h.cfg.target(), err))
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, h.explain(fmt.Errorf("%w: %w", ended(ctx), err))
		}
		pause = min(2*pause, longestPause)
		if keys {
			unasked = h.askKeys(ctx)
		}
	}
}

// keysCome tells whether an attempt failed for a host key that the machine may not have told yet.
func (h *Host) keysCome(err error) bool {
	var attempt *attemptError
	return h.cfg.HostKey.Again != nil && errors.Is(err, ErrHostKey) && errors.As(err, &attempt) && attempt.on.target() == h.cfg.target()
}

// askKeys asks for the host keys again. Whoever calls it dials.
func (h *Host) askKeys(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, h.cfg.AttemptTimeout) // whoever asks may try again for minutes
	defer cancel()
	keys, err := h.cfg.HostKey.Again(ctx)
	if err != nil {
		return fmt.Errorf("asked for its host keys again: %w", err)
	}
	if len(keys) > 0 {
		h.keys = keys
	}
	return nil
}

// endpoints are the jump hosts and the machine, with the keys that it told last.
func (h *Host) endpoints() []Endpoint {
	machine := h.cfg.Endpoint
	if len(h.keys) > 0 {
		machine.HostKey.Given = h.keys
	}
	return append(slices.Clip(h.cfg.Jump), machine)
}

// attempt goes through the jump hosts to the machine.
func (h *Host) attempt(ctx context.Context) (_ *connection, failure error) {
	if h.cfg.Attempts != nil {
		select {
		case h.cfg.Attempts <- struct{}{}:
			defer func() { <-h.cfg.Attempts }()
		case <-ctx.Done():
			return nil, ended(ctx)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, h.cfg.AttemptTimeout)
	defer cancel()
	var chain []*ssh.Client
	var base *watchedConn
	defer func() {
		if failure != nil && base != nil {
			closeChain(base, chain)
		}
	}()
	var last *watchedConn
	for _, e := range h.endpoints() {
		// What is wrong on this side needs no connection.
		check, err := newHostKeyCheck(e)
		if err != nil {
			return nil, &attemptError{at: stepKey, on: e, err: err}
		}
		keys, err := e.Key.load()
		if err != nil {
			return nil, &attemptError{at: stepLogin, on: e, err: err}
		}
		defer keys.close()
		var raw net.Conn
		if len(chain) == 0 {
			raw, err = (&net.Dialer{}).DialContext(ctx, "tcp", e.target())
		} else {
			raw, err = chain[len(chain)-1].DialContext(ctx, "tcp", e.target())
		}
		if err != nil {
			return nil, &attemptError{at: stepReach, on: e, err: err}
		}
		last = watch(raw)
		if base == nil {
			base = last
		}
		client, err := login(ctx, base, last, e, check, keys)
		if err != nil {
			return nil, err
		}
		chain = append(chain, client)
	}
	return newConnection(base, last, chain, h.cfg.Keepalive), nil
}

// login does the handshake over conn. Closing base ends it when ctx does.
func login(ctx context.Context, base, conn net.Conn, e Endpoint, check *hostKeyCheck, keys *credentials) (*ssh.Client, error) {
	stop := context.AfterFunc(ctx, func() { _ = base.Close() })
	defer stop()
	c, channels, requests, err := ssh.NewClientConn(conn, e.target(), &ssh.ClientConfig{
		User:              e.User,
		Auth:              []ssh.AuthMethod{ssh.PublicKeys(keys.signers...)},
		HostKeyCallback:   check.check,
		HostKeyAlgorithms: check.algorithms(),
	})
	if err == nil {
		return ssh.NewClient(c, channels, requests), nil
	}
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	var negotiation *ssh.AlgorithmNegotiationError
	switch {
	case check.seen && check.verdict != nil:
		return nil, &attemptError{at: stepKey, on: e, err: check.verdict}
	case check.seen && !broken(err) && ctx.Err() == nil:
		// What remains of the handshake after the host key is the login.
		return nil, &attemptError{at: stepLogin, on: e, keys: keys.source, err: fmt.Errorf("%w: %w", ErrAuth, err)}
	case check.seen:
		return nil, &attemptError{at: stepLogin, on: e, keys: keys.source, err: fmt.Errorf("%w: %w", ErrConnectionLost, err)}
	case errors.As(err, &negotiation) && len(check.expected()) > 0:
		return nil, &attemptError{at: stepKey, on: e, err: otherType(check, negotiation)}
	}
	return nil, &attemptError{at: stepHello, on: e, err: err}
}

// otherType is the refusal of a server that has no key of the types that are
// known of it, so that it showed none.
func otherType(check *hostKeyCheck, n *ssh.AlgorithmNegotiationError) error {
	refusal := &HostKeyError{Address: check.endpoint.target(), Got: fmt.Sprintf("only keys of the types %q", n.RequestedAlgorithms), Source: check.source()}
	for _, p := range check.expected() {
		refusal.Want = append(refusal.Want, p.String())
	}
	return refusal
}

// explain turns a failed attempt into what a person can mend.
func (h *Host) explain(err error) error {
	var attempt *attemptError
	if !errors.As(err, &attempt) {
		return err
	}
	e := &platform.Error{What: attempt.on.name() + " cannot be reached over SSH", Err: err}
	machine := attempt.on.Address
	switch {
	case errors.Is(err, ErrHostKey):
		e.What = machine + " is not the machine that it was"
		e.Next = "If it was installed anew, look at its keys on its console (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub) and " +
			"put the new one where the expected one is from. Otherwise somebody answers in its place; no key and no command was sent to it."
	case errors.Is(err, ErrHostKeyUnknown):
		e.What = machine + " may be any machine"
		e.Next = "Compare the key with the one on its console (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub) and add it to the configuration or " +
			"to the known_hosts file, or ask for it to be recorded at first contact."
	case errors.Is(err, ErrKnownHosts):
		e.Next = "Correct the line that it names, or name another file."
	case errors.Is(err, ErrPassphrase):
		e.Next = "Give the passphrase, or add the key to an ssh-agent (ssh-add) and use that."
	case errors.Is(err, ErrNoKey):
		e.Next = "Configure a private key or its file, set " + EnvironmentKey + ", or start an ssh-agent and give it the key (ssh-add)."
	case errors.Is(err, ErrAuth):
		e.Next = fmt.Sprintf("Check the user's name, and that the public half of %s is in ~%s/.ssh/authorized_keys there.", attempt.keys, attempt.on.User)
	case attempt.at == stepReach || attempt.at == stepHello:
		if !errors.Is(err, ErrClosed) {
			e.Err = fmt.Errorf("%w: %w", ErrUnreachable, err)
		}
		e.Next = "Check that the machine runs, that its SSH server listens on that port, and that no firewall is between."
	}
	return e
}
