// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package sshhost

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// maxSessions is how many commands run at once. OpenSSH's MaxSessions is 10 for
// one connection, of which somebody may have taken some.
const maxSessions = 6

// Host is one machine. Safe for concurrent use.
type Host struct {
	cfg    Config
	redact *redactor

	// over ends when Close is called.
	over  context.Context
	close context.CancelCauseFunc
	// dialing holds one token, taken by whoever makes a connection; never closed.
	dialing chan struct{}
	// keys are the host keys that the machine told later than Config's; whoever dials has them.
	keys []string
	// sessions holds a token per command that runs; never closed.
	sessions chan struct{}

	mu struct {
		sync.Mutex
		conn   *connection // nil before the first
		rights *rights     // nil until they were asked for
	}
}

// New returns the way to a machine. It connects nowhere.
func New(cfg Config) (*Host, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	secrets := append([]string{os.Getenv(EnvironmentKey)}, cfg.Secrets...)
	for _, e := range append([]Endpoint{cfg.Endpoint}, cfg.Jump...) {
		secrets = append(secrets, e.Key.Passphrase, string(e.Key.PEM))
	}
	h := &Host{cfg: cfg, redact: newRedactor(secrets),
		dialing: make(chan struct{}, 1), sessions: make(chan struct{}, maxSessions)}
	h.over, h.close = context.WithCancelCause(context.Background())
	return h, nil
}

// Close ends the connection and every call. What runs on the machine may run on.
func (h *Host) Close() error {
	h.close(ErrClosed)
	h.dialing <- struct{}{} // whoever dials is told by over, and ends
	defer func() { <-h.dialing }()
	h.mu.Lock()
	c := h.mu.conn
	h.mu.Unlock()
	if c != nil {
		c.close()
	}
	return nil
}

// Connect logs in, unless that was done and still holds.
func (h *Host) Connect(ctx context.Context) error {
	_, err := h.connect(ctx, h.cfg.BootTimeout)
	return err
}

// Try is Connect for who would rather know now than wait for a machine that may be
// starting: it makes one attempt.
func (h *Host) Try(ctx context.Context) error {
	_, err := h.connect(ctx, -1)
	return err
}

// connect returns the connection, a new one where the last one ended. boot is as
// Config.BootTimeout.
func (h *Host) connect(ctx context.Context, boot time.Duration) (*connection, error) {
	ctx, cancel := h.bound(ctx)
	defer cancel()
	select {
	case h.dialing <- struct{}{}:
		defer func() { <-h.dialing }()
	case <-ctx.Done():
		return nil, ended(ctx)
	}
	if h.over.Err() != nil {
		return nil, ErrClosed
	}
	if ctx.Err() != nil {
		return nil, ended(ctx)
	}
	h.mu.Lock()
	old := h.mu.conn
	h.mu.Unlock()
	if old != nil {
		if !old.ended() {
			return old, nil
		}
		old.close() // it has ended; its goroutines, too
	}
	c, err := h.dial(ctx, boot)
	h.mu.Lock()
	h.mu.conn = c
	h.mu.Unlock()
	return c, err
}

// bound ends ctx with Close.
func (h *Host) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(h.over, func() { cancel(ErrClosed) })
	return ctx, func() { stop(); cancel(nil) }
}

// repeat does an idempotent operation, again where the connection broke in it.
func repeat[T any](ctx context.Context, h *Host, times int, do func(*connection) (T, error)) (T, error) {
	for {
		var result T
		c, err := h.connect(ctx, h.cfg.BootTimeout)
		if err == nil {
			result, err = do(c)
		}
		if err == nil || times <= 0 || !errors.Is(err, ErrConnectionLost) || ctx.Err() != nil || h.over.Err() != nil {
			return result, err
		}
		times--
	}
}

// lost makes a lost connection of a failure of the transport, and ends the
// connection: its watcher may not have noticed yet.
func (c *connection) lost(err error) error {
	c.lose(err)
	<-c.done
	if cause := c.cause(); cause != nil && !errors.Is(err, cause) {
		return fmt.Errorf("%w: %w: %w", ErrConnectionLost, cause, err)
	}
	return fmt.Errorf("%w: %w", ErrConnectionLost, err)
}
