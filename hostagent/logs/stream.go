// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package logs

import (
	"context"
	"io"
)

// streamOutput writes to what is open already: standard error.
type streamOutput struct {
	w      io.Writer
	buffer []byte
}

// open implements output.
func (o *streamOutput) open(context.Context) error { return nil }

// write implements output.
func (o *streamOutput) write(_ context.Context, batch []record) (int, error) {
	o.buffer = o.buffer[:0]
	for _, r := range batch {
		o.buffer = append(o.buffer, r.line...)
	}
	n, err := o.w.Write(o.buffer)
	if err == nil {
		return len(batch), nil
	}
	done := 0
	for _, r := range batch { // those that went out whole
		if n -= len(r.line); n < 0 {
			break
		}
		done++
	}
	return done, err
}

// reopen implements output.
func (o *streamOutput) reopen() {}

// close implements output. Standard error stays the process's.
func (o *streamOutput) close() error { return nil }
