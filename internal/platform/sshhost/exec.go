// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package sshhost

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"time"
)

// Command is something to run on the machine.
type Command struct {
	// What names it for a person: "the kernel's version". The program, where it is empty.
	What string
	// Args is a program and its arguments; each arrives as it is. Anybody on the
	// machine can list them: no secret belongs there.
	Args []string
	// Script is for /bin/sh, in place of Args. As public as these.
	Script string
	// Env is set for it, and as public as Args.
	Env map[string]string
	// SecretEnv is set for it, too, and travels by standard input. Values have one line.
	SecretEnv map[string]string
	// Stdin must not block: a file, or bytes. It is not read any more once Run has returned.
	Stdin io.Reader
	// Root runs it as root: by sudo, where the user is another.
	Root bool
	// Idempotent says that it may run twice: it does, when the connection broke
	// in it. Stdin, if any, is then an io.Seeker.
	Idempotent bool
	// Timeout ends it on the machine, too, also when the connection is gone. 0: none.
	// Without one, a command of root's whose context ends may run on.
	Timeout time.Duration
	// Line, which may be nil, is told each line of its standard output as it comes, without secrets. It must
	// not block.
	Line func(string)
	// OutputLimit is how many bytes of each output are kept, its end. 64 KiB.
	OutputLimit int
}

// Result is what a command wrote. Secrets are not removed from it.
type Result struct {
	Stdout, Stderr []byte
	// Cut says that an output's beginning is missing.
	Cut bool
}

const (
	defaultOutput = 64 << 10
	// errorTail is how much of an output goes into an error.
	errorTail = 2 << 10
)

func (c Command) name() string {
	switch {
	case c.What != "":
		return c.What
	case len(c.Args) > 0:
		return path.Base(c.Args[0])
	}
	return "a script"
}

// Run runs a command to its end. Its failures are *ExitError, ErrTimeout, ErrNoSudo,
// ErrSudoRefused, ErrRefused, ErrConnectionLost and what Connect returns; also
// with an error the result has what was written.
func (h *Host) Run(ctx context.Context, cmd Command) (Result, error) {
	ctx, cancel := h.bound(ctx)
	defer cancel()
	times := 0
	seeker, seekable := cmd.Stdin.(io.Seeker)
	if cmd.Idempotent && (cmd.Stdin == nil || seekable) {
		times = h.cfg.Repeats
	}
	if cmd.Timeout > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, cmd.Timeout)
		defer stop()
	}
	first := true
	return repeat(ctx, h, times, func(c *connection) (Result, error) {
		if !first && seeker != nil {
			if _, err := seeker.Seek(0, io.SeekStart); err != nil {
				return Result{}, err
			}
		}
		first = false
		sudo := false
		if cmd.Root {
			var err error
			if sudo, err = h.needsSudo(ctx, c); err != nil {
				return Result{}, err
			}
		}
		return h.run(ctx, c, cmd, sudo)
	})
}

// run runs cmd over c. It must be called with a context that Close ends.
func (h *Host) run(ctx context.Context, c *connection, cmd Command, sudo bool) (Result, error) {
	line, head, err := cmd.commandLine(sudo)
	if err != nil {
		return Result{}, err
	}
	select {
	case h.sessions <- struct{}{}:
	case <-ctx.Done():
		return Result{}, fmt.Errorf("%s: %w", cmd.name(), ended(ctx))
	}
	r := &running{cmd: cmd, conn: c, redact: h.redact.with(slices.Collect(maps.Values(cmd.SecretEnv)))}
	result, err := r.do(ctx, line, head, func() { <-h.sessions })
	if errors.Is(err, errKilled) {
		return result, fmt.Errorf("%s: %w", cmd.name(), ended(ctx))
	}
	var exit *ExitError
	if errors.As(err, &exit) && cmd.Timeout > 0 && (exit.Code == 124 || exit.Code == 137) {
		return result, fmt.Errorf("%s: %w", cmd.name(), ErrTimeout)
	}
	return result, err
}
