// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package sshhost

import "sync"

// tail is a writer that keeps the end of what it gets.
type tail struct {
	limit int
	mu    struct {
		sync.Mutex
		buf []byte
		cut bool // bytes before buf are gone
	}
}

// Write implements io.Writer. It never fails: a command is not ended for talking much.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mu.buf = append(t.mu.buf, p...)
	if len(t.mu.buf) > 2*t.limit {
		t.trimLocked()
	}
	return len(p), nil
}

func (t *tail) trimLocked() {
	if over := len(t.mu.buf) - t.limit; over > 0 {
		t.mu.buf = append(t.mu.buf[:0:0], t.mu.buf[over:]...)
		t.mu.cut = true
	}
}

// bytes returns the end, of limit bytes at most, and whether something is missing before it.
func (t *tail) bytes() (end []byte, cut bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.trimLocked()
	return append([]byte(nil), t.mu.buf...), t.mu.cut
}
