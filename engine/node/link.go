// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package node

import (
	"bufio"
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// link is the way to one peer's partition: one connection, made when there is
// something to send and kept from then on.
//
// Goroutines: run, owned by the link, which dials and then flushes; one
// reader per connection, which run waits for.
type link struct {
	dial func(context.Context) (net.Conn, error)
	log  hclog.Logger
	wake chan struct{} // send → run; depth 1; never closed

	mu struct {
		sync.Mutex
		out     *outbox          // nil while there is no connection
		calls   map[uint64]*call // sent or about to be, not answered
		parked  []*call          // sent once connected
		nextID  uint64
		closed  bool
		dialing bool
	}
}

func newLink(dial func(context.Context) (net.Conn, error), log hclog.Logger) *link {
	l := &link{dial: dial, log: log, wake: make(chan struct{}, 1)}
	l.mu.calls = make(map[uint64]*call)
	return l
}

// send hands a call to the peer; it will be answered, with outcomeNotLeader
// where it could not be sent and outcomeUnknown where the connection broke.
// The returned id is for forget. The error is ErrBusy or ErrStopping, and
// then there is no answer.
func (l *link) send(c *call) (uint64, error) {
	l.mu.Lock()
	if l.mu.closed {
		l.mu.Unlock()
		return 0, ErrStopping
	}
	if len(l.mu.calls)+len(l.mu.parked) >= 2*maxOutstanding {
		l.mu.Unlock()
		return 0, ErrBusy
	}
	l.mu.nextID++
	id := l.mu.nextID
	out := l.mu.out
	if out == nil {
		l.mu.parked = append(l.mu.parked, c)
		if !l.mu.dialing {
			l.mu.dialing = true
			l.kick()
		}
		l.mu.Unlock()
		return id, nil
	}
	l.mu.calls[id] = c
	l.mu.Unlock()
	err := out.put(true, func(b []byte) []byte { return appendRequest(b, id, c.kind, c.body) })
	switch {
	case err == nil:
	case errors.Is(err, ErrBusy):
		if !l.forget(id) {
			return id, nil // answered meanwhile: the connection broke
		}
		return 0, ErrBusy
	default:
		// The reader ends with the connection and answers every call.
		_ = out.conn.Close()
	}
	return id, nil
}

// forget gives a call up; false means that it was answered or is about to be.
func (l *link) forget(id uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, ok := l.mu.calls[id]
	delete(l.mu.calls, id)
	return ok
}

func (l *link) kick() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// run makes connections and serves them until ctx ends.
func (l *link) run(ctx context.Context) {
	defer l.close()
	for {
		select {
		case <-l.wake:
		case <-ctx.Done():
			return
		}
		conn, err := l.dial(ctx)
		if err != nil {
			l.log.Debug("no connection to the leader", "error", err)
			l.failParked()
			continue
		}
		l.serve(ctx, conn)
	}
}

// serve owns a connection until it breaks or ctx ends.
func (l *link) serve(ctx context.Context, conn net.Conn) {
	out := newOutbox(conn)
	stop := make(chan struct{}) // closed by the reader
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(stop)
		err := l.read(conn)
		out.fail(err)
		_ = conn.Close() // both directions end together
		if ctx.Err() == nil {
			l.log.Debug("the connection to the leader broke", "error", err)
		}
		l.disconnect()
	})
	unhook := context.AfterFunc(ctx, func() { _ = conn.Close() })
	l.connect(out)
	if err := out.flush(stop); err != nil {
		_ = conn.Close()
	}
	wg.Wait()
	unhook()
}

// connect sends what was parked and makes the connection everybody's.
func (l *link) connect(out *outbox) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.dialing = false
	for _, c := range l.mu.parked {
		l.mu.nextID++
		id := l.mu.nextID
		l.mu.calls[id] = c
		// An error is that of the connection: the reader answers the call.
		_ = out.put(false, func(b []byte) []byte { return appendRequest(b, id, c.kind, c.body) })
	}
	l.mu.parked = nil
	l.mu.out = out
}

// disconnect answers every call on the connection. Those that never left this
// node are answered like the others: it is not known which.
func (l *link) disconnect() {
	l.mu.Lock()
	calls := l.mu.calls
	l.mu.calls = make(map[uint64]*call)
	l.mu.out = nil
	l.mu.Unlock()
	for _, c := range calls {
		c.answer(&reply{out: outcomeUnknown})
	}
}

// failParked answers the calls that waited for a connection.
func (l *link) failParked() {
	l.mu.Lock()
	parked := l.mu.parked
	l.mu.parked, l.mu.dialing = nil, false
	l.mu.Unlock()
	for _, c := range parked {
		c.answer(&reply{out: outcomeNotLeader})
	}
}

func (l *link) close() {
	l.mu.Lock()
	l.mu.closed = true
	l.mu.Unlock()
	l.failParked()
	l.disconnect()
}

// read takes answers off the connection until it breaks.
func (l *link) read(conn net.Conn) error {
	r := bufio.NewReaderSize(conn, 64<<10)
	var buf []byte
	for {
		var err error
		if buf, err = readFrame(r, buf); err != nil {
			return err
		}
		for rest := buf; len(rest) > 0; {
			var id uint64
			var out outcome
			var body []byte
			if id, out, body, rest, err = nextReply(rest); err != nil {
				return err
			}
			l.mu.Lock()
			c := l.mu.calls[id]
			delete(l.mu.calls, id)
			l.mu.Unlock()
			if c == nil {
				continue // given up by its caller
			}
			if c.reply, err = decodeReply(c.kind, out, body); err != nil {
				c.answer(&reply{out: outcomeUnknown})
				return err
			}
			c.done <- struct{}{}
		}
		if cap(buf) > 4*softFrameBytes {
			buf = nil // one large list is not kept
		}
	}
}

// dialBackoff is how long a call waits before it tries a leader again that
// could not be reached, while nobody else is elected.
func dialBackoff(attempt int) time.Duration {
	return min(5*time.Millisecond<<min(attempt, 6), 100*time.Millisecond)
}
