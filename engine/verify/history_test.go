// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package verify

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

// A group is raft as far as logs go: terms, elections by how complete a log is,
// replication with the check of the entry before, conflicts, commitment,
// compaction, snapshots that replace what a follower misses, restarts.
type group struct {
	t         *testing.T
	rnd       *rand.Rand
	servers   []*server
	term      uint64
	leader    *server
	committed uint64 // its own entries on a majority
	seen      Counters
}

type server struct {
	name string
	disk *disk
	log  *Log
	// snapshot is the newest one's index and term.
	snapshot, snapshotTerm uint64
}

func newGroup(t *testing.T, rnd *rand.Rand, n int) *group {
	g := &group{t: t, rnd: rnd}
	for i := range n {
		s := &server{name: string(rune('a' + i)), disk: newDisk(i%2 == 0)}
		s.log = New(s.disk, Options{})
		g.servers = append(g.servers, s)
	}
	return g
}

// last is the index and term of the last entry, in the log or in the snapshot.
func (s *server) last() (index, term uint64) {
	i, _ := s.disk.LastIndex()
	if i <= s.snapshot {
		return s.snapshot, s.snapshotTerm
	}
	return i, s.disk.logs[i].Term
}

// termAt is the term of an entry, for the check of the one before. Raft does not
// look into the snapshot where the log goes on, and gets stuck there.
func (s *server) termAt(i uint64) (uint64, bool) {
	if i == 0 {
		return 0, true
	}
	last, term := s.last()
	if i == last {
		return term, true
	}
	if e, ok := s.disk.logs[i]; ok {
		return e.Term, true
	}
	return s.snapshotTerm, i == s.snapshot
}

func (g *group) must(err error) {
	g.t.Helper()
	if err != nil {
		g.t.Fatal(err)
	}
}

// elect makes s the leader, if a majority would vote for it.
func (g *group) elect(s *server) bool {
	votes := 0
	index, term := s.last()
	for _, o := range g.servers {
		if i, t := o.last(); t < term || t == term && i <= index {
			votes++
		}
	}
	if 2*votes <= len(g.servers) {
		return false
	}
	g.term++
	g.leader = s
	g.write(raft.Log{Type: raft.LogNoop})
	return true
}

// write appends to the leader's log.
func (g *group) write(l raft.Log) {
	last, _ := g.leader.last()
	l.Index, l.Term = last+1, g.term
	g.must(g.leader.log.StoreLog(&l))
}

// replicate sends up to n entries to a follower, as raft does.
func (g *group) replicate(to *server, n int) {
	next, _ := to.last()
	leaderLast, _ := g.leader.last()
	for next = min(next, leaderLast) + 1; ; next-- {
		want, ok := g.leader.termAt(next - 1)
		if _, has := g.leader.disk.logs[next]; !ok || !has && next <= leaderLast {
			g.install(to)
			return
		}
		if got, ok := to.termAt(next - 1); ok && got == want {
			break
		}
	}
	var send []*raft.Log
	last, _ := to.disk.LastIndex()
	for i := next; i <= leaderLast && len(send) < n; i++ {
		e, ok := g.leader.disk.logs[i]
		if !ok {
			break
		}
		if mine, ok := to.disk.logs[i]; i <= last && ok && len(send) == 0 {
			if mine.Term == e.Term {
				continue
			}
			g.must(to.log.DeleteRange(i, last))
			last = i - 1
		}
		e = clone(e)
		send = append(send, &e)
	}
	if len(send) > 0 {
		g.must(to.log.StoreLogs(send))
	}
	g.commit()
}

func (g *group) commit() {
	last, _ := g.leader.last()
	for i := last; i > g.committed; i-- {
		have := 0
		for _, s := range g.servers {
			if t, ok := s.termAt(i); ok && t == g.term {
				have++
			}
		}
		if t, _ := g.leader.termAt(i); t == g.term && 2*have > len(g.servers) {
			g.committed = i
			return
		}
	}
}

// install replaces what a follower has by the leader's snapshot.
func (g *group) install(to *server) {
	to.snapshot, to.snapshotTerm = g.leader.snapshot, g.leader.snapshotTerm
	to.log.Restored(to.snapshot)
	// A store that is not monotonic keeps what it had. Where that goes on beyond
	// the snapshot and contradicts it, raft never gets out; here somebody helps.
	last, _ := to.disk.LastIndex()
	stuck := last >= to.snapshot && to.disk.logs[to.snapshot].Term != to.snapshotTerm
	if last > 0 && (to.disk.monotonic || stuck) {
		first, _ := to.disk.FirstIndex()
		g.must(to.log.DeleteRange(first, last))
	}
}

// compact takes a snapshot of what is committed, and keeps some entries.
func (g *group) compact(s *server) {
	last, _ := s.disk.LastIndex()
	upTo := min(g.committed, last)
	if t, ok := s.termAt(upTo); ok && upTo > s.snapshot && (s == g.leader || g.agrees(s, upTo)) {
		s.snapshot, s.snapshotTerm = upTo, t
		first, _ := s.disk.FirstIndex()
		if keep := uint64(g.rnd.IntN(20)); first > 0 && last > keep && first <= min(upTo, last-keep) {
			g.must(s.log.DeleteRange(first, min(upTo, last-keep)))
		}
	}
}

// agrees: the follower has applied that far, which it does up to where its log
// is known to be the leader's.
func (g *group) agrees(s *server, i uint64) bool {
	a, ok := s.termAt(i)
	b, ok2 := g.leader.termAt(i)
	return ok && ok2 && a == b
}

func (g *group) restart(s *server) {
	g.collect(s)
	g.must(s.log.Close())
	s.log = New(s.disk, Options{})
	if s.snapshot > 0 {
		s.log.Restored(s.snapshot)
	}
}

// collect adds a server's counters, and fails on any failure.
func (g *group) collect(s *server) {
	g.t.Helper()
	st := s.log.Status()
	if f := st.LastFailure; f != nil {
		g.t.Fatalf("a false alarm on %s: %+v", s.name, *f)
	}
	g.seen.RangesVerified += st.Counters.RangesVerified
	if g.seen.Skipped == nil {
		g.seen.Skipped = map[Reason]uint64{}
	}
	for r, n := range st.Counters.Skipped {
		g.seen.Skipped[r] += n
	}
}

func (g *group) checkpoint() { g.write(g.leader.log.Checkpoint(nil)) }

// step does one thing.
func (g *group) step() {
	s := g.servers[g.rnd.IntN(len(g.servers))]
	switch n := g.rnd.IntN(100); {
	case n < 8:
		g.elect(s)
	case n < 40:
		for range 1 + g.rnd.IntN(6) {
			g.write(raft.Log{Data: fmt.Appendf(nil, "%d", g.rnd.Uint64())})
		}
	case n < 52:
		g.checkpoint()
	case n < 90:
		if s != g.leader {
			g.replicate(s, 1+g.rnd.IntN(10))
		}
	case n < 93:
		g.compact(s)
	case n < 95:
		g.restart(s)
		if s == g.leader {
			for !g.elect(g.servers[g.rnd.IntN(len(g.servers))]) {
			}
		}
	case n < 97:
		synctest.Wait() // the readers begin
	default:
		time.Sleep(time.Second) // the readers catch up
	}
}

// settle brings everybody up to date and waits for the readers.
func (g *group) settle() {
	for range 200 {
		for _, s := range g.servers {
			if s != g.leader {
				g.replicate(s, 100)
			}
		}
	}
	for _, s := range g.servers {
		i, _ := s.last()
		if last, _ := g.leader.last(); i != last {
			g.t.Fatalf("%s is at %d, the leader %s at %d", s.name, i, g.leader.name, last)
		}
	}
	time.Sleep(time.Minute)
	synctest.Wait()
}

// TestHistories: five servers, on monotonic and other stores, through elections
// at any moment, conflicts, compactions, snapshots and restarts. There is no
// false alarm; and a bit that is flipped afterwards, on disk or on the way, is
// told by the server whose bit it was and by no other.
//
// Seen to fail, with false alarms, with a sum that goes on whatever is cut off
// (which is what raft-wal's verifier does: no cut in cutLocked, no new beginning
// in reach), without the floor of Restored, and without void in cutLocked.
func TestHistories(t *testing.T) {
	n := uint64(100)
	if testing.Short() {
		n = 50
	}
	total := map[Reason]uint64{}
	verified := uint64(0)
	for seed := range n {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGroup(t, rand.New(rand.NewPCG(seed, 3)), 5)
				g.elect(g.servers[0])
				for range 250 {
					g.step()
				}
				g.settle()
				g.checkpoint()
				g.settle()
				for _, s := range g.servers {
					g.collect(s)
				}
				g.damage(seed%2 == 0)
				for _, s := range g.servers {
					g.must(s.log.Close())
				}
				verified += g.seen.RangesVerified
				for r, n := range g.seen.Skipped {
					total[r] += n
				}
			})
		})
	}
	t.Logf("%d ranges verified, skipped %v", verified, total)
	for _, r := range []Reason{Busy, Compacted, Truncated, Snapshot, Uncovered} {
		if total[r] == 0 {
			t.Errorf("no history skipped a range as %q: they are too tame", r)
		}
	}
}

// damage flips a bit of one follower's newest entries and has them compared.
func (g *group) damage(onDisk bool) {
	followers := slices.DeleteFunc(slices.Clone(g.servers), func(s *server) bool { return s == g.leader })
	victim := followers[g.rnd.IntN(len(followers))]
	for range 10 {
		g.write(raft.Log{Data: fmt.Appendf(nil, "%d", g.rnd.Uint64())})
	}
	last, _ := g.leader.last()
	bad := last - uint64(g.rnd.IntN(10))
	if onDisk {
		g.settle()
		victim.disk.flip(bad)
	} else {
		// The leader's copy is well; the one on the way is not.
		e := g.leader.disk.logs[bad]
		g.leader.disk.logs[bad] = clone(e)
		g.leader.disk.flip(bad)
		g.replicate(victim, 100)
		g.leader.disk.logs[bad] = e
	}
	g.settle()
	g.checkpoint()
	g.settle()
	for _, s := range g.servers {
		st := s.log.Status()
		switch {
		case s != victim && st.LastFailure != nil:
			g.t.Errorf("%s alone is damaged, and %s reports %+v", victim.name, s.name, st.LastFailure)
		case s == victim && st.LastFailure == nil:
			g.t.Errorf("entry %d of %s is damaged, and it reports %+v, %+v", bad, s.name, st.Last, st.Counters)
		case s == victim && onDisk && (st.LastFailure.Result != Storage || st.LastFailure.Entry != bad):
			g.t.Errorf("entry %d of %s is damaged on disk, and it reports %+v", bad, s.name, st.LastFailure)
		case s == victim && !onDisk && st.LastFailure.Result != InFlight:
			g.t.Errorf("entry %d of %s was damaged on the way, and it reports %+v", bad, s.name, st.LastFailure)
		}
	}
}
