// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package failover

import (
	"fmt"
	"slices"
	"testing"
)

// This file attacks the rules before anything is built on them. It runs a
// ledger beside an abstract primary, fence and journal, and takes every order
// of completions, late landings, torn writes, crashes and restarts that a
// history of a few operations can have. After each crash the recovered log
// must be what some prefix of the history made, and the prefix must hold every
// acknowledged operation.
//
// TestModelFindsMissingRules takes the rules out one at a time and shows that
// the search then finds a loss: a search that cannot fail proves nothing.

// modelOp is an append of a distinct entry at the end of the log, or, with
// entry 0, a truncation from an index on. Replayed, an append makes the suffix
// from its index on its entry.
type modelOp struct {
	at    int
	entry int
}

// disk is what survives a crash.
type disk struct {
	primary []int // the log: entry per index
	applied seq   // newest operation in primary; only the model knows it
	fence   fenceValue
	journal []modelRecord // durable records, of several epochs
}

type fenceValue struct {
	epoch uint64
	seq   seq
}

type modelRecord struct {
	epoch uint64
	seq   seq
	op    modelOp
}

// state is one point of the search.
type state struct {
	led   ledger
	ops   []modelOp // all operations so far; ops[i] has seq i+1
	acked seq       // newest acknowledged operation, of all time
	disk  disk

	applying    []seq // in the hands of the primary (landed or not is unknown until it returns)
	landed      int   // how many of applying landed already, unseen by the log
	fencing     seq   // fence in flight, 0: none
	fenceLanded bool
	writing     []modelRecord // in the hands of the side's writer
	wrote       int           // how many of them landed already

	crashes int
}

// rules that a mutation can take out.
type rules struct {
	ackPrimaryAnytime bool // acknowledge from the primary while records below can be replayed
	openAtLast        bool // an epoch opens at the newest operation, not at the first unapplied one
	closeUnfenced     bool // the epoch ends when the applier has drained, without a fence
	fenceIgnored      bool // recovery replays everything that it finds
	reopenGap         bool // calling off a closing opens at the newest operation
	truncateUnfenced  bool // the primary truncates while records before that can be replayed
	replayUnfenced    bool // recovery does, so that a crash in it meets a log that is too short
}

// hole is in a log where an append found the log too short.
const hole = -1

func apply(log []int, op modelOp) []int {
	log = slices.Clone(log)
	if op.entry == 0 {
		return log[:min(op.at, len(log))]
	}
	if len(log) < op.at {
		return append(log, hole)
	}
	return append(log[:op.at], op.entry)
}

func (s state) clone() state {
	s.ops = slices.Clone(s.ops)
	s.disk.primary = slices.Clone(s.disk.primary)
	s.disk.journal = slices.Clone(s.disk.journal)
	s.applying = slices.Clone(s.applying)
	s.writing = slices.Clone(s.writing)
	return s
}

// key tells states apart: everything in them, a byte each.
func (s *state) key() string {
	b := make([]byte, 0, 96)
	put := func(vs ...int) {
		for _, v := range vs {
			b = append(b, byte(v))
		}
	}
	flag := func(v bool) {
		if v {
			put(1)
		} else {
			put(0)
		}
	}
	l := &s.led
	put(int(l.last), int(l.applied), int(l.fenced), int(l.epoch), int(l.first), int(l.issued), int(l.durable), int(l.closeAt))
	flag(l.open)
	flag(l.closing)
	put(int(s.acked), s.crashes, s.landed, s.wrote, int(s.fencing), int(s.disk.applied), int(s.disk.fence.epoch), int(s.disk.fence.seq))
	flag(s.fenceLanded)
	put(len(s.ops))
	for _, o := range s.ops {
		put(o.at, o.entry)
	}
	put(len(s.disk.primary))
	put(s.disk.primary...)
	put(len(s.applying), len(s.writing), len(s.disk.journal))
	for _, r := range slices.Concat(s.writing, s.disk.journal) {
		put(int(r.epoch), int(r.seq), r.op.at, r.op.entry)
	}
	return string(b)
}

// history returns the log after the first n operations.
func (s *state) history(n seq) []int {
	var log []int
	for _, op := range s.ops[:n] {
		log = apply(log, op)
	}
	return log
}

type search struct {
	r       rules
	maxOps  int
	crashes int
	seen    map[string]bool
	bad     string
}

// trail is the way to a state, newest step first.
type trail struct {
	step string
	from *trail
}

func (t *trail) String() string {
	if t == nil {
		return ""
	}
	return t.from.String() + " / " + t.step
}

func (m *search) ack(s *state) {
	for n := s.acked + 1; n <= s.led.last; n++ {
		ok := s.led.ackable(n)
		if m.r.ackPrimaryAnytime {
			ok = ok || s.led.applied >= n
		}
		if !ok {
			return
		}
		s.acked = n
	}
}

// next calls visit with every state that one step can lead to.
func (m *search) next(s state, visit func(string, state)) {
	step := func(name string, f func(n *state)) {
		n := s.clone()
		f(&n)
		m.ack(&n)
		visit(name, n)
	}

	// A caller submits an operation: an append, or the removal of one or all entries.
	if len(s.ops) < m.maxOps {
		length := len(s.history(seq(len(s.ops))))
		choices := []modelOp{{length, len(s.ops) + 1}}
		if length > 0 {
			choices = append(choices, modelOp{length - 1, 0})
		}
		if length > 1 {
			choices = append(choices, modelOp{0, 0})
		}
		for _, op := range choices {
			step(fmt.Sprintf("submit%v", op), func(n *state) {
				n.led.submit()
				n.ops = append(n.ops, op)
			})
		}
	}

	// The primary is late: an epoch opens. Or something waits, be it for the fence
	// alone: a closing is called off.
	if s.led.pending() > 0 && !s.led.open || s.led.open && s.led.closing && s.acked < s.led.last {
		step("open", func(n *state) {
			wasOpen := n.led.open
			n.led.openEpoch()
			if (m.r.openAtLast && !wasOpen) || (m.r.reopenGap && wasOpen) {
				n.led.issued = max(n.led.issued, n.led.last-1)
				n.led.durable = max(n.led.durable, n.led.last-1)
			}
			if m.r.openAtLast && !wasOpen {
				n.led.first = n.led.last
			}
		})
	}

	// The side's writer takes what the journal lacks.
	if from, to := s.led.toIssue(); from <= to && len(s.writing) == 0 {
		step("issue", func(n *state) {
			for q := from; q <= to; q++ {
				n.writing = append(n.writing, modelRecord{n.led.epoch, q, n.ops[q-1]})
			}
			n.led.onIssued(to)
		})
	}
	// One more of its records lands; or the call returns.
	if s.wrote < len(s.writing) {
		step("land on side", func(n *state) {
			n.disk.journal = append(n.disk.journal, n.writing[n.wrote])
			n.wrote++
		})
	} else if len(s.writing) > 0 {
		step("side durable", func(n *state) {
			r := n.writing[len(n.writing)-1]
			n.led.onDurable(r.epoch, r.seq)
			n.writing, n.wrote = nil, 0
		})
	}

	// The applier takes one operation, or appends that follow one another.
	if len(s.applying) == 0 && s.fencing == 0 && s.led.pending() > 0 {
		head := s.led.applied + 1
		for _, upTo := range slices.Compact([]seq{head, s.led.last}) {
			truncates := slices.ContainsFunc(s.ops[head-1:upTo], func(op modelOp) bool { return op.entry == 0 })
			if truncates && upTo > head || truncates && !m.r.truncateUnfenced && !s.led.mayShorten(head) {
				continue
			}
			step(fmt.Sprintf("apply..%d", upTo), func(n *state) {
				for q := head; q <= upTo; q++ {
					n.applying = append(n.applying, q)
				}
			})
		}
	}
	// One more lands, long before or after anybody hears of it; or the call returns.
	if s.landed < len(s.applying) {
		step("land on primary", func(n *state) {
			q := n.applying[n.landed]
			n.disk.primary, n.disk.applied = apply(n.disk.primary, n.ops[q-1]), q
			n.landed++
		})
	} else if len(s.applying) > 0 {
		step("primary returns", func(n *state) {
			n.led.onApplied(n.applying[len(n.applying)-1])
			n.applying, n.landed = nil, 0
		})
	}

	// Failback: stop journaling, drain, fence.
	if s.led.open && !s.led.closing && s.led.issued >= s.led.first {
		step("close", func(n *state) { n.led.startClosing() })
	}
	if m.r.closeUnfenced && s.led.wantsFence() {
		step("close unfenced", func(n *state) { n.led.open, n.led.closing = false, false })
	}
	// A fence may be written at any time of an epoch: it names what is applied.
	if s.fencing == 0 && len(s.applying) == 0 && s.led.open && s.led.applied > s.led.fenced {
		step("fence", func(n *state) { n.fencing, n.fenceLanded = n.led.applied, false })
	}
	if s.fencing != 0 && !s.fenceLanded {
		step("fence lands", func(n *state) {
			n.disk.fence = fenceValue{n.led.epoch, n.fencing}
			n.fenceLanded = true
		})
	} else if s.fencing != 0 {
		step("fence returns", func(n *state) {
			n.led.onFenced(n.fencing)
			n.fencing, n.fenceLanded = 0, false
		})
	}

	// Power cut; what was in flight landed as far as it had.
	if s.crashes < m.crashes {
		step("crash", func(n *state) { m.crash(n) })
	}
}

// recovered is the log that a restart makes of what the disks hold, the newest
// operation in it and the newest epoch.
func (m *search) recovered(s *state) (log []int, last seq, epoch uint64) {
	log, last, epoch = s.disk.primary, s.disk.applied, s.disk.fence.epoch
	for _, r := range s.disk.journal {
		epoch = max(epoch, r.epoch)
		if m.r.fenceIgnored || r.seq > s.disk.fence.seq {
			if log, last = apply(log, r.op), r.seq; slices.Contains(log, hole) {
				return log, last, epoch // a real store refuses this
			}
		}
	}
	return log, last, epoch
}

// judge asks what a crash right now would leave: it has to be what a prefix of
// the history made, with everything acknowledged in that prefix. So has what is
// left by a crash in the middle of the recovery from that.
func (m *search) judge(s *state) {
	log, _, _ := m.recovered(s)
	m.judgeLog(s, log, "a crash")
	if !slices.ContainsFunc(s.disk.journal, func(r modelRecord) bool { return r.op.entry == 0 && r.seq > s.disk.fence.seq }) {
		return // replaying appends twice is replaying them once
	}
	again := s.clone()
	at := again.disk.fence.seq
	for i, r := range s.disk.journal {
		if r.seq <= s.disk.fence.seq {
			continue
		}
		if r.op.entry == 0 && at > s.disk.fence.seq && !m.r.replayUnfenced {
			again.disk.fence.seq = at
		}
		again.disk.primary, at = apply(again.disk.primary, r.op), r.seq
		if m.bad == "" {
			log, _, _ := m.recovered(&again)
			m.judgeLog(s, log, fmt.Sprintf("a crash behind record %d of its recovery", i+1))
		}
	}
}

func (m *search) judgeLog(s *state, log []int, when string) {
	for k := s.acked; k <= seq(len(s.ops)); k++ {
		if slices.Equal(log, s.history(k)) {
			return
		}
	}
	m.bad = fmt.Sprintf("%s would leave %v; acknowledged up to %d of %v, which makes %v",
		when, log, s.acked, s.ops, s.history(s.acked))
}

// crash recovers: it replays, fences, and numbers on above what it replayed.
// What was lost was never acknowledged; it leaves the history.
func (m *search) crash(n *state) {
	log, last, epoch := m.recovered(n)
	n.ops = n.ops[:min(last, seq(len(n.ops)))]
	n.acked = seq(len(n.ops))
	n.disk.primary, n.disk.applied = log, last
	n.disk.fence = fenceValue{epoch, max(last, n.disk.fence.seq)}
	n.led = ledger{last: last, applied: last, fenced: n.disk.fence.seq, epoch: epoch}
	n.applying, n.landed, n.fencing, n.fenceLanded, n.writing, n.wrote = nil, 0, 0, false, nil, 0
	n.crashes++
}

func (m *search) run() int {
	m.seen = map[string]bool{}
	type node struct {
		s    state
		path *trail
	}
	stack := []node{{}}
	for len(stack) > 0 && m.bad == "" && len(m.seen) < 3_000_000 {
		at := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		m.next(at.s, func(name string, n state) {
			if m.bad != "" {
				return
			}
			way := &trail{name, at.path}
			if m.judge(&n); m.bad != "" {
				m.bad += "\nafter" + way.String()
				return
			}
			if k := n.key(); !m.seen[k] {
				m.seen[k] = true
				stack = append(stack, node{n, way})
			}
		})
	}
	return len(m.seen)
}

func TestModel(t *testing.T) {
	maxOps := 4
	if testing.Short() {
		maxOps = 3
	}
	m := search{maxOps: maxOps, crashes: 2}
	n := m.run()
	if m.bad != "" {
		t.Fatal(m.bad)
	}
	t.Logf("%d states", n)
}

func TestModelFindsMissingRules(t *testing.T) {
	for name, r := range map[string]rules{
		"acknowledge from the primary over unfenced records": {ackPrimaryAnytime: true},
		"open an epoch at the newest operation":              {openAtLast: true},
		"end an epoch without a fence":                       {closeUnfenced: true},
		"replay below the fence":                             {fenceIgnored: true},
		"call off a closing with a gap":                      {reopenGap: true},
		"truncate before the fence":                          {truncateUnfenced: true},
		"truncate before the fence, in recovery":             {replayUnfenced: true},
	} {
		t.Run(name, func(t *testing.T) {
			m := search{r: r, maxOps: 4, crashes: 1}
			m.run()
			if m.bad == "" {
				t.Fatal("the model found nothing wrong without this rule")
			}
			t.Log(m.bad)
		})
	}
}
