// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package node

import (
	"net"
	"runtime"
	"sync"
	"time"
)

// writeTimeout is how long a peer may leave a frame unread.
const writeTimeout = 5 * time.Second

// outbox gathers items into frames while the frame before is being written.
// Whoever finds it idle writes, so that a lone request costs no change of
// goroutine; what came meanwhile is left to the flusher.
type outbox struct {
	conn net.Conn
	wake chan struct{} // put → flush; depth 1; never closed

	mu struct {
		sync.Mutex
		frames  [][]byte // begun, oldest first; only the last one grows
		spare   []byte   // a frame's memory to use again
		bytes   int
		writing bool
		err     error
	}
}

func newOutbox(conn net.Conn) *outbox {
	return &outbox{conn: conn, wake: make(chan struct{}, 1)}
}

// put adds what add appends. With direct, it writes the frame itself if
// nobody else is writing; a goroutine that must not wait for a peer says no.
// The error is that of the connection, sticky.
func (o *outbox) put(direct bool, add func(b []byte) []byte) error {
	o.mu.Lock()
	if o.mu.err != nil {
		o.mu.Unlock()
		return o.mu.err
	}
	if o.mu.bytes > maxQueuedBytes {
		o.mu.Unlock()
		return ErrBusy
	}
	n := len(o.mu.frames)
	if n == 0 || len(o.mu.frames[n-1]) >= softFrameBytes {
		o.mu.frames = append(o.mu.frames, beginFrame(o.mu.spare[:0]))
		o.mu.spare = nil
		n++
	}
	f := o.mu.frames[n-1]
	before := len(f)
	f = add(f)
	o.mu.frames[n-1] = f
	o.mu.bytes += len(f) - before
	if o.mu.writing {
		o.mu.Unlock()
		return nil // who writes looks again, or wakes the flusher
	}
	o.mu.writing = true
	o.mu.Unlock()
	if !direct {
		o.kick()
		return nil
	}
	// Let those who are about to put something do so first: under load one
	// system call then carries many requests.
	runtime.Gosched()
	return o.writeOnce()
}

// writeOnce writes one frame and hands over to the flusher if there are more.
func (o *outbox) writeOnce() error {
	f, ok := o.take()
	if !ok {
		return nil
	}
	err := o.write(f)
	if err == nil {
		o.mu.Lock()
		more := len(o.mu.frames) > 0
		o.mu.writing = more
		o.mu.Unlock()
		if more {
			o.kick()
		}
	}
	return err
}

// flush writes frames when woken, until the connection fails or stop is closed.
func (o *outbox) flush(stop <-chan struct{}) error {
	for {
		select {
		case <-o.wake:
		case <-stop:
			return net.ErrClosed
		}
		runtime.Gosched()
		for {
			f, ok := o.take()
			if !ok {
				break
			}
			if err := o.write(f); err != nil {
				return err
			}
		}
	}
}

// take removes the oldest frame. Where there is none, nobody writes any more.
func (o *outbox) take() ([]byte, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.mu.frames) == 0 || o.mu.err != nil {
		o.mu.writing = false
		return nil, false
	}
	f := o.mu.frames[0]
	o.mu.frames[0] = nil
	if o.mu.frames = o.mu.frames[1:]; len(o.mu.frames) == 0 {
		o.mu.frames = nil
	}
	o.mu.bytes -= len(f) - frameHeader
	return f, true
}

// write writes a frame. The caller has set writing.
func (o *outbox) write(f []byte) error {
	sealFrame(f)
	err := o.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	if err == nil {
		_, err = o.conn.Write(f)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if err != nil {
		o.failLocked(err)
		return err
	}
	if cap(f) <= 2*softFrameBytes && cap(f) > cap(o.mu.spare) {
		o.mu.spare = f[:0]
	}
	return nil
}

// fail makes every later put return err. What was not written is dropped.
func (o *outbox) fail(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.failLocked(err)
}

func (o *outbox) failLocked(err error) {
	if o.mu.err == nil {
		o.mu.err = err
	}
	o.mu.frames, o.mu.bytes = nil, 0
}

func (o *outbox) kick() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}
