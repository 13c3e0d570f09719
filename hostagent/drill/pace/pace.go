// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Package pace does operations at a steady rate, whether they are answered or
// not, and says how long each one took for who wanted it done.
//
// Every client has a schedule of its own, and a latency counts from the moment
// that the schedule names. A client that hung for five seconds has everything
// that was due meanwhile to do: all of it is late, and all of it counts. (A load
// that sends the next operation when the last one was answered measures one
// slow operation instead, and misses the stall that it was made to find.)
//
// It keeps nothing on disk and knows no store.
package pace

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Plan is a steady load.
type Plan struct {
	Clients int           // each does one operation at a time
	Rate    float64       // operations per second of all of them
	Timeout time.Duration // of one operation, from when it is sent; 0: none
}

// Validate names what makes no sense.
func (p Plan) Validate() error {
	switch {
	case p.Clients < 1 || p.Clients > 10000:
		return fmt.Errorf("%d clients: 1 to 10000 are needed", p.Clients)
	case !(p.Rate > 0) || p.Rate > 1e6:
		return fmt.Errorf("%v operations per second: more than 0 and at most a million are needed", p.Rate)
	case p.Timeout < 0:
		return fmt.Errorf("a timeout of %v: it cannot be negative", p.Timeout)
	}
	return nil
}

// interval is the time between two operations of one client.
func (p Plan) interval() time.Duration {
	return time.Duration(float64(p.Clients) / p.Rate * float64(time.Second))
}

// Op is one operation that was done.
type Op struct {
	Client, Seq int
	Due         time.Time // when the schedule has it
	Sent        time.Time // when its client came to it
	Ended       time.Time
	Err         error
}

// Latency is what who wanted it done waited.
func (o Op) Latency() time.Duration { return o.Ended.Sub(o.Due) }

// Load is a running load.
//
// Goroutines: one per client, ended by Stop or the context, waited for by Stop.
type Load struct {
	plan   Plan
	start  time.Time
	cancel context.CancelFunc // of the operations
	do     func(ctx context.Context, client, seq int) error
	done   func(Op)
	stop   chan struct{}  // closed by Stop
	end    atomic.Int64   // when: nothing that is due later is begun; offset from start
	due    []atomic.Int64 // by client: what it has to do next, or does; offset from start
	wg     sync.WaitGroup
}

// Start starts a load. do is called by many goroutines, each with its client's
// number and 0, 1, 2 …; done gets what was done, also by many.
func Start(ctx context.Context, p Plan, do func(ctx context.Context, client, seq int) error, done func(Op)) (*Load, error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	l := &Load{plan: p, start: time.Now(), cancel: cancel, do: do, done: done, stop: make(chan struct{}), due: make([]atomic.Int64, p.Clients)}
	for i := range p.Clients {
		// The clients' schedules are spread evenly over one interval.
		first := l.plan.interval() * time.Duration(i) / time.Duration(p.Clients)
		l.due[i].Store(int64(first))
		l.wg.Go(func() { l.client(ctx, i, first) })
	}
	return l, nil
}

func (l *Load) client(ctx context.Context, i int, first time.Duration) {
	for seq := 0; ; seq++ {
		offset := first + time.Duration(seq)*l.plan.interval()
		l.due[i].Store(int64(offset))
		if !l.await(ctx, offset) {
			return
		}
		op := Op{Client: i, Seq: seq, Due: l.start.Add(offset), Sent: time.Now()}
		op.Err = l.one(ctx, i, seq)
		op.Ended = time.Now()
		l.done(op)
	}
}

// await waits until it is time, and tells whether the operation is to be done.
func (l *Load) await(ctx context.Context, offset time.Duration) bool {
	if wait := time.Until(l.start.Add(offset)); wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-l.stop: // what was due in that very moment is done, below
		case <-ctx.Done():
			return false
		}
	}
	select {
	case <-l.stop:
		return ctx.Err() == nil && offset <= time.Duration(l.end.Load())
	default:
		return ctx.Err() == nil
	}
}

func (l *Load) one(ctx context.Context, client, seq int) error {
	if l.plan.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, l.plan.Timeout)
		defer cancel()
	}
	return l.do(ctx, client, seq)
}

// Waiting is how long the operation waits by now that waits longest.
func (l *Load) Waiting() time.Duration {
	oldest := l.due[0].Load()
	for i := range l.due {
		oldest = min(oldest, l.due[i].Load())
	}
	return max(0, time.Since(l.start)-time.Duration(oldest))
}

// Stop ends the load once everything that is due by now was done, or after
// grace, and returns how many operations were due and never sent. It is called once.
func (l *Load) Stop(grace time.Duration) (unsent int) {
	end := time.Since(l.start)
	l.end.Store(int64(end))
	close(l.stop)
	timer := time.AfterFunc(grace, l.cancel)
	l.wg.Wait()
	timer.Stop()
	l.cancel()
	for i := range l.due {
		if late := end - time.Duration(l.due[i].Load()); late >= 0 {
			unsent += 1 + int(late/l.plan.interval())
		}
	}
	return unsent
}
