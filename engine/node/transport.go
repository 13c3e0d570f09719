// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package node

import (
	"errors"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// errStalledNode is what a node whose disks all hang says to a request that
// would make it the leader, and to itself where it would ask for votes.
var errStalledNode = errors.New("every disk of this node's log hangs: it does not lead")

// transport is raft's own, with an eye on what goes through it:
//
//   - acknowledgements of followers, for the lease;
//   - the leader of a newer term, which a node whose disks hang hears of and
//     raft cannot take note of, since it would have to write the term first;
//   - requests that would elect this node while its disks hang.
//
// Goroutines: one, admit, which ends with Close.
type transport struct {
	*raft.NetworkTransport
	lease   *lease
	stalled func() bool // every disk of the log hangs
	onHeard func()      // heard changed; must not block

	requests chan raft.RPC // admit → raft; unbuffered; never closed
	done     chan struct{} // closed by Close
	stop     sync.Once
	wg       sync.WaitGroup

	mu struct {
		sync.Mutex
		heard heardLeader
	}
}

// heardLeader is the leader of the newest term that anybody claimed to lead.
type heardLeader struct {
	term     uint64
	id, addr string
}

func newTransport(t *raft.NetworkTransport, l *lease, stalled func() bool, onHeard func()) *transport {
	tr := &transport{
		NetworkTransport: t, lease: l, stalled: stalled, onHeard: onHeard,
		requests: make(chan raft.RPC), done: make(chan struct{}),
	}
	tr.wg.Go(tr.admit)
	return tr
}

// admit hands requests on to raft. It goes on while raft's main loop, which
// takes them, waits for a disk; what waits is bounded by the peers' patience:
// each sends one request at a time, and the next when that timed out.
func (t *transport) admit() {
	var waiting []raft.RPC
	in := t.NetworkTransport.Consumer()
	for {
		var out chan<- raft.RPC // nil while nothing waits
		var head raft.RPC
		if len(waiting) > 0 {
			out, head = t.requests, waiting[0]
		}
		select {
		case rpc := <-in:
			if _, ok := rpc.Command.(*raft.TimeoutNowRequest); ok {
				t.stand(rpc, len(waiting) > 0)
				continue
			}
			t.hear(rpc)
			waiting = append(waiting, rpc)
		case out <- head:
			if waiting = waiting[1:]; len(waiting) == 0 {
				waiting = nil
			}
		case <-t.done:
			return
		}
	}
}

// standTime is how long raft's main loop may take to hear that it shall stand.
const standTime = 100 * time.Millisecond

// stand hands on a request to stand for election, or refuses it: it is not
// kept. One that raft heard of after its disk came back would depose
// whoever leads by then.
func (t *transport) stand(rpc raft.RPC, busy bool) {
	if !busy && !t.stalled() {
		late := time.NewTimer(standTime)
		defer late.Stop()
		select {
		case t.requests <- rpc:
			return
		case <-late.C:
		case <-t.done:
		}
	}
	rpc.Respond(&raft.TimeoutNowResponse{}, errStalledNode)
}

// hear notes who leads.
func (t *transport) hear(rpc raft.RPC) {
	req, ok := rpc.Command.(*raft.AppendEntriesRequest)
	if !ok {
		return
	}
	t.mu.Lock()
	news := req.Term > t.mu.heard.term
	if news {
		t.mu.heard = heardLeader{term: req.Term, id: string(req.ID), addr: string(t.DecodePeer(req.Addr))}
	}
	t.mu.Unlock()
	if news {
		t.onHeard()
	}
}

// heard is the leader of the newest term that this node heard of.
func (t *transport) heard() heardLeader {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.mu.heard
}

// Consumer implements raft.Transport.
func (t *transport) Consumer() <-chan raft.RPC { return t.requests }

// SetHeartbeatHandler implements raft.Transport: heartbeats do not come
// through Consumer.
func (t *transport) SetHeartbeatHandler(cb func(raft.RPC)) {
	if cb == nil {
		t.NetworkTransport.SetHeartbeatHandler(nil)
		return
	}
	t.NetworkTransport.SetHeartbeatHandler(func(rpc raft.RPC) {
		t.hear(rpc)
		cb(rpc)
	})
}

// AppendEntries implements raft.Transport. Pipelining is off, so every
// request that raft sends to a follower, heartbeats included, comes this way.
func (t *transport) AppendEntries(id raft.ServerID, target raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	sent := time.Now()
	err := t.NetworkTransport.AppendEntries(id, target, args, resp)
	if err == nil && resp.Success {
		t.lease.acked(id, args.Term, sent, args.PrevLogEntry+uint64(len(args.Entries)))
	}
	return err
}

// RequestVote implements raft.Transport.
func (t *transport) RequestVote(id raft.ServerID, target raft.ServerAddress, args *raft.RequestVoteRequest, resp *raft.RequestVoteResponse) error {
	if t.stalled() {
		return errStalledNode
	}
	return t.NetworkTransport.RequestVote(id, target, args, resp)
}

// RequestPreVote implements raft.WithPreVote.
func (t *transport) RequestPreVote(id raft.ServerID, target raft.ServerAddress, args *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	if t.stalled() {
		return errStalledNode
	}
	return t.NetworkTransport.RequestPreVote(id, target, args, resp)
}

// Close implements raft.WithClose. It closes every connection and waits for
// nobody but admit.
func (t *transport) Close() error {
	err := t.NetworkTransport.Close()
	t.stop.Do(func() { close(t.done) })
	t.wg.Wait()
	return err
}
