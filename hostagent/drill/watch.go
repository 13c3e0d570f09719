// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package drill

import (
	"context"
	"sync"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/api"
)

const (
	watchEvery = 100 * time.Millisecond
	watchBound = time.Second // an engine answers from memory
)

const (
	logPrimary   = "primary"
	logSecondary = "secondary"
)

// ask returns what one engine knows of itself.
type ask func(ctx context.Context) (api.NodeStores, error)

// watch asks every engine what its logs do, again and again.
//
// Goroutines: one per node, ended by the context of newWatch, waited for by wait.
type watch struct {
	began time.Time
	wg    sync.WaitGroup
	mu    struct {
		sync.Mutex
		nodes   []sight
		leader  string
		term    uint64 // of the leader
		changes int    // of leaders
		events  []Event
	}
}

// sight is what is known of a node by now.
type sight struct {
	name    string
	seen    bool      // it answered once
	reached bool      // it answered last time
	started time.Time // the engine that said it
	last    counts    // what it said then
	total   counts    // since the watch began, restarts of the engine included
	log     string    // what it said last
	hung    time.Duration
	back    time.Time // when its logs last came back to their own disks
}

// counts are of all stores of a node, since its engine started.
type counts struct {
	switches, hedges uint64
	secondary        time.Duration
}

// add adds what happened between two answers of one engine. A duration that is
// read while it runs may be a moment behind the last one.
func (c *counts) add(last, now counts) {
	c.switches += max(now.switches, last.switches) - last.switches
	c.hedges += max(now.hedges, last.hedges) - last.hedges
	c.secondary += max(now.secondary, last.secondary) - last.secondary
}

func newWatch(ctx context.Context, began time.Time, names []string, asks []ask) *watch {
	w := &watch{began: began}
	w.mu.events = []Event{} // none is a list, too
	for _, n := range names {
		w.mu.nodes = append(w.mu.nodes, sight{name: n})
	}
	for i, a := range asks {
		w.once(ctx, i, a)
		w.wg.Go(func() {
			tick := time.NewTicker(watchEvery)
			defer tick.Stop()
			for {
				select {
				case <-tick.C:
					w.once(ctx, i, a)
				case <-ctx.Done():
					return
				}
			}
		})
	}
	return w
}

func (w *watch) wait() { w.wg.Wait() }

func (w *watch) once(ctx context.Context, i int, a ask) {
	bounded, cancel := context.WithTimeout(ctx, watchBound)
	defer cancel()
	n, err := a(bounded)
	if ctx.Err() != nil {
		return // the watch is over, which says nothing of the node
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seeLocked(i, n, err, time.Now())
}

// seeLocked takes in one answer of a node.
func (w *watch) seeLocked(i int, n api.NodeStores, err error, now time.Time) {
	s := &w.mu.nodes[i]
	event := func(node, what, why string) {
		w.mu.events = append(w.mu.events, Event{At: now.Sub(w.began), Node: node, What: what, Why: why})
	}
	if err != nil {
		if s.reached {
			s.reached = false
			event(s.name, "unreachable", err.Error())
		}
		return
	}
	log, why, c := logs(n)
	switch {
	case !s.seen:
		s.seen, s.last = true, c
	case !s.reached:
		event(s.name, "reachable", "")
	}
	if !s.started.IsZero() && !s.started.Equal(n.StartedAt) {
		s.last = counts{} // another engine, which counts from zero
	}
	s.started = n.StartedAt
	// Two switches between two looks are there and back.
	if s.log != "" && (s.log != log || log == logPrimary && c.switches > s.last.switches+1) {
		event(s.name, log, why)
		if log == logPrimary {
			s.back = now
		}
	}
	s.total.add(s.last, c)
	s.reached, s.log, s.last, s.hung = true, log, c, hung(n)
	w.leaderLocked(n, event)
}

// leaderLocked believes the newest term in which a leader is known.
func (w *watch) leaderLocked(n api.NodeStores, event func(node, what, why string)) {
	p := defaultPartition(&n)
	if p == nil || p.Leader == "" || p.Term <= w.mu.term {
		return
	}
	if w.mu.leader != "" && w.mu.leader != p.Leader {
		w.mu.changes++
		event(p.Leader, "leader", "")
	}
	w.mu.leader, w.mu.term = p.Leader, p.Term
}

// logs sums up the stores of a node: secondary where one of them is there.
func logs(n api.NodeStores) (log, why string, c counts) {
	log = logPrimary
	for _, st := range n.Stores {
		f := st.Failover
		c.switches += f.SwitchCount
		c.hedges += f.HedgeCount
		c.secondary += time.Duration(f.SecondaryDurationNS)
		if f.Active == logSecondary {
			log = logSecondary
		}
		if f.LastSwitch != nil {
			why = f.LastSwitch.Reason
		}
	}
	return log, why, c
}

// hung is how long a disk of the node has not answered.
func hung(n api.NodeStores) (longest time.Duration) {
	for _, st := range n.Stores {
		longest = max(longest, time.Duration(st.Failover.HungNS))
	}
	return longest
}

// nodes is the state by now.
func (w *watch) nodes() (leader string, all []NodeSecond) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.mu.nodes {
		n := NodeSecond{Name: s.name, Log: s.log, Switches: s.total.switches, Hedges: s.total.hedges, Hung: s.hung}
		if !s.reached {
			n.Log, n.Hung = "", 0
		}
		all = append(all, n)
	}
	return w.mu.leader, all
}

// home tells whether every log writes to its own disk, as far as is known.
func (w *watch) home() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.mu.nodes {
		if !s.reached || s.log != logPrimary {
			return false
		}
	}
	return true
}

// fill writes down what became of the nodes of a drill whose stall ended then.
func (w *watch) fill(r *Result, ended time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r.Events, r.Leader, r.LeaderChanges = w.mu.events, w.mu.leader, w.mu.changes
	for _, s := range w.mu.nodes {
		n := NodeResult{Name: s.name, Switches: s.total.switches, Hedges: s.total.hedges, Secondary: s.total.secondary}
		switch {
		case s.log == logSecondary:
			n.Failback = -1
		case s.back.After(ended):
			n.Failback = s.back.Sub(ended)
		}
		r.Nodes = append(r.Nodes, n)
	}
}
