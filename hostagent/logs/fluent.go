// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package logs

import (
	"bytes"
	"context"
)

// fluentOutput sends lines of JSON with a tag, as CockroachDB's does.
type fluentOutput struct {
	conn   conn
	buffer []byte
}

func newFluentOutput(f Fluent) *fluentOutput {
	return &fluentOutput{conn: conn{networks: []string{f.Net}, address: f.Address}}
}

const fluentTag = `{"tag":"holdfast",`

// open implements output.
func (o *fluentOutput) open(context.Context) error { return nil }

// write implements output. A batch whose connection breaks is sent again whole:
// a line may come twice.
func (o *fluentOutput) write(ctx context.Context, batch []record) (int, error) {
	c, err := o.conn.use(ctx)
	if err != nil {
		return 0, err
	}
	o.buffer = o.buffer[:0]
	for _, r := range batch {
		o.buffer = append(append(o.buffer, fluentTag...), bytes.TrimPrefix(r.line, []byte("{"))...)
	}
	if _, err := c.Write(o.buffer); err != nil {
		o.conn.reset()
		return 0, err
	}
	return len(batch), nil
}

// reopen implements output.
func (o *fluentOutput) reopen() { o.conn.reset() }

// close implements output.
func (o *fluentOutput) close() error { return o.conn.close() }
