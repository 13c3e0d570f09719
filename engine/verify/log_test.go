// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package verify

import (
	"bytes"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// store hands entries to a Log one by one.
func store(t *testing.T, l *Log, logs ...*raft.Log) {
	t.Helper()
	for _, e := range logs {
		if err := l.StoreLog(e); err != nil {
			t.Fatal(err)
		}
	}
}

// checkpoint has a leader's Log fill a checkpoint in at index i.
func checkpoint(t *testing.T, l *Log, i, term uint64) *raft.Log {
	t.Helper()
	e := l.Checkpoint([]byte("no command"))
	e.Index, e.Term = i, term
	store(t, l, &e)
	return &e
}

// copies are what goes over the wire.
func copies(logs ...*raft.Log) []*raft.Log {
	var out []*raft.Log
	for _, l := range logs {
		c := clone(*l)
		out = append(out, &c)
	}
	return out
}

// seen is what a test looks at of a Status.
type seen struct {
	Last       string
	Start, End uint64
	Written    bool
	Entry      uint64
	Verified   uint64
	Skipped    map[Reason]uint64
}

func look(l *Log) seen {
	st := l.Status()
	s := seen{Verified: st.Counters.RangesVerified, Skipped: st.Counters.Skipped}
	if r := st.Last; r != nil {
		s.Last, s.Start, s.End, s.Written, s.Entry = string(r.Result), r.Start, r.End, r.Written.Known, r.Entry
	}
	return s
}

func expect(t *testing.T, what string, l *Log, want seen) {
	t.Helper()
	time.Sleep(time.Minute) // of the bubble: the reader ends its work and rests
	synctest.Wait()
	if want.Skipped == nil {
		want.Skipped = map[Reason]uint64{}
	}
	if diff := cmp.Diff(want, look(l)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func open(t *testing.T, d raft.LogStore, o Options) *Log {
	l := New(d, o)
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// TestTruncation: the sum follows a truncation, and the next checkpoint covers
// what is in the log now, from the last one on.
func TestTruncation(t *testing.T) {
	for _, monotonic := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			leader := open(t, newDisk(monotonic), Options{})
			follower := open(t, newDisk(monotonic), Options{})
			first := entries(2, 5, 1)
			store(t, leader, first...)
			c1 := checkpoint(t, leader, 5, 1)
			store(t, follower, copies(append(first, c1)...)...)
			expect(t, "before", follower, seen{Last: "ok", Start: 2, End: 5, Written: true, Verified: 1})

			// The follower has entries, and a checkpoint, of a leader of term 2.
			other := open(t, newDisk(monotonic), Options{})
			store(t, other, copies(append(first, c1)...)...)
			lost := entries(6, 9, 2)
			store(t, other, lost...)
			store(t, follower, copies(append(lost, checkpoint(t, other, 9, 2))...)...)
			expect(t, "a checkpoint that will be lost", follower, seen{Last: "ok", Start: 5, End: 9, Written: true, Verified: 2})
			if err := follower.DeleteRange(6, 9); err != nil {
				t.Fatal(err)
			}
			second := entries(6, 12, 3)
			store(t, leader, second...)
			store(t, follower, copies(append(second, checkpoint(t, leader, 12, 3))...)...)
			expect(t, "after", follower, seen{Last: "ok", Start: 5, End: 12, Written: true, Verified: 3})

			// The one that lost a part of its log leads now: its sums are right too.
			third := entries(13, 15, 4)
			store(t, follower, third...)
			c3 := checkpoint(t, follower, 15, 4)
			store(t, leader, copies(append(third, c3)...)...)
			expect(t, "under the next leader", leader, seen{Last: "ok", Start: 12, End: 15, Written: true, Verified: 3})
		})
	}
}

// TestOverwritten: a store that is not monotonic takes an index again, which cuts
// off what followed.
func TestOverwritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk(false)
		l := open(t, d, Options{})
		store(t, l, entries(1, 9, 1)...)
		again := entries(4, 12, 2)
		store(t, l, again...)
		checkpoint(t, l, 12, 2)
		expect(t, "overwritten", l, seen{Last: "ok", Start: 1, End: 12, Written: true, Verified: 1})
	})
}

// TestRestart: the running sum is gone with the process; what is read back is
// compared with the leader's alone. Entries that no checkpoint of a restarted
// leader covers are counted.
func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leader := open(t, newDisk(true), Options{})
		d := newDisk(true)
		follower := open(t, d, Options{})
		all := entries(2, 20, 1)
		store(t, leader, all...)
		store(t, follower, copies(all[:9]...)...)
		follower = open(t, d, Options{}) // restarted
		c := checkpoint(t, leader, 20, 1)
		store(t, follower, copies(append(all[9:], c)...)...)
		expect(t, "read back", follower, seen{Last: "ok", Start: 2, End: 20, Verified: 1})

		// The restarted follower wrote everything since; as a leader it covers it.
		next := entries(21, 25, 2)
		store(t, follower, next...)
		c2 := checkpoint(t, follower, 25, 2)
		expect(t, "as a leader", follower, seen{Last: "ok", Start: 20, End: 25, Written: true, Verified: 2})

		// A leader that saw nothing written vouches for nothing before it.
		last := entries(26, 28, 2)
		store(t, follower, last...)
		fresh := open(t, d, Options{})
		c3 := checkpoint(t, fresh, 28, 3)
		store(t, fresh, entries(29, 31, 3)...)
		c4 := checkpoint(t, fresh, 31, 3)
		store(t, leader, copies(append(append(next, c2), last...)...)...)
		tail := append([]*raft.Log{c3}, entries(29, 31, 3)...)
		store(t, leader, copies(append(tail, c4)...)...)
		st := look(leader)
		if st.Skipped[Uncovered] != 1 {
			t.Errorf("entries 25 to 28 have no checkpoint, and the count says %v", st.Skipped)
		}
		synctest.Wait()
	})
}

// TestDamage: which comparison fails, by what was damaged.
func TestDamage(t *testing.T) {
	for _, tc := range []struct {
		name      string
		damage    func(sent []*raft.Log, d *disk)
		restart   bool
		want      seen
		counters  [2]uint64 // write and read failures
		loglines  []string
		afterSent func(d *disk)
	}{
		{
			name:      "a bit on disk",
			afterSent: func(d *disk) { d.flip(7) },
			want:      seen{Last: "storage_corruption", Start: 2, End: 10, Written: true, Entry: 7, Verified: 1},
			counters:  [2]uint64{0, 1},
			loglines:  []string{"[ERROR]", "verification checksum FAILED: storage_corruption", "entry=7", "move its raft directory away", "partition=p2"},
		},
		{
			name:     "a bit on the way",
			damage:   func(sent []*raft.Log, _ *disk) { sent[3].Data[1] ^= 1 },
			want:     seen{Last: "in_flight_corruption", Start: 2, End: 10, Written: true, Verified: 1},
			counters: [2]uint64{1, 0},
			loglines: []string{"[ERROR]", "verification checksum FAILED: in_flight_corruption", "suspect the server that led"},
		},
		{
			name:      "both",
			damage:    func(sent []*raft.Log, _ *disk) { sent[3].Data[1] ^= 1 },
			afterSent: func(d *disk) { d.flip(8) },
			want:      seen{Last: "in_flight_corruption", Start: 2, End: 10, Written: true, Entry: 8, Verified: 1},
			counters:  [2]uint64{1, 1},
			loglines:  []string{"reads something else again"},
		},
		{
			name:     "a checkpoint on the way",
			damage:   func(sent []*raft.Log, _ *disk) { sent[8].Extensions[20] ^= 1 },
			want:     seen{Last: "in_flight_corruption", Start: 10, End: 10, Verified: 1},
			counters: [2]uint64{1, 0},
			loglines: []string{"the checkpoint is damaged"},
		},
		{
			name:     "a newer version's checkpoint",
			damage:   func(sent []*raft.Log, _ *disk) { sent[8].Extensions[8] = 9 },
			want:     seen{Skipped: map[Reason]uint64{Version: 1}},
			loglines: []string{"skipped a range: reason=newer_version"},
		},
		{
			name:      "an entry that is gone",
			afterSent: func(d *disk) { delete(d.logs, 6) },
			want:      seen{Last: "storage_corruption", Start: 2, End: 10, Written: true, Entry: 6, Verified: 1},
			counters:  [2]uint64{0, 1},
			loglines:  []string{"log not found"},
		},
		{
			name: "an entry that is another",
			afterSent: func(d *disk) {
				e := d.logs[6]
				e.Index = 4
				d.logs[6] = e
			},
			want:     seen{Last: "storage_corruption", Start: 2, End: 10, Written: true, Entry: 6, Verified: 1},
			counters: [2]uint64{0, 1},
			loglines: []string{"says that it is entry 4"},
		},
		{
			name:      "an entry that does not decode",
			afterSent: func(d *disk) { d.spoil = func(i uint64) error { return panicAt(i, 6) } },
			want:      seen{Last: "storage_corruption", Start: 2, End: 10, Written: true, Entry: 6, Verified: 1},
			counters:  [2]uint64{0, 1},
			loglines:  []string{"entry 6 does not decode"},
		},
		{
			name:      "a bit on disk, after a restart",
			restart:   true,
			afterSent: func(d *disk) { d.flip(3) },
			want:      seen{Last: "storage_corruption", Start: 2, End: 10, Verified: 1},
			counters:  [2]uint64{0, 1},
		},
		{
			name: "a read that fails and then does not",
			afterSent: func(d *disk) {
				once := errors.New("input/output error")
				d.spoil = func(i uint64) error {
					err := once
					if i == 6 {
						once = nil
						return err
					}
					return nil
				}
			},
			want:     seen{Last: "ok", Start: 2, End: 10, Written: true, Verified: 1},
			loglines: []string{"[INFO]", "verification checksum OK: elapsed=", " leaderChecksum=", " rangeEnd=10 rangeStart=2 readChecksum=", " partition=p2"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var out lockedBuffer
				d := newDisk(true)
				o := Options{Partition: "p2", Logger: hclog.New(&hclog.LoggerOptions{Output: &out, Level: hclog.Info})}
				follower := open(t, d, o)
				leader := open(t, newDisk(true), Options{})
				all := entries(2, 10, 1)
				store(t, leader, all...)
				sent := copies(append(all, checkpoint(t, leader, 10, 1))...)
				if tc.damage != nil {
					tc.damage(sent, d)
				}
				store(t, follower, sent[:8]...)
				if tc.restart {
					follower = open(t, d, o)
				}
				if tc.afterSent != nil {
					tc.afterSent(d)
				}
				store(t, follower, sent[8:]...)
				expect(t, "report", follower, tc.want)
				c := follower.Status().Counters
				if got := [2]uint64{c.WriteChecksumFailures, c.ReadChecksumFailures}; got != tc.counters {
					t.Errorf("failures of written and read sums: %v, not %v", got, tc.counters)
				}
				for _, want := range tc.loglines {
					if !strings.Contains(out.String(), want) {
						t.Errorf("no %q in the log:\n%s", want, out.String())
					}
				}
			})
		})
	}
}

func panicAt(i, at uint64) error {
	if i == at {
		panic("slice bounds out of range")
	}
	return nil
}

// TestSkips: what cannot be compared is counted, and is no failure.
func TestSkips(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk(false)
		l := open(t, d, Options{})
		// The reader is held at the first range, the second waits, the third is dropped.
		release := d.block()
		store(t, l, entries(2, 5, 1)...)
		for i := uint64(5); i < 8; i++ {
			checkpoint(t, l, i, 1)
			synctest.Wait()
		}
		release()
		expect(t, "busy", l, seen{Last: "ok", Start: 5, End: 6, Written: true, Verified: 2, Skipped: map[Reason]uint64{Busy: 1}})
		if got := l.Status().Counters.DroppedReports; got != 1 {
			t.Errorf("%d reports dropped", got)
		}

		// The log is compacted while the range waits.
		release = d.block()
		store(t, l, entries(8, 12, 1)...)
		checkpoint(t, l, 12, 1)
		if err := l.DeleteRange(2, 9); err != nil {
			t.Fatal(err)
		}
		release()
		expect(t, "compacted", l, seen{Last: "ok", Start: 5, End: 6, Written: true, Verified: 2, Skipped: map[Reason]uint64{Busy: 1, Compacted: 1}})

		// It is truncated, and written again, while the reader is in it.
		release = d.block()
		store(t, l, entries(13, 15, 1)...)
		checkpoint(t, l, 15, 1)
		synctest.Wait()
		if err := l.DeleteRange(14, 15); err != nil {
			t.Fatal(err)
		}
		store(t, l, entries(14, 16, 2)...)
		release()
		expect(t, "truncated", l, seen{Last: "ok", Start: 5, End: 6, Written: true, Verified: 2,
			Skipped: map[Reason]uint64{Busy: 1, Compacted: 1, Truncated: 1}})

		// A snapshot takes the place of what is missing.
		other := open(t, newDisk(false), Options{})
		store(t, other, entries(10, 30, 3)...)
		l.Restored(20)
		missed := entries(21, 30, 3)
		store(t, l, copies(append(missed, checkpoint(t, other, 30, 3))...)...)
		expect(t, "in a snapshot", l, seen{Last: "ok", Start: 5, End: 6, Written: true, Verified: 2,
			Skipped: map[Reason]uint64{Busy: 1, Compacted: 1, Truncated: 1, Snapshot: 1}})
	})
}

// journaled is a disk whose newest entries are in memory for now.
type journaled struct {
	*disk
	base atomic.Uint64
}

func (j *journaled) Settled(index uint64) bool { return index < j.base.Load() }

func (j *journaled) GetLog(index uint64, log *raft.Log) error {
	if err := j.disk.GetLog(index, log); err != nil || j.Settled(index) {
		return err
	}
	return errors.New("the primary is not open")
}

// TestJournaled: what a store answers from memory is not taken for what its disk
// has, however long that is. Seen to fail without await.
func TestJournaled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &journaled{disk: newDisk(true)}
		l := open(t, d, Options{})
		store(t, l, entries(2, 8, 1)...)
		checkpoint(t, l, 8, 1)
		expect(t, "in memory", l, seen{})
		// It reaches the disk, damaged.
		d.flip(5)
		d.base.Store(9)
		expect(t, "on disk", l, seen{Last: "storage_corruption", Start: 2, End: 8, Written: true, Entry: 5, Verified: 1})

		// A range that is truncated while it waits.
		store(t, l, entries(9, 12, 1)...)
		checkpoint(t, l, 12, 1)
		synctest.Wait()
		if err := l.DeleteRange(10, 12); err != nil {
			t.Fatal(err)
		}
		expect(t, "truncated", l, seen{Last: "storage_corruption", Start: 2, End: 8, Written: true, Entry: 5, Verified: 1,
			Skipped: map[Reason]uint64{Truncated: 1}})
	})
}

// TestKnownDamageIsNotDropped: a range that is known to be damaged takes the
// place of one that waits.
func TestKnownDamageIsNotDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leader := open(t, newDisk(true), Options{})
		d := newDisk(true)
		l := open(t, d, Options{})
		release := d.block()
		at := uint64(2)
		for _, damaged := range []bool{false, false, true, false} {
			e := entries(at, at+3, 1)
			store(t, leader, e...)
			sent := copies(append(e, checkpoint(t, leader, at+3, 1))...)
			if damaged {
				sent[1].Data[0] ^= 1
			}
			store(t, l, sent...)
			synctest.Wait()
			at += 4
		}
		release()
		expect(t, "damaged", l, seen{Last: "in_flight_corruption", Start: 9, End: 13, Written: true, Verified: 2, Skipped: map[Reason]uint64{Busy: 2}})
	})
}

// TestFailedAppend: after an error nobody knows what is in the log, and nothing
// is claimed about it.
func TestFailedAppend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk(true)
		l := open(t, d, Options{})
		store(t, l, entries(2, 8, 1)...)
		d.fail = errors.New("the disk hangs")
		if err := l.StoreLogs(entries(8, 10, 1)); !errors.Is(err, d.fail) {
			t.Errorf("the error is %v", err)
		}
		d.fail = nil
		store(t, l, entries(8, 9, 2)...)
		checkpoint(t, l, 9, 2)
		expect(t, "after the failure", l, seen{Last: "ok", Start: 8, End: 9, Written: true, Verified: 1})
	})
}

// TestForeignRequest: only the Log that made a request fills it in; in any other
// it stays as it is, so that an entry has the same bytes everywhere.
func TestForeignRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := open(t, newDisk(true), Options{}), open(t, newDisk(true), Options{})
		e := a.Checkpoint(nil)
		e.Index, e.Term = 4, 1
		before := bytes.Clone(e.Extensions)
		store(t, b, &e)
		if !bytes.Equal(e.Extensions, before) {
			t.Error("a request was filled in by a Log that did not make it")
		}
	})
}

// TestClose: the reader ends in a rest, in a read once it returns, and when the
// store is closed under it; and a Log whose reader ended still is a log.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk(true)
		l := New(d, Options{})
		store(t, l, entries(2, 5000, 1)...)
		checkpoint(t, l, 5000, 1)
		synctest.Wait()
		for range 2 {
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		}
		store(t, l, entries(5001, 5003, 1)...)

		closed := open(t, closedStore{newDisk(true)}, Options{})
		store(t, closed, entries(2, 5, 1)...)
		checkpoint(t, closed, 5, 1)
		expect(t, "a closed store", closed, seen{})
	})
}

// closedStore takes appends, and answers reads as a closed one does.
type closedStore struct{ *disk }

func (closedStore) FirstIndex() (uint64, error)    { return 0, fs.ErrClosed }
func (closedStore) GetLog(uint64, *raft.Log) error { return fs.ErrClosed }

// TestAsBefore: to raft the Log is the store below, monotonic or not.
func TestAsBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, monotonic := range []bool{true, false} {
			if got := open(t, newDisk(monotonic), Options{}).IsMonotonic(); got != monotonic {
				t.Errorf("IsMonotonic: %v above a store that says %v", got, monotonic)
			}
		}
		if open(t, raft.NewInmemStore(), Options{}).IsMonotonic() {
			t.Error("IsMonotonic above a store that does not say")
		}
		d := newDisk(true)
		l := open(t, d, Options{})
		all := entries(3, 9, 1)
		if err := l.StoreLogs(all); err != nil {
			t.Fatal(err)
		}
		first, _ := l.FirstIndex()
		last, _ := l.LastIndex()
		var e raft.Log
		if err := l.GetLog(5, &e); err != nil || first != 3 || last != 8 || cmp.Diff(*all[2], e) != "" {
			t.Errorf("%d, %d, %+v, %v", first, last, e, err)
		}
		if err := l.GetLog(99, &e); err != raft.ErrLogNotFound { //nolint:errorlint // raft compares so
			t.Errorf("a missing entry: %v", err)
		}
	})
}

// TestBesideEachOther: appends, compactions and status from several goroutines,
// for the race detector.
func TestBesideEachOther(t *testing.T) {
	d := newDisk(true)
	l := open(t, d, Options{})
	var wg sync.WaitGroup
	done := make(chan struct{}) // closed when the last entry is stored
	wg.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				first, _ := l.FirstIndex()
				last, _ := l.LastIndex()
				if last > first+50 {
					if err := l.DeleteRange(first, first+5); err != nil {
						t.Error(err)
					}
				}
				_ = l.Status()
			}
		}
	})
	next := uint64(1)
	for range 300 {
		store(t, l, entries(next, next+5, 1)...)
		checkpoint(t, l, next+5, 1)
		next += 6
	}
	close(done)
	wg.Wait()
	if f := l.Status().LastFailure; f != nil {
		t.Errorf("a false alarm: %+v", f)
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// TestMetrics: every counter is there from the start.
func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := metrics{}
		l := open(t, newDisk(true), Options{Metrics: m})
		want := []string{"checkpoints_written", "dropped_reports", "ranges_verified", "read_checksum_failures", "skipped_ranges", "write_checksum_failures"}
		var got []string
		for name := range m {
			got = append(got, name)
		}
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		store(t, l, entries(2, 5, 1)...)
		checkpoint(t, l, 5, 1)
		expect(t, "one range", l, seen{Last: "ok", Start: 2, End: 5, Written: true, Verified: 1})
		if m["checkpoints_written"] != 1 || m["ranges_verified"] != 1 {
			t.Errorf("%v", m)
		}
	})
}

type metrics map[string]uint64

func (m metrics) IncrementCounter(name string, delta uint64) { m[name] += delta }
