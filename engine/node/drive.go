// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/httpapi"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/kv"
)

// Apply implements httpapi.Backend. It returns once the command is applied on
// the leader; across an election it waits and sends the command again, with
// the ID that it had, so that it is applied once.
//
// Errors: ErrNoLeader where no leader took it within the retry window,
// ErrOutcomeUnknown where one did and never answered, ErrBusy, ErrStopping,
// kv.ErrInvalid, or ctx's; after ctx's the command may yet be applied.
func (n *Node) Apply(ctx context.Context, partition string, cmd kv.Command) (kv.Result, error) {
	p, err := n.partition(partition)
	if err != nil {
		return kv.Result{}, err
	}
	if err := cmd.Validate(); err != nil {
		return kv.Result{}, err
	}
	begun := time.Now()
	seq, floor, ok := p.window.begin()
	if !ok {
		return kv.Result{}, ErrBusy
	}
	defer p.window.end(seq)
	cmd.ID = kv.ID{Origin: n.origin, Seq: seq, Floor: floor}
	c := newCall(callApply, n.cfg.RetryWindow)
	c.body = kv.AppendCommand(c.body, &cmd)
	r, err := p.drive(ctx, c)
	switch {
	case err != nil:
		return kv.Result{}, err
	case r.result.Code == kv.CodeExpired:
		return kv.Result{}, fmt.Errorf("%w: %s", httpapi.ErrOutcomeUnknown, r.result.Message)
	}
	p.stats.applied(time.Since(begun))
	if cmd.Op == kv.OpSettings {
		p.catchUpTo(ctx, r.result.Index)
	}
	return r.result, nil
}

// settingsTime is how long a change of the settings waits for this node.
const settingsTime = 2 * time.Second

// catchUpTo waits until this node has applied what the leader has, so that
// whoever changed a setting here finds it here. It is done either way.
func (p *partition) catchUpTo(ctx context.Context, index uint64) {
	ctx, cancel := context.WithTimeout(ctx, settingsTime)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for p.machine.Index() < index {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// Read implements httpapi.Backend.
func (n *Node) Read(ctx context.Context, partition string, q kv.Query, consistency httpapi.Consistency) (kv.Answer, httpapi.Meta, error) {
	p, err := n.partition(partition)
	if err != nil {
		return kv.Answer{}, httpapi.Meta{}, err
	}
	kind := callRead
	switch consistency {
	case httpapi.Stale:
		meta := httpapi.Meta{Index: p.machine.Index(), KnownLeader: p.view.Load().addr != "", LastContact: p.lastContact()}
		return p.machine.Read(q), meta, nil
	case httpapi.Consistent:
		kind = callConsistentRead
	default:
		if v := p.view.Load(); v.self && v.ready && !v.confirm && p.leased(v) { // nothing to wait for
			return p.machine.Read(q), leaderMeta(p.machine.Index()), nil
		}
	}
	c := newCall(kind, n.cfg.RetryWindow)
	c.body = kv.AppendQuery(c.body, &q)
	r, err := p.drive(ctx, c)
	if err != nil {
		return kv.Answer{}, httpapi.Meta{}, err
	}
	return r.answer, leaderMeta(max(r.answer.Index, p.machine.Index())), nil
}

// lastContact is how long ago the leader was heard.
func (p *partition) lastContact() time.Duration {
	if p.view.Load().self {
		return 0
	}
	last := p.raft.LastContact()
	if last.IsZero() {
		return time.Since(p.started) // never: at least as old as this process
	}
	return time.Since(last)
}

// attempt is one sending of a call.
type attempt struct {
	view *leaderView // whom it was sent to
	link *link       // nil where that is this node
	id   uint64
}

// drive brings a call to the leader, whoever that is by then, and returns its
// answer. It takes the call over.
func (p *partition) drive(ctx context.Context, c *call) (reply, error) {
	handed := false // some leader may have done it
	for tries := 0; ; tries++ {
		view := p.view.Load()
		if view.addr == "" {
			if err := p.pause(ctx, c, view, 0, handed); err != nil {
				return reply{}, err
			}
			continue
		}
		a, err := p.send(c, view)
		if err != nil {
			c.release()
			return reply{}, err
		}
		answered, err := p.await(ctx, c, &a)
		if err != nil {
			return reply{}, err
		}
		if !answered {
			handed = true
			p.stats.retried()
			c = c.again()
			continue
		}
		switch r := c.reply; r.out {
		case outcomeOK:
			c.release()
			return r, nil
		case outcomeBusy:
			c.release()
			return reply{}, ErrBusy
		case outcomeRefused:
			c.release()
			return reply{}, fmt.Errorf("the leader refused the request: %s", r.text)
		case outcomeUnknown:
			handed = true
		}
		p.stats.retried()
		if err := p.pause(ctx, c, view, tries+1, handed); err != nil {
			return reply{}, err
		}
	}
}

// send starts an attempt.
func (p *partition) send(c *call, view *leaderView) (attempt, error) {
	a := attempt{view: view}
	if view.self {
		p.lead(c.kind, c.body, sink{call: c, kind: c.kind})
		return a, nil
	}
	a.link = p.link(view.addr)
	if a.link == nil {
		return a, ErrStopping
	}
	p.stats.forwarded()
	var err error
	a.id, err = a.link.send(c)
	return a, err
}

// await waits for the answer of an attempt. It returns false if there is a
// new leader, and so perhaps nobody left to answer. With an error the call is
// gone.
func (p *partition) await(ctx context.Context, c *call, a *attempt) (bool, error) {
	for {
		select {
		case <-c.done:
			return true, nil
		case <-a.view.changed:
			next := p.view.Load()
			if next.addr != "" && !a.view.sameLeader(next) {
				if answered := a.abandon(c); answered {
					return true, nil
				}
				return false, nil
			}
			// The same leader under a new view, or none yet: the old one may
			// still answer.
			a.view = a.view.under(next)
		case <-c.timer.C:
			return false, p.giveUp(c, a, errWindow(c.kind, true))
		case <-ctx.Done():
			return false, p.giveUp(c, a, ctx.Err())
		}
	}
}

// under is the leader of v with next's signal of change.
func (v *leaderView) under(next *leaderView) *leaderView {
	return &leaderView{addr: v.addr, id: v.id, term: v.term, self: v.self, changed: next.changed}
}

// abandon gives an attempt up; true means that its answer came just now.
func (a *attempt) abandon(c *call) bool {
	if a.link != nil {
		a.link.forget(a.id)
	}
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// giveUp ends a call that was sent. Its memory is left to the collector:
// somebody may be about to answer.
func (p *partition) giveUp(c *call, a *attempt, err error) error {
	if a.link != nil {
		a.link.forget(a.id)
	}
	c.timer.Stop()
	return err
}

// pause waits until another attempt may go better: the leader changed, or, if
// that takes long, the same one may be back. With an error the call is gone.
func (p *partition) pause(ctx context.Context, c *call, view *leaderView, tries int, handed bool) error {
	var again <-chan time.Time // nil where there is no leader to try again
	if view.addr != "" {
		t := time.NewTimer(dialBackoff(tries))
		defer t.Stop()
		again = t.C
	}
	var err error
	select {
	case <-view.changed:
		return nil
	case <-again:
		return nil
	case <-c.timer.C:
		err = errWindow(c.kind, handed)
	case <-ctx.Done():
		err = ctx.Err()
	case <-p.stopped:
		err = ErrStopping
	}
	c.release()
	return err
}

// errWindow is the error of a call whose retry window is over.
func errWindow(kind callKind, handed bool) error {
	if kind == callApply && handed {
		return fmt.Errorf("%w: a leader took it and did not answer in time: read the key and decide", httpapi.ErrOutcomeUnknown)
	}
	return httpapi.ErrNoLeader
}

var errRaftEnded = errors.New("raft stopped by itself")
