// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Package guard holds what both backends need to keep the contract of package
// logstore: calls that a Close waits for, and a first error that stays. It does
// no I/O and never waits for any, Close apart.
package guard

import (
	"errors"
	"fmt"
	"io/fs"
	"sync"
)

// ErrKeyNotFound is what Get answers for a key that is not set. Raft compares
// its text.
var ErrKeyNotFound = errors.New("not found")

// Guard belongs to one open log. Use New.
type Guard struct {
	path string

	// failed is closed when mu.err is set; nothing is sent.
	failed chan struct{}

	mu struct {
		sync.Mutex
		err    error // sticky
		calls  int   // running calls
		closed bool  // Invariant: once set, calls only falls
		idle   sync.Cond
	}
}

// New returns the guard of the log at path, which is named in errors.
func New(path string) *Guard {
	g := &Guard{path: path, failed: make(chan struct{})}
	g.mu.idle.L = &g.mu.Mutex
	return g
}

// Enter lets a call in; Leave must follow. After Close it returns an error that
// wraps fs.ErrClosed.
func (g *Guard) Enter() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.mu.closed {
		return fmt.Errorf("raft log %s: %w", g.path, fs.ErrClosed)
	}
	g.mu.calls++
	return nil
}

// Leave ends a call.
func (g *Guard) Leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.mu.calls--
	if g.mu.calls == 0 {
		g.mu.idle.Broadcast()
	}
}

// Mutate runs a mutation that has entered. What check refuses leaves the log
// usable; an error of do is sticky. check may be nil.
func (g *Guard) Mutate(what string, check, do func() error) error {
	if err := g.Err(); err != nil {
		return err
	}
	if check != nil {
		if err := check(); err != nil {
			return fmt.Errorf("%s raft log %s: %w", what, g.path, err)
		}
	}
	if err := do(); err != nil {
		g.Fail(fmt.Errorf("%s it: %w", what, err))
		return g.Err()
	}
	return nil
}

// Fail sets the sticky error if there is none yet.
func (g *Guard) Fail(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.mu.err == nil {
		g.mu.err = fmt.Errorf("raft log %s takes no more writes until it is opened again: %w", g.path, err)
		close(g.failed)
	}
}

// Err returns the sticky error, nil while the log is usable.
func (g *Guard) Err() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.mu.err
}

// Failed is closed when the sticky error is set.
func (g *Guard) Failed() <-chan struct{} { return g.failed }

// Close keeps further calls out and waits for those inside. It returns false
// if somebody else has closed before.
func (g *Guard) Close() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.mu.closed {
		return false
	}
	g.mu.closed = true
	for g.mu.calls > 0 {
		g.mu.idle.Wait()
	}
	return true
}
