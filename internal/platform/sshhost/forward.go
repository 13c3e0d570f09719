// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package sshhost

import (
	"context"
	"errors"
	"fmt"
	"net"

	"golang.org/x/crypto/ssh"

	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
)

// DialContext connects to a TCP address as seen from the machine; a name is
// looked up there. The connection knows no deadlines; closing it ends what waits.
// It fits http.Transport.DialContext.
func (h *Host) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	switch network {
	case "tcp", "tcp4", "tcp6":
	default:
		return nil, &net.OpError{Op: "dial", Net: network, Err: net.UnknownNetworkError(network)}
	}
	return h.forward(ctx, network, address)
}

// DialUnix connects to a unix socket of the machine, as http.Transport.DialContext
// of a client of the agent. Where the user may not open it, it is opened as root through
// Config.Bridge. The connection knows no deadlines; closing it ends what waits. Beside
// Run's, its failures are ErrNoSocket and ErrSocketDenied.
func (h *Host) DialUnix(ctx context.Context, socket string) (net.Conn, error) {
	if !validPath(socket) {
		return nil, fmt.Errorf("%w: %q: %w", ErrConfig, socket, errPath)
	}
	conn, err := h.forward(ctx, "unix", socket)
	if err == nil || !errors.Is(err, ErrRefused) {
		return conn, err
	}
	// sshd says the same whether there is no socket, the user may not open
	// it, or forwarding is off.
	if h.cfg.Bridge != nil {
		return h.bridge(ctx, socket)
	}
	return nil, h.noSocket(ctx, socket, err)
}

// forward opens a channel. Connecting changes nothing, so it is done again on a
// new connection where the old one broke.
func (h *Host) forward(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := h.bound(ctx)
	defer cancel()
	return repeat(ctx, h, h.cfg.Repeats, func(c *connection) (net.Conn, error) {
		conn, err := c.client.DialContext(ctx, network, address)
		if err == nil {
			return conn, nil
		}
		err = fmt.Errorf("connecting to %s from %s: %w", address, h.cfg.Address, err)
		switch {
		case ctx.Err() != nil:
			return nil, fmt.Errorf("connecting to %s from %s: %w", address, h.cfg.Address, ended(ctx))
		case errors.As(err, new(*ssh.OpenChannelError)):
			return nil, fmt.Errorf("%w: %w", ErrRefused, err)
		}
		return nil, c.lost(err)
	})
}

// noSocket asks the machine why a socket cannot be reached.
func (h *Host) noSocket(ctx context.Context, socket string, refusal error) error {
	_, err := h.Run(ctx, Command{What: "looking at " + socket, Idempotent: true, Env: map[string]string{"SOCKET": socket},
		Script: `d=$(dirname -- "$SOCKET"); if [ -d "$d" ] && [ ! -x "$d" ]; then exit 4; fi
[ -S "$SOCKET" ] || exit 3
[ -w "$SOCKET" ] || exit 4`})
	e := &platform.Error{What: socket + " of " + h.cfg.Address + " cannot be reached", Err: refusal}
	switch code := exitCode(err); {
	case code == 3:
		e.Err, e.Next = fmt.Errorf("%w: %w", ErrNoSocket, refusal), "Check that the holdfast agent runs there."
	case code == 4:
		e.Err, e.Next = fmt.Errorf("%w: %w", ErrSocketDenied, refusal), "Log in as root, or as a user that may become root by sudo."
	case err != nil:
		return errors.Join(refusal, err)
	default:
		e.Next = "Check that something listens on it, and that sshd's AllowStreamLocalForwarding is not off."
	}
	return e
}
