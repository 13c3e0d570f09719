// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package blockdev

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// AskTimeout bounds each question that may have to wait for a disk.
const AskTimeout = 2 * time.Second

// ErrHeld is returned where a device does not answer: its question ran into
// the timeout, or an earlier one is still held in the kernel.
var ErrHeld = errors.New("held by a disk that does not answer")

// asker asks questions that a hanging disk never answers. Neither a signal
// nor a closed file ends such a wait in the kernel, so the goroutine that
// waits is left behind; it ends when the disk comes back. There is one of
// them per device at most, however often it is asked.
type asker[T any] struct {
	question func(ctx context.Context, about string) (T, error)
	timeout  time.Duration

	mu struct {
		sync.Mutex
		held map[string]bool
	}
}

func newAsker[T any](question func(context.Context, string) (T, error)) *asker[T] {
	a := &asker[T]{question: question, timeout: AskTimeout}
	a.mu.held = map[string]bool{}
	return a
}

func (a *asker[T]) ask(ctx context.Context, about string) (T, error) {
	type answer struct {
		value T
		err   error
	}
	var none T
	if !a.take(about) {
		return none, fmt.Errorf("%s: %w", about, ErrHeld)
	}
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	answers := make(chan answer, 1) // from the goroutine below, once; never closed
	go func() {
		value, err := a.question(ctx, about)
		a.release(about) // first: whoever has the answer may ask again at once
		answers <- answer{value, err}
	}()
	select {
	case got := <-answers:
		return got.value, got.err
	case <-ctx.Done():
		return none, fmt.Errorf("%s: %w: %w", about, ErrHeld, context.Cause(ctx))
	}
}

func (a *asker[T]) take(about string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.mu.held[about] {
		return false
	}
	a.mu.held[about] = true
	return true
}

func (a *asker[T]) release(about string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.mu.held, about)
}

func statfs(_ context.Context, mountPoint string) (Usage, error) {
	var st unix.Statfs_t
	for {
		err := unix.Statfs(mountPoint, &st)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EINTR) {
			return Usage{}, fmt.Errorf("statfs %s: %w", mountPoint, err)
		}
	}
	unit := uint64(st.Frsize)
	if unit == 0 {
		unit = uint64(st.Bsize)
	}
	return Usage{Size: unit * st.Blocks, Used: unit * (st.Blocks - st.Bfree), Available: unit * st.Bavail}, nil
}
