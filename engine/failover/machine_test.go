// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package failover

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs/vfstest"
)

// A machine is a log over a whole raft-wal on a data disk and a side disk, both
// in memory, that stall, fail and lose power. It lives in a synctest bubble: a
// sync of the data disk takes 1 ms, one of the side 2 ms, and nothing else any time.
type machine struct {
	t      *testing.T
	mem    *vfstest.Mem
	faults *vfstest.Faults
	stall  *vfstest.Stall
	fs     vfs.FS // stall, or something over it
	side   *Side
	log    *Log
	fatal  chan error // depth 8, from Fatal
	// segment is the size of the primary's: too large for a story to rotate it, which
	// raft-wal does with a mutex held, and virtual time does not pass that.
	segment int
	latency atomic.Pointer[func(vfstest.Op) time.Duration]
	change  []func(*Config)
	dead    []func()

	mu   sync.Mutex
	took []time.Duration // of acknowledged operations
}

const (
	dataDir    = "/data/raft/default"
	walDir     = dataDir + "/wal"
	sidePut    = "/side"
	journalDir = "/side/side/s/default"

	dataSync = time.Millisecond
	sideSync = 2 * time.Millisecond
)

// onData and onSide are calls that wait for one of the disks.
var (
	onData = vfstest.Match{Kind: vfstest.Disk, Under: "/data"}
	onSide = vfstest.Match{Kind: vfstest.Disk, Under: "/side"}
)

// inBubble runs a story of one machine in virtual time.
func inBubble(t *testing.T, story func(t *testing.T, m *machine), change ...func(*Config)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(t, vfstest.NewMem(walDir, sidePut), change...)
		m.start()
		story(t, m)
		m.shutdown()
	})
}

func newMachine(t *testing.T, mem *vfstest.Mem, change ...func(*Config)) *machine {
	m := &machine{t: t, change: change, segment: 8 << 20, fatal: make(chan error, 8)}
	m.slow(normalSpeed)
	m.use(mem)
	return m
}

func (m *machine) use(mem *vfstest.Mem) {
	m.mem = mem
	m.faults = vfstest.NewFaults(mem)
	m.stall = vfstest.NewStall(m.faults)
	m.fs = m.stall
	m.stall.Latency = func(op vfstest.Op) time.Duration { return (*m.latency.Load())(op) }
}

// slow makes the disks as slow as f says.
func (m *machine) slow(f func(vfstest.Op) time.Duration) { m.latency.Store(&f) }

func normalSpeed(op vfstest.Op) time.Duration {
	switch {
	case op.Kind&vfstest.Syncs == 0:
		return 0
	case within(op.Path, "/side"):
		return sideSync
	}
	return dataSync
}

func (m *machine) config() Config {
	fsys, segment := m.fs, m.segment
	return Config{
		FS: fsys, Dir: dataDir, Side: m.side, Cluster: "c", Node: "a", Store: "s", Partition: "default",
		Open:            func() (Store, error) { return vfstest.OpenWAL(fsys, walDir, segment) },
		JournalFileSize: 64 << 10, JournalBudget: 1 << 20,
		Fatal: func(err error) { m.fatal <- err },
	}
}

// open opens side and log, as they are after a start of the process.
func (m *machine) open(ctx context.Context) error {
	m.side = AwaitSide(m.fs, sidePut)
	cfg := m.config()
	for _, f := range m.change {
		f(&cfg)
	}
	l, err := Open(ctx, cfg)
	if err != nil {
		return errors.Join(err, m.side.Close(ctx))
	}
	m.log = l
	return nil
}

func (m *machine) start() {
	m.t.Helper()
	if err := m.open(context.Background()); err != nil {
		m.t.Fatal(err)
	}
}

// shutdown ends the log cleanly, and everything that died before it.
func (m *machine) shutdown() {
	m.t.Helper()
	m.stall.Release()
	m.stop()
	for _, f := range m.dead {
		f()
	}
	m.dead = nil
}

func (m *machine) stop() {
	m.t.Helper()
	if m.log == nil {
		return
	}
	closeAll(m.t, m.log, m.side)
	m.log = nil
}

func closeAll(t *testing.T, l *Log, s *Side) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := errors.Join(l.Close(ctx), s.Close(ctx)); err != nil {
		t.Error(err)
	}
}

// powerCut ends the process and loses what was not synced, as policy says. What
// hangs stays hung in a world that nobody sees any more. The machine is off then.
func (m *machine) powerCut(policy vfstest.Policy) {
	m.t.Helper()
	synctest.Wait()
	m.leave()
	m.use(m.mem.CrashClone(policy))
}

// leave puts the running process aside, to be ended with the test.
func (m *machine) leave() {
	l, s, stall := m.log, m.side, m.stall
	m.log = nil
	m.dead = append(m.dead, func() {
		stall.Release()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		_ = errors.Join(l.Close(ctx), s.Close(ctx)) // it is dead
	})
}

// restart is a power cut and a start.
func (m *machine) restart(policy vfstest.Policy) {
	m.t.Helper()
	m.powerCut(policy)
	m.start()
}

// append appends one entry and notes how long that took.
func (m *machine) append(index, term uint64, data string) {
	m.t.Helper()
	if err := m.try(index, term, data); err != nil {
		m.t.Fatalf("append %d: %v", index, err)
	}
}

func (m *machine) try(index, term uint64, data string) error {
	begin := time.Now()
	err := m.log.StoreLog(entry(index, term, data))
	if err == nil {
		m.mu.Lock()
		m.took = append(m.took, time.Since(begin))
		m.mu.Unlock()
	}
	return err
}

// load appends one small entry every interval for as long as that, behind the
// log's end, and returns the worst latency.
func (m *machine) load(interval, long time.Duration) time.Duration {
	m.t.Helper()
	m.mu.Lock()
	m.took = nil
	m.mu.Unlock()
	for begin := time.Now(); time.Since(begin) < long; {
		next := time.Now().Add(interval)
		last, _ := m.log.LastIndex()
		m.append(last+1, 1, fmt.Sprint("x", last+1))
		time.Sleep(time.Until(next))
	}
	return m.worst()
}

func (m *machine) worst() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Max(m.took)
}

func (m *machine) wantLog(want ...string) {
	m.t.Helper()
	if got := logOf(m.t, m.log); !slices.Equal(got, want) {
		m.t.Fatalf("the log is %v, want %v", got, want)
	}
}

func logOf(t *testing.T, l *Log) (got []string) {
	t.Helper()
	first, _ := l.FirstIndex()
	last, _ := l.LastIndex()
	for i := first; i <= last && last != 0; i++ {
		var e raft.Log
		if err := l.GetLog(i, &e); err != nil {
			t.Fatalf("entry %d: %v", i, err)
		}
		got = append(got, fmt.Sprintf("%d:%s", i, e.Data))
	}
	return got
}

// until waits in virtual time.
func (m *machine) until(what string, ok func(Status) bool) {
	m.t.Helper()
	for deadline := time.Now().Add(5 * time.Minute); !ok(m.log.Status()); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			m.t.Fatalf("waited for %s: %+v", what, m.log.Status())
		}
	}
}

func drained(s Status) bool    { return s.Pending == 0 }
func failedOver(s Status) bool { return s.Active == "secondary" }
func healthy(s Status) bool {
	return s.Active == "primary" && s.Pending == 0 && !s.EpochOpen && len(s.Sides) == 1 && s.Sides[0].Armed
}
