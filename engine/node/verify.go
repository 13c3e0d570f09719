// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package node

import (
	"errors"
	"sync"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/kv"
)

// verifier confirms leadership for consistent reads: one question to the
// followers for all reads that wait.
type verifier struct {
	p *partition

	mu struct {
		sync.Mutex
		waiting []verifiedRead
		running bool
	}
}

type verifiedRead struct {
	q    kv.Query
	view *leaderView // the leadership to confirm
	to   sink
}

// submit answers the read once a majority has confirmed the leader, after now.
func (v *verifier) submit(r verifiedRead) {
	v.mu.Lock()
	if len(v.mu.waiting) >= maxOutstanding {
		v.mu.Unlock()
		r.to.answer(&reply{out: outcomeBusy})
		return
	}
	v.mu.waiting = append(v.mu.waiting, r)
	start := !v.mu.running
	v.mu.running = true
	v.mu.Unlock()
	if start && !v.p.spawn(v.run) {
		v.drain()
	}
}

// run works until nobody waits. One at a time.
func (v *verifier) run() {
	for {
		v.mu.Lock()
		reads := v.mu.waiting
		v.mu.waiting = nil
		if len(reads) == 0 {
			v.mu.running = false
			v.mu.Unlock()
			return
		}
		v.mu.Unlock()
		view := v.p.view.Load()
		err := v.confirm(view)
		for _, r := range reads {
			if err != nil || r.view.term != view.term {
				r.to.answer(&reply{out: outcomeNotLeader})
				continue
			}
			r.to.answer(&reply{out: outcomeOK, answer: v.p.machine.Read(r.q)})
		}
	}
}

func (v *verifier) drain() {
	v.mu.Lock()
	reads := v.mu.waiting
	v.mu.waiting, v.mu.running = nil, false
	v.mu.Unlock()
	for _, r := range reads {
		r.to.answer(&reply{out: outcomeNotLeader})
	}
}

var errUnconfirmed = errors.New("no majority confirmed the leader")

// confirm returns nil if a majority took this node for the leader at some
// time after the call began. VerifyLeader alone does not say that: it counts
// the answer to a heartbeat that was sent before it was called, and a
// follower may have turned away since it gave that answer.
func (v *verifier) confirm(view *leaderView) error {
	begun := time.Now()
	for range 10 {
		if err := v.p.raft.VerifyLeader().Error(); err != nil {
			return err
		}
		if !view.self || !view.ready {
			return errUnconfirmed
		}
		if !v.p.lease.since(view.term, time.Now()).Before(begun) {
			return nil
		}
	}
	return errUnconfirmed
}
