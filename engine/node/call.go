// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package node

import (
	"bytes"
	"sync"
	"time"
)

// call is one request on the node that a client sent it to: the bytes to hand
// to a leader, and a place for the answer.
type call struct {
	kind callKind
	body []byte // command or query, encoded once
	// done gets one value per attempt, from whoever answers it; depth 1, so
	// that nobody waits for a caller who gave up; never closed.
	done  chan struct{}
	reply reply       // written before done is sent to
	timer *time.Timer // the end of the retry window
}

var calls = sync.Pool{New: func() any {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return &call{done: make(chan struct{}, 1), timer: t}
}}

func newCall(kind callKind, window time.Duration) *call {
	c := calls.Get().(*call) //nolint:forcetypeassert // the pool makes nothing else
	c.kind, c.body, c.reply = kind, c.body[:0], reply{}
	c.timer.Reset(window)
	return c
}

// release gives the call back. Nobody may be about to answer it.
func (c *call) release() {
	c.timer.Stop()
	if cap(c.body) > 64<<10 {
		c.body = nil
	}
	calls.Put(c)
}

// again is the same request for another attempt, while somebody may still
// answer the first: that answer goes to memory which nobody looks at.
func (c *call) again() *call {
	// The body is copied: the first attempt may still be parked at a link.
	return &call{kind: c.kind, body: bytes.Clone(c.body), done: make(chan struct{}, 1), timer: c.timer}
}

// answer ends an attempt.
func (c *call) answer(r *reply) {
	c.reply = *r
	c.done <- struct{}{}
}

// sink is where an answer goes: to a call of this node, or to the node that
// forwarded it.
type sink struct {
	call *call       // nil for a forwarded one
	conn *serverConn // with id and kind
	id   uint64
	kind callKind
}

func (s *sink) answer(r *reply) {
	if s.call != nil {
		s.call.answer(r)
		return
	}
	s.conn.answer(s.id, s.kind, r)
}
