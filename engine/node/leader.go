// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package node

import (
	"time"

	"github.com/hashicorp/raft"
)

// leaderView is what this node knows of a partition's leader. Immutable; a
// new one takes its place when something changes.
type leaderView struct {
	addr string // empty while no leader is known
	id   string
	term uint64
	// self: this node is the leader, and takes writes.
	self bool
	// ready: everything of earlier terms is applied here too, so that reads
	// may be served.
	ready bool
	// confirm: another server may have been told to stand for election, and
	// none that was waits for the end of this one's lease. Default reads are
	// confirmed by a majority for the rest of the term, like consistent ones.
	confirm bool
	// changed is closed when another view takes this one's place.
	changed chan struct{}
}

// sameLeader tells whether an attempt at v's leader may still be answered
// under w.
func (v *leaderView) sameLeader(w *leaderView) bool {
	return v.addr == w.addr && v.self == w.self && v.term == w.term
}

// watchLeader keeps the view until stop is closed. Raft's observations and
// its leader channel only say that there is something to look at; the view is
// made from raft itself.
func (p *partition) watchLeader(stop <-chan struct{}) {
	seen := make(chan raft.Observation, 64) // from raft, which drops what does not fit; never closed
	observer := raft.NewObserver(seen, false, func(o *raft.Observation) bool {
		switch o.Data.(type) {
		case raft.LeaderObservation, raft.RaftState, raft.PeerObservation:
			return true
		}
		return false
	})
	p.raft.RegisterObserver(observer)
	defer p.raft.DeregisterObserver(observer)
	// Terms change without an observation, and a dropped one must not matter.
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		p.look()
		select {
		case <-seen:
		case <-p.raft.LeaderCh():
		case <-tick.C:
		case <-p.heard:
		case <-stop:
			return
		}
	}
}

// look makes the view anew where something changed.
func (p *partition) look() {
	p.refreshVoters()
	p.viewMu.Lock()
	defer p.viewMu.Unlock()
	old := p.view.Load()
	state := p.raft.State()
	addr, id := p.raft.LeaderWithID()
	v := &leaderView{addr: string(addr), id: string(id), term: p.raft.CurrentTerm(), self: state == raft.Leader}
	if state == raft.Shutdown {
		if !p.stopping.Load() {
			p.fail(errRaftEnded)
		}
		v = &leaderView{term: v.term}
	}
	heard := p.trans.heard()
	if heard.term > v.term && heard.id != p.self.Name && state != raft.Shutdown {
		// Raft has not taken note of the newer term, since it would have to write
		// it first. While the disks hang that takes its time, and clients need not wait.
		v = &leaderView{addr: heard.addr, id: heard.id, term: heard.term}
	} else if v.self {
		v.addr, v.id = p.self.Address, p.self.Name
	} else if v.id == p.self.Name {
		v.addr, v.id = "", "" // it steps down and has not forgotten itself yet
	}
	if old.sameLeader(v) {
		if v.self && !old.ready && !p.handingOver {
			p.catchUpLocked(old) // an earlier attempt may have failed
		}
		return
	}
	p.publishLocked(v)
	if v.self {
		p.log.Info("this node leads the partition", "term", v.term)
		p.stats.elected()
		p.catchUpLocked(v)
	} else if old.addr != v.addr {
		p.log.Info("leader", "leader", v.id, "address", v.addr, "term", v.term)
	}
}

// publishLocked puts v in the view's place. The caller holds viewMu.
func (p *partition) publishLocked(v *leaderView) {
	v.changed = make(chan struct{})
	close(p.view.Swap(v).changed)
}

// catchUpLocked has catchUp run for v, where it does not run already.
func (p *partition) catchUpLocked(v *leaderView) {
	if p.catching.CompareAndSwap(false, true) {
		if !p.spawn(func() { defer p.catching.Store(false); p.catchUp(v) }) {
			p.catching.Store(false)
		}
	}
}

// catchUp waits until everything of earlier terms is applied, and then lets
// the leader serve reads.
func (p *partition) catchUp(v *leaderView) {
	if err := p.answer(p.raft.Barrier(0)); err != nil {
		p.log.Debug("the new leader did not get as far as serving reads", "term", v.term, "error", err)
		return
	}
	p.viewMu.Lock()
	defer p.viewMu.Unlock()
	if cur := p.view.Load(); cur == v && !p.handingOver {
		p.publishLocked(&leaderView{addr: v.addr, id: v.id, term: v.term, self: true, ready: true, confirm: v.confirm})
	}
}

// answer waits for raft's answer, or for the end of the partition: raft leaves
// futures unanswered that are in its queues when it ends.
func (p *partition) answer(f raft.Future) error {
	done := make(chan error, 1) // one answer, whether somebody waits or not
	go func() { done <- f.Error() }()
	select {
	case err := <-done:
		return err
	case <-p.stopCh:
		return ErrStopping
	}
}

// leased tells whether the leader's lease holds, so that it may serve a read
// without asking. It cannot be older than LeaderLeaseTimeout, whatever hangs.
func (p *partition) leased(v *leaderView) bool {
	now := time.Now()
	return now.Sub(p.lease.since(v.term, now)) < p.leaseTime
}

// refreshVoters tells the lease who votes.
func (p *partition) refreshVoters() {
	f := p.raft.GetConfiguration()
	if f.Error() != nil {
		return
	}
	if f.Index() == p.votersAt.Load() && f.Index() != 0 {
		return
	}
	var voters []raft.ServerID
	for _, s := range f.Configuration().Servers {
		if s.Suffrage == raft.Voter {
			voters = append(voters, s.ID)
		}
	}
	p.lease.setVoters(voters)
	p.votersAt.Store(f.Index())
}
