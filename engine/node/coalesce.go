// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package node

import (
	"errors"
	"runtime"
	"sync"

	"github.com/hashicorp/raft"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/kv"
)

// coalescer makes log entries on the leader: commands that come while the
// allowed number of entries is under way wait, and share the next one.
//
// It has no goroutine on the way of a write. Whoever brings a command and
// finds room hands the entry to raft; when the state machine has applied one,
// it hands on the next and answers. The reaper only looks after entries that
// raft gave up.
type coalescer struct {
	apply func([]byte) raft.ApplyFuture // never blocks: see maxEntriesInFlight
	limit int
	stats *partitionStats
	wake  chan struct{} // launch → reap; depth 1; never closed

	mu struct {
		sync.Mutex
		waiting   []*entry // oldest first; only the last one grows
		bytes     int      // of waiting
		flying    []*entry // handed to raft, not settled
		futures   []flight // for the reaper
		launching bool     // somebody is about to look at waiting
		closed    bool
	}
}

// entry is a log entry and who waits for it.
type entry struct {
	data    []byte
	sinks   []sink
	settled bool // guarded by the coalescer's mu
}

type flight struct {
	entry  *entry
	future raft.ApplyFuture
}

func newCoalescer(apply func([]byte) raft.ApplyFuture, limit int, stats *partitionStats) *coalescer {
	return &coalescer{apply: apply, limit: limit, stats: stats, wake: make(chan struct{}, 1)}
}

// submit adds an encoded command, which it copies. The sink gets the answer,
// unless submit returns an error.
func (c *coalescer) submit(cmd []byte, s sink) error {
	c.mu.Lock()
	switch {
	case c.mu.closed:
		c.mu.Unlock()
		return ErrStopping
	case c.mu.bytes+len(cmd) > maxQueuedBytes:
		c.mu.Unlock()
		return ErrBusy
	}
	n := len(c.mu.waiting)
	if n == 0 || len(c.mu.waiting[n-1].data)+len(cmd) > maxEntryBytes {
		// The memory becomes raft's, which keeps it in its log cache: it is
		// not used again.
		c.mu.waiting = append(c.mu.waiting, &entry{data: kv.AppendBatchHeader(make([]byte, 0, max(512, len(cmd)+16)))})
		n++
	}
	e := c.mu.waiting[n-1]
	e.data = append(e.data, cmd...)
	e.sinks = append(e.sinks, s)
	c.mu.bytes += len(cmd)
	if c.mu.launching || len(c.mu.flying) >= c.limit {
		c.mu.Unlock()
		return nil
	}
	c.mu.launching = true
	c.mu.Unlock()
	// Others that are about to submit do so first, and share the entry.
	runtime.Gosched()
	c.mu.Lock()
	c.launchLocked()
	c.mu.Unlock()
	return nil
}

// launchLocked hands waiting entries to raft while there is room.
func (c *coalescer) launchLocked() {
	c.mu.launching = false
	for len(c.mu.waiting) > 0 && len(c.mu.flying) < c.limit && !c.mu.closed {
		e := c.mu.waiting[0]
		c.mu.waiting[0] = nil
		if c.mu.waiting = c.mu.waiting[1:]; len(c.mu.waiting) == 0 {
			c.mu.waiting = nil
		}
		c.mu.bytes -= len(e.data)
		if len(c.mu.waiting) == 0 {
			c.mu.bytes = 0
		}
		c.mu.flying = append(c.mu.flying, e)
		c.mu.futures = append(c.mu.futures, flight{e, c.apply(e.data)})
		c.stats.entry(len(e.sinks), len(e.data))
	}
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// settle is called by the state machine with every entry that it applied. If
// the entry was made here, its commands are answered.
func (c *coalescer) settle(data []byte, results []kv.Result) {
	c.mu.Lock()
	e := c.landLocked(func(e *entry) bool { return &e.data[0] == &data[0] })
	if e != nil {
		c.launchLocked() // the disk first, the answers while it works
	}
	c.mu.Unlock()
	if e != nil {
		e.answer(results)
	}
}

// landLocked removes the entry that match finds, once.
func (c *coalescer) landLocked(match func(*entry) bool) *entry {
	for i, e := range c.mu.flying {
		if match(e) {
			c.mu.flying = append(c.mu.flying[:i], c.mu.flying[i+1:]...)
			e.settled = true
			return e
		}
	}
	return nil
}

func (e *entry) answer(results []kv.Result) {
	if len(results) != len(e.sinks) {
		// A retry of a result that does not line up would be a lie to somebody.
		e.fail(outcomeUnknown)
		return
	}
	r := reply{out: outcomeOK}
	for i := range e.sinks {
		r.result = results[i]
		e.sinks[i].answer(&r)
	}
}

func (e *entry) fail(out outcome) {
	r := reply{out: out}
	for i := range e.sinks {
		e.sinks[i].answer(&r)
	}
}

// reap answers entries that raft gave up, until stop is closed and no future
// is left. Raft leaves futures unanswered that are in its queues when it shuts
// down; a reaper that waits for one of those stays, which is why the node
// hands leadership over first and does not wait for it for long.
func (c *coalescer) reap(stop <-chan struct{}) {
	var futures []flight
	for {
		c.mu.Lock()
		futures, c.mu.futures = c.mu.futures, futures[:0]
		c.mu.Unlock()
		for i, f := range futures {
			c.reapOne(f)
			futures[i] = flight{}
		}
		if len(futures) > 0 {
			continue
		}
		select {
		case <-c.wake:
		case <-stop:
			return
		}
	}
}

func (c *coalescer) reapOne(f flight) {
	err := f.future.Error()
	c.mu.Lock()
	settled := f.entry.settled
	if !settled {
		c.landLocked(func(e *entry) bool { return e == f.entry })
		c.launchLocked()
	}
	c.mu.Unlock()
	switch {
	case settled:
	case err == nil:
		// Applied, and settle did not know it by its memory: raft made a copy.
		results, _ := f.future.Response().([]kv.Result) // none: outcome unknown
		f.entry.answer(results)
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress), errors.Is(err, raft.ErrEnqueueTimeout):
		f.entry.fail(outcomeNotLeader) // it never got into the log
	default:
		f.entry.fail(outcomeUnknown)
	}
}

// close fails what waits and refuses what comes.
func (c *coalescer) close() {
	c.mu.Lock()
	c.mu.closed = true
	waiting := c.mu.waiting
	c.mu.waiting, c.mu.bytes = nil, 0
	c.mu.Unlock()
	for _, e := range waiting {
		e.fail(outcomeNotLeader)
	}
}
