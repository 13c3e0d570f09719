// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package sshhost

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
)

// bridgeReady is what the machine says right before the bridge takes over.
const bridgeReady = "holdfast: bridge"

// bridgeConn is a connection to a unix socket through the standard input and output of a
// command, run as root. sshd opens a forwarded socket with the user's own
// rights, and the agent's socket stays root's: opening it to a group for SSH's
// sake would give the machine to everybody in that group.
type bridgeConn struct {
	socket  string
	session *ssh.Session
	in      io.WriteCloser
	out     *bufio.Reader
	release func()
	once    sync.Once
}

// bridge runs Config.Bridge for a socket.
func (h *Host) bridge(ctx context.Context, socket string) (net.Conn, error) {
	ctx, cancel := h.bound(ctx)
	defer cancel()
	return repeat(ctx, h, h.cfg.Repeats, func(c *connection) (net.Conn, error) {
		sudo, err := h.needsSudo(ctx, c)
		if err != nil {
			return nil, err
		}
		select {
		case h.sessions <- struct{}{}:
		case <-ctx.Done():
			return nil, ended(ctx)
		}
		conn, err := h.openBridge(ctx, c, socket, sudo)
		if err != nil {
			<-h.sessions
			return nil, err
		}
		return conn, nil
	})
}

func (h *Host) openBridge(ctx context.Context, c *connection, socket string, sudo bool) (_ net.Conn, err error) {
	cmd := Command{What: "the bridge to " + socket, Env: map[string]string{"SOCKET": socket},
		Script: `[ -S "$SOCKET" ] || exit 3; echo; echo '` + bridgeReady + `'; exec`}
	for _, a := range h.cfg.Bridge(socket) {
		cmd.Script += " " + quote(a)
	}
	line, _, err := cmd.commandLine(sudo)
	if err != nil {
		return nil, err
	}
	r := &running{cmd: cmd, conn: c, redact: h.redact}
	session, err := r.open(ctx)
	if err != nil {
		return nil, cmpError(ctxError(ctx, cmd), r.failed(err))
	}
	// Until it is open, the end of ctx ends it.
	stop := context.AfterFunc(ctx, func() { kill(session) })
	defer func() {
		stop()
		if err != nil {
			kill(session)
			err = cmpError(ctxError(ctx, cmd), err)
		}
	}()
	said := &tail{limit: errorTail + h.redact.longest}
	session.Stderr = said
	in, err := session.StdinPipe()
	if err != nil {
		return nil, r.failed(err)
	}
	out, err := session.StdoutPipe()
	if err != nil {
		return nil, r.failed(err)
	}
	if err := session.Start(line); err != nil {
		return nil, r.failed(err)
	}
	conn := &bridgeConn{socket: socket, session: session, in: in, out: bufio.NewReader(out), release: func() { <-h.sessions }}
	for {
		text, err := conn.out.ReadString('\n')
		if strings.TrimSpace(text) == bridgeReady {
			return conn, nil
		}
		if err != nil {
			return nil, h.noBridge(socket, r, said, session.Wait())
		}
	}
}

// noBridge is why there is no bridge: its command ended with err before it began.
func (h *Host) noBridge(socket string, r *running, said *tail, err error) error {
	exit, ok := errors.AsType[*ssh.ExitError](err)
	if !ok {
		return r.failed(cmpError(err, io.ErrUnexpectedEOF)) // without a status: it was cut
	}
	e := &platform.Error{What: socket + " of " + h.cfg.Address + " cannot be reached"}
	if exit.ExitStatus() == 3 {
		e.Err, e.Next = ErrNoSocket, "Check that the holdfast agent runs there."
		return e
	}
	e.Err = &ExitError{What: r.cmd.name(), Code: exit.ExitStatus(), Signal: exit.Signal(), Tail: r.readable(said)}
	e.Next = "Check that the bridge's program is installed there."
	return e
}

// ctxError is the end of ctx as the failure of cmd; nil before.
func ctxError(ctx context.Context, cmd Command) error {
	if ctx.Err() == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", cmd.name(), ended(ctx))
}

// cmpError is the first error that is one.
func cmpError(err, otherwise error) error {
	if err == nil {
		return otherwise
	}
	return err
}

func (b *bridgeConn) Read(p []byte) (int, error)  { return b.out.Read(p) }
func (b *bridgeConn) Write(p []byte) (int, error) { return b.in.Write(p) }

// CloseWrite ends what the other side reads.
func (b *bridgeConn) CloseWrite() error { return b.in.Close() }

// Close ends the bridge: its input and its output end.
func (b *bridgeConn) Close() error {
	err := net.ErrClosed
	b.once.Do(func() {
		_ = b.in.Close()
		err = b.session.Close()
		if errors.Is(err, io.EOF) {
			err = nil // it had ended
		}
		b.release()
	})
	return err
}

func (b *bridgeConn) LocalAddr() net.Addr  { return &net.UnixAddr{Net: "unix"} }
func (b *bridgeConn) RemoteAddr() net.Addr { return &net.UnixAddr{Net: "unix", Name: b.socket} }

var errDeadline = errors.New("a connection through a bridge knows no deadlines")

func (b *bridgeConn) SetDeadline(time.Time) error      { return errDeadline }
func (b *bridgeConn) SetReadDeadline(time.Time) error  { return errDeadline }
func (b *bridgeConn) SetWriteDeadline(time.Time) error { return errDeadline }
