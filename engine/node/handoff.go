// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package node

import (
	"slices"
	"time"

	"github.com/hashicorp/raft"
)

// Leadership leaves a node whose disks are sick.
//
// Where every disk hangs, raft's main loop hangs in StoreLogs, and with it
// raft's own ways of giving leadership away. So the watchdog tells a follower
// that has everything to stand for election, through the transport. Its
// request for votes carries the mark of a transfer, which the others heed
// although they hear this leader's heartbeats. What the hung append carried
// is taken back by the log (failover.ErrStalled), and its clients, who were
// told nothing, try again with the new leader.
//
// Where the log writes to its side the node leads well enough, but on its
// last disk: after a while it hands over, in raft's own way.

const (
	watchdogTick = 20 * time.Millisecond
	// handOverDoubles bounds how often Timing.HandOverAfter doubles, which it
	// does each time this node is made leader again while its log is on the
	// side: the others may be no better.
	handOverDoubles = 4
	// timeoutNowAgain is when another follower is asked, if the first did not
	// take over.
	timeoutNowAgain = 300 * time.Millisecond
	// askAllAgain is when those are asked again who were, and did not take over.
	askAllAgain = 2 * time.Second
	// heardWithin is how fresh a follower's last answer must be for it to be
	// called healthy.
	heardWithin = time.Second
)

// stalledAlone is when a leader without a side, or with failover turned off, is
// given up on: its one disk may be slow now and then.
const stalledAlone = time.Second

// stalledFor is when a leader is given up on. With a side that is two thirds
// of the way to the moment at which its log gives the append up.
func (p *partition) stalledFor() time.Duration {
	l := p.limits.Load()
	if p.side == nil || l.off() {
		return max(stalledAlone, 2*l.threshold)
	}
	return 2 * l.threshold
}

// stalled tells whether no disk of the log takes what was handed to it.
func (p *partition) stalled() bool { return p.logs.Stalled() > p.stalledFor() }

// watchdog runs beside raft's main loop until stop is closed.
func (p *partition) watchdog(stop <-chan struct{}) {
	tick := time.NewTicker(watchdogTick)
	defer tick.Stop()
	var (
		asked   time.Time       // when somebody was last told to stand
		refused []raft.ServerID // who was told, of this stall
		moved   time.Time       // when leadership was last handed over for a side
		doubles int
	)
	for {
		select {
		case <-tick.C:
		case <-stop:
			return
		}
		now := time.Now()
		if !p.leads() {
			refused = nil
			continue
		}
		if p.stalled() {
			if now.Sub(asked) < timeoutNowAgain {
				continue
			}
			if to, ok := p.successor(now, refused); ok {
				asked, refused = now, append(refused, to.ID)
				p.spawn(func() { p.standNow(to) })
			} else if now.Sub(asked) >= askAllAgain {
				refused = nil // whoever was asked may have been cut off for a moment
			}
			continue
		}
		refused = nil
		since := p.onSideSince()
		after := p.handOverAfter << doubles
		switch {
		case since.IsZero() && now.Sub(moved) > p.handOverAfter<<handOverDoubles:
			doubles = 0
		case !since.IsZero() && now.Sub(since) >= after && now.Sub(moved) >= after:
			if to, ok := p.successor(now, nil); ok {
				moved, doubles = now, min(doubles+1, handOverDoubles)
				p.spawn(func() { p.handTo(to, since) })
			}
		}
	}
}

// onSideSince is since when the log writes to its side, zero where it does not.
func (p *partition) onSideSince() time.Time {
	if s := p.logs.Status(); s.Active == "secondary" {
		return s.LastSwitch
	}
	return time.Time{}
}

// leads tells whether raft, as of now, is the leader. It waits for nothing,
// and is false before raft runs.
func (p *partition) leads() bool {
	r := p.running.Load()
	return r != nil && r.State() == raft.Leader
}

// successor is the voter that has the most of the log, was heard lately and
// is not among tried. ok is false where none has all that may be committed.
func (p *partition) successor(now time.Time, tried []raft.ServerID) (best raft.Server, ok bool) {
	f := p.raft.GetConfiguration() // from memory
	if f.Error() != nil {
		return raft.Server{}, false
	}
	// What a majority has may be committed. A voter with less would not be
	// elected, and a disturbance for nothing.
	most := p.raft.CommitIndex()
	for _, s := range f.Configuration().Servers {
		a := p.lease.ackOf(s.ID)
		if s.Suffrage != raft.Voter || string(s.ID) == p.self.Name || slices.Contains(tried, s.ID) {
			continue
		}
		if a.last >= most && now.Sub(a.sent) < heardWithin {
			best, most, ok = s, a.last, true
		}
	}
	return best, ok
}

// standNow tells a follower to stand for election at once.
func (p *partition) standNow(to raft.Server) {
	p.log.Warn("every disk of the log hangs: leadership goes to another server", "to", to.ID)
	p.confirmReads()
	req := raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{
		ProtocolVersion: raft.ProtocolVersionMax,
		ID:              []byte(p.self.Name),
		Addr:            p.trans.EncodePeer(raft.ServerID(p.self.Name), raft.ServerAddress(p.self.Address)),
	}}
	var resp raft.TimeoutNowResponse
	if err := p.trans.TimeoutNow(to.ID, to.Address, &req, &resp); err != nil {
		p.log.Warn("the server did not take over", "to", to.ID, "error", err)
	}
}

// handTo gives leadership away in raft's own way.
func (p *partition) handTo(to raft.Server, since time.Time) {
	p.log.Warn("the log has been on its side for a while: leadership goes to a server whose disk is well", "to", to.ID, "since", since)
	p.confirmReads()
	if err := p.answer(p.raft.LeadershipTransferToServer(to.ID, to.Address)); err != nil {
		p.log.Warn("leadership stays: the server did not take over", "to", to.ID, "error", err)
	}
}

// confirmReads has default reads confirmed from here on, for as long as this
// node leads: whoever is told to stand does not wait for the end of the lease,
// and may be told late.
func (p *partition) confirmReads() {
	p.viewMu.Lock()
	defer p.viewMu.Unlock()
	if v := p.view.Load(); v.self && !v.confirm {
		p.publishLocked(&leaderView{addr: v.addr, id: v.id, term: v.term, self: true, ready: v.ready, confirm: true})
	}
}
