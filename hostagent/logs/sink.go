// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package logs

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/telemetry"
)

// output is where a sink's lines go. One goroutine calls its methods, and each of
// them may hang.
type output interface {
	// open makes ready for the first write. A write does it where it failed.
	open(ctx context.Context) error
	// write delivers lines in order. It returns how many it delivered for
	// certain; after an error it is called again with the others, or never.
	// An error that is errRejected will not go away with another try.
	write(ctx context.Context, batch []record) (int, error)
	// reopen makes the next write begin anew: SIGHUP after a rotation from outside.
	reopen()
	close() error
}

// errRejected is returned by a server for lines that it will never take.
var errRejected = errors.New("the server rejects it")

// Retries of one batch. Those of a server last for half a minute.
const (
	fileAttempts   = 3
	serverAttempts = 8
	firstBackoff   = 250 * time.Millisecond
)

// sink is a queue and the goroutine that empties it.
type sink struct {
	Sink
	// key names what it writes to where two sinks at once would spoil it.
	key      string
	out      output
	attempts int
	// limit is how long one write may take; stalled is called when it took
	// longer. 0 is for ever.
	limit   time.Duration
	stalled func(*sink)
	// failed is told of the first error after a success.
	failed func(*sink, error)

	dropped, errs, buffered *telemetry.Series

	// wake tells the goroutine to look again. Whoever changes something sends;
	// one waiting token is enough, so it is one deep. It is never closed.
	wake chan struct{}
	// opened carries the result of the first open, one deep.
	opened chan error
	done   chan struct{} // closed by the goroutine at its end

	mu struct {
		sync.Mutex
		queue
		flushes []chan struct{} // closed, each, when nothing is left
		closing bool
		reopen  bool
	}
}

func newSink(s Sink, out output, attempts int, metrics *telemetry.Sink) *sink {
	label := telemetry.Label{Name: "sink", Value: s.Name}
	n := &sink{
		Sink: s, out: out, attempts: attempts,
		dropped: metrics.Counter("log.messages.dropped", label), errs: metrics.Counter("log.sink.errors", label),
		buffered: metrics.Gauge("log.buffered.bytes", label),
		wake:     make(chan struct{}, 1), opened: make(chan error, 1), done: make(chan struct{}),
		failed: func(*sink, error) {}, stalled: func(*sink) {},
	}
	n.mu.Buffering = s.Buffering
	return n
}

// takes reports whether a line of this level is for the sink.
func (s *sink) takes(level hclog.Level) bool {
	if level == hclog.NoLevel {
		level = hclog.Info
	}
	return level >= s.Filter
}

// offer puts a line into the queue. It never waits for anything but the lock,
// which nobody holds over I/O.
func (s *sink) offer(r record) {
	s.mu.Lock()
	if s.mu.closing {
		s.mu.Unlock()
		s.dropped.Add(1)
		return
	}
	dropped := s.mu.put(r)
	due, _ := s.mu.due(r.at)
	first := len(s.mu.records) == 1 // from now on its age counts
	s.measureLocked()
	s.mu.Unlock()
	if dropped > 0 {
		s.dropped.Add(float64(dropped))
	}
	if due || first {
		s.look()
	}
}

func (s *sink) look() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *sink) measureLocked() { s.buffered.Set(float64(s.mu.queued + s.mu.inFlight)) }

// flush waits until everything that was offered has been written, or given up.
func (s *sink) flush(ctx context.Context) error {
	done := make(chan struct{})
	s.mu.Lock()
	s.mu.flushes = append(s.mu.flushes, done)
	s.mu.Unlock()
	s.look()
	select {
	case <-done:
	case <-s.done:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// close takes no more lines; the goroutine writes what is left, tries nothing
// twice, and ends. It does not wait for it.
func (s *sink) close() {
	s.mu.Lock()
	s.mu.closing = true
	s.mu.Unlock()
	s.look()
}

func (s *sink) reopen() {
	s.mu.Lock()
	s.mu.reopen = true
	s.mu.Unlock()
}

func (s *sink) ended() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// run is the sink's goroutine. It begins when everything in after is closed: sinks
// that had the same files. It ends after close; cancelling ctx ends its network calls.
func (s *sink) run(ctx context.Context, after []<-chan struct{}) {
	defer close(s.done)
	for _, c := range after {
		<-c
	}
	err := s.watched(func() error { return s.out.open(ctx) })
	s.opened <- err
	healthy := err == nil
	for {
		batch, ok := s.next()
		if !ok {
			break
		}
		healthy = s.deliver(ctx, batch, healthy)
	}
	if err := s.out.close(); err != nil {
		s.errs.Add(1)
	}
}

// next waits until a batch is due; ok is false once the sink is closed and empty.
func (s *sink) next() (batch []record, ok bool) {
	for {
		s.mu.Lock()
		due, wait := s.mu.due(time.Now())
		empty := len(s.mu.records) == 0
		if empty {
			for _, f := range s.mu.flushes {
				close(f)
			}
			s.mu.flushes = nil
		}
		closing := s.mu.closing
		if !empty && (due || closing || len(s.mu.flushes) > 0) {
			batch = s.mu.take()
			again := s.mu.reopen
			s.mu.reopen = false
			s.mu.Unlock()
			if again {
				s.out.reopen()
			}
			return batch, true
		}
		s.mu.Unlock()
		if empty && closing {
			return nil, false
		}
		s.pause(wait)
	}
}

// pause waits for a wake, and no longer than d unless that is 0.
func (s *sink) pause(d time.Duration) {
	if d <= 0 {
		<-s.wake
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-s.wake:
	case <-timer.C:
	}
}

// deliver writes a batch, the note of what was dropped before it ahead of it. It
// returns whether the sink is well.
func (s *sink) deliver(ctx context.Context, batch []record, healthy bool) bool {
	backoff := firstBackoff
	// What is dropped from now on is newer than the batch: the next note's.
	note, told := s.note()
	for attempt := 1; len(batch) > 0; attempt++ {
		all := batch
		if told > 0 {
			all = append([]record{note}, batch...)
		}
		var n int
		err := s.watched(func() (err error) {
			n, err = s.out.write(ctx, all)
			return err
		})
		if told > 0 && n > 0 {
			n--
			s.told(told)
			told = 0
		}
		s.settle(batch[:n])
		batch = batch[n:]
		if err == nil {
			return true
		}
		s.errs.Add(1)
		if healthy {
			healthy = false
			s.failed(s, err)
		}
		if attempt >= s.attempts || errors.Is(err, errRejected) || s.closed() {
			s.giveUp(batch)
			return false
		}
		if !s.sleep(backoff) {
			continue // it is being closed: one more try, now
		}
		backoff *= 2
	}
	return healthy
}

// watched runs one call of the output and tells when it takes too long.
func (s *sink) watched(call func() error) error {
	if s.limit > 0 {
		defer time.AfterFunc(s.limit, func() { s.stalled(s) }).Stop()
	}
	return call()
}

// sleep waits for d; false where the sink was closed meanwhile.
func (s *sink) sleep(d time.Duration) bool {
	for end := time.Now().Add(d); ; {
		left := time.Until(end)
		if s.closed() {
			return false
		}
		if left <= 0 {
			return true
		}
		s.pause(left)
	}
}

func (s *sink) closed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.closing
}

func (s *sink) settle(batch []record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.settle(batch)
	s.measureLocked()
}

// giveUp drops lines that could not be delivered.
func (s *sink) giveUp(batch []record) {
	s.settle(batch)
	s.mu.Lock()
	s.mu.untold += int64(len(batch))
	s.mu.Unlock()
	s.dropped.Add(float64(len(batch)))
}

// note is the line that tells of dropped ones, and how many it tells of.
func (s *sink) note() (record, int64) {
	s.mu.Lock()
	n := s.mu.untold
	s.mu.Unlock()
	if n == 0 {
		return record{}, 0
	}
	var line bytes.Buffer
	hclog.New(&hclog.LoggerOptions{Name: "log", Output: &line, JSONFormat: s.Format == JSON}).
		Warn("log lines were dropped here: the sink did not take them in time", "sink", s.Name, "dropped", n)
	return record{level: hclog.Warn, at: time.Now(), line: line.Bytes()}, n
}

func (s *sink) told(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.untold -= n
}
