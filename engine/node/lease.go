// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package node

import (
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// lease knows when a majority last confirmed this node as leader. Raft has a
// lease too, but checks it on its main loop, and while the disk hangs that
// loop does not run: a leader that is also cut off would then believe in
// itself for as long as the disk hangs. So reads ask this one.
//
// An acknowledgement counts from the time at which its request was sent: the
// follower heard of this leader then or later, and is patient for a heartbeat
// timeout from there. A lease no longer than that ends before a follower that
// keeps its memory can vote for somebody else. Clocks need not agree, only
// run at about the same speed.
type lease struct {
	self raft.ServerID

	mu struct {
		sync.Mutex
		term   uint64
		voters []raft.ServerID
		acks   map[raft.ServerID]ack // of this term
		sorted []time.Time           // scratch
	}
}

// ack is the newest acknowledgement of one server.
type ack struct {
	sent time.Time
	last uint64 // the last log index that the server has
}

func newLease(self raft.ServerID) *lease {
	l := &lease{self: self}
	l.mu.acks = make(map[raft.ServerID]ack)
	return l
}

// acked records that a server took a request of term, sent at sent.
func (l *lease) acked(id raft.ServerID, term uint64, sent time.Time, last uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if term < l.mu.term {
		return
	}
	if term > l.mu.term {
		l.mu.term = term
		clear(l.mu.acks)
	}
	a := l.mu.acks[id]
	if sent.After(a.sent) {
		a.sent = sent
	}
	a.last = max(a.last, last)
	l.mu.acks[id] = a
}

// setVoters tells who votes.
func (l *lease) setVoters(voters []raft.ServerID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.voters = voters
}

// since is the latest time of which it is known that a majority regarded this
// node as the leader of term; zero where there is none. now is its own vote.
func (l *lease) since(term uint64, now time.Time) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	times := l.mu.sorted[:0]
	for _, id := range l.mu.voters {
		switch {
		case id == l.self:
			times = append(times, now)
		case term == l.mu.term:
			times = append(times, l.mu.acks[id].sent)
		default:
			times = append(times, time.Time{})
		}
	}
	l.mu.sorted = times
	if len(times) == 0 {
		return time.Time{}
	}
	slices.SortFunc(times, func(a, b time.Time) int { return b.Compare(a) })
	return times[len(times)/2]
}

// ackOf is the newest acknowledgement of a server, zero where there is none.
func (l *lease) ackOf(id raft.ServerID) ack {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.acks[id]
}
