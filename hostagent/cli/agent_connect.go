// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/units"
)

var agentConnectCommand = command{
	synopsis: "Join standard input and output with the agent's socket",
	usage:    "[SOCKET]",
	help: `Joins standard input and output with the unix socket of an agent, ` + units.DefaultSocket + `
unless another one is named, until the agent ends the connection. The end of the input is
passed on, and what is answered after it still arrives; but an agent takes it for a client that
has gone, and gives up what it waits for. With it, an agent is reached through sudo by a user
who may not open its socket.

  $ ssh node1 sudo holdfast agent connect`,
	make: func(env *Env, _ *flag.FlagSet) func(context.Context, []string) error {
		return func(ctx context.Context, args []string) error {
			socket := units.DefaultSocket
			switch len(args) {
			case 0:
			case 1:
				socket = args[0]
			default:
				return usage("one SOCKET at most, %d given", len(args))
			}
			conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: socket, Net: "unix"})
			if err != nil {
				return fmt.Errorf("%w: %w", agentapi.ErrUnreachable, err)
			}
			return join(ctx, env.Stdin, env.Stdout, conn)
		}
	},
}

// join copies both ways until the connection has no more to say, or nobody hears it. The
// copy of the input is left behind then: a read of it may never come back.
func join(ctx context.Context, in io.Reader, out io.Writer, conn *net.UnixConn) error {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	defer func() { _ = conn.Close() }() // what was to be heard has been
	go func() {
		if _, err := io.Copy(conn, in); err == nil {
			_ = conn.CloseWrite() // the agent may have gone: the other copy ends by that
		}
	}()
	_, err := io.Copy(out, conn)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("the connection to the agent broke: %w", err)
	}
	return nil
}
