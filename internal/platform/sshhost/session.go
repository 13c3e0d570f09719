// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package sshhost

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// running is one command while it runs.
type running struct {
	cmd    Command
	conn   *connection
	redact *redactor
}

// do runs the command to its end, or until it is killed. release is called once the
// machine has no session for it any more.
func (r *running) do(ctx context.Context, line, head string, release func()) (Result, error) {
	session, err := r.open(ctx)
	if err != nil {
		release()
		return Result{}, r.failed(err)
	}
	limit := cmp.Or(r.cmd.OutputLimit, defaultOutput)
	// A secret that was cut in two is dropped from a tail, which is to have errorTail bytes all the same.
	stdout, stderr := &tail{limit: limit + r.redact.longest}, &tail{limit: limit + r.redact.longest}
	told := &lines{Writer: stdout, redact: r.redact}
	told.mu.tell = r.cmd.Line
	defer told.shut()
	session.Stdout, session.Stderr = told, stderr
	stdin, err := session.StdinPipe()
	if err == nil {
		err = session.Start(line)
	}
	if err != nil {
		_ = session.Close() // the reason is err
		release()
		return Result{}, r.failed(err)
	}
	gate := &gate{}
	gate.mu.in = r.cmd.Stdin
	// Sent by the goroutine below, one value deep, never closed.
	over := make(chan error, 1)
	// Both goroutines end with the command, at the latest with the connection.
	go func() { r.feed(stdin, session, gate, head) }()
	go func() {
		err := session.Wait()
		_ = session.Close() // ends feed, where the command did not want all
		release()
		over <- err
	}()
	select {
	case err = <-over:
	case <-ctx.Done():
		kill(session)
		err = errKilled
	}
	reading := gate.shut()
	result := Result{}
	var cut1, cut2 bool
	result.Stdout, cut1 = last(stdout, limit)
	result.Stderr, cut2 = last(stderr, limit)
	result.Cut = cut1 || cut2
	exit, exited := errors.AsType[*ssh.ExitError](err)
	switch {
	case reading != nil:
		return result, fmt.Errorf("%s: its standard input cannot be read: %w", r.cmd.name(), reading)
	case err == nil:
		return result, nil
	case !exited:
		return result, r.failed(err)
	}
	out := stderr
	if b, _ := stderr.bytes(); len(strings.TrimSpace(string(b))) == 0 {
		out = stdout
	}
	return result, &ExitError{What: r.cmd.name(), Code: exit.ExitStatus(), Signal: exit.Signal(), Tail: r.readable(out)}
}

// errKilled says that the command was given up because its context ended.
var errKilled = errors.New("it was ended")

// open opens a session. sshd may count one still whose end it has told already,
// so a refusal is final only after a moment.
func (r *running) open(ctx context.Context) (*ssh.Session, error) {
	type opened struct {
		session *ssh.Session
		err     error
	}
	const tries = 6
	for try := range tries {
		// Sent by the goroutine below, one value deep, never closed.
		done := make(chan opened, 1)
		go func() { // ends with the answer, at the latest with the connection
			s, err := r.conn.client.NewSession()
			done <- opened{s, err}
			if ctx.Err() != nil && s != nil {
				_ = s.Close() // nobody waits for it
			}
		}()
		var o opened
		select {
		case o = <-done:
		case <-ctx.Done():
			return nil, errKilled
		}
		if o.err == nil || !errors.As(o.err, new(*ssh.OpenChannelError)) || try == tries-1 {
			return o.session, o.err
		}
		select {
		case <-time.After(10 * time.Millisecond << try):
		case <-ctx.Done():
			return nil, errKilled
		}
	}
	return nil, errKilled // not reached: the last try returns
}

func last(t *tail, limit int) ([]byte, bool) {
	b, cut := t.bytes()
	if over := len(b) - limit; over > 0 {
		return b[over:], true
	}
	return b, cut
}

// readable is the end of an output for an error.
func (r *running) readable(t *tail) string {
	b, cut := t.bytes()
	s := strings.ToValidUTF8(r.redact.cleanTail(string(b), cut), "?")
	if len(s) > errorTail {
		s, cut = s[len(s)-errorTail:], true
		s = strings.ToValidUTF8(s, "")
	}
	if cut {
		return "… " + s
	}
	return s
}

// feed writes the standard input. An input that cannot be read must not look like one that
// ended: the session is then closed without an end of input. An input that cannot be
// written is no failure: the command ended without wanting it, and its status says how.
func (r *running) feed(stdin io.WriteCloser, session *ssh.Session, in *gate, head string) {
	_, err := io.WriteString(stdin, head)
	if err == nil {
		_, _ = io.Copy(stdin, in)
	}
	if in.failed() {
		_ = session.Close()
		return
	}
	_ = stdin.Close()
}

// gate reads the standard input of a command until it is shut: nothing of the caller's
// is read once Run has returned.
type gate struct {
	mu struct {
		sync.Mutex
		in  io.Reader // nil: empty, or shut
		err error     // of reading, not its end
	}
}

// Read implements io.Reader.
func (g *gate) Read(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.mu.in == nil {
		return 0, io.EOF
	}
	n, err := g.mu.in.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		g.mu.err = err
	}
	return n, err
}

func (g *gate) failed() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.mu.err != nil
}

// shut ends the reading and returns why it failed.
func (g *gate) shut() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.mu.in = nil
	return g.mu.err
}

// failed classes an error of the transport or of the server.
func (r *running) failed(err error) error {
	if channel := (*ssh.OpenChannelError)(nil); errors.As(err, &channel) {
		return fmt.Errorf("%s: %w: %w", r.cmd.name(), ErrRefused, err)
	}
	if errors.Is(err, errKilled) {
		return err // run says why
	}
	return fmt.Errorf("%s: %w", r.cmd.name(), r.conn.lost(err))
}

// kill ends a command, as far as that can be done from here: sshd signals a process
// of the user, but none of sudo, and none at all where root is logged in. These get the end of
// their input, and their Timeout. It does not wait: a connection that is dead,
// without anybody having noticed yet, would hold it.
func kill(s *ssh.Session) {
	go func() { // ends when both are written, at the latest with the connection
		_ = s.Signal(ssh.SIGKILL)
		_ = s.Close()
	}()
}
