// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package failover

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs"
)

// A fakePrimary is a log store whose every call is durable when it returns,
// and which can be made to hang or fail. What it holds outlives its handle, as
// a disk does.
type fakePrimary struct {
	mu     sync.Mutex
	logs   map[uint64]*raft.Log
	stable map[string][]byte
	gate   chan struct{} // writes wait for it to be closed; nil: they do not
	land   bool          // a hung write has landed already and only its answer hangs
	fail   []error       // one per write to come
	writes int
	hung   int // writes that wait
	open   int // handles
}

func newFakePrimary() *fakePrimary {
	return &fakePrimary{logs: map[uint64]*raft.Log{}, stable: map[string][]byte{}}
}

func (p *fakePrimary) hang(land bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gate, p.land = make(chan struct{}), land
}

func (p *fakePrimary) thaw() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gate != nil {
		close(p.gate)
		p.gate = nil
	}
}

// write runs do as a write to the disk.
func (p *fakePrimary) write(do func()) error {
	p.mu.Lock()
	gate, land := p.gate, p.land
	p.writes++
	if len(p.fail) > 0 {
		err := p.fail[0]
		p.fail = p.fail[1:]
		p.mu.Unlock()
		return err
	}
	if gate != nil {
		if land {
			do()
		}
		p.hung++
		p.mu.Unlock()
		<-gate
		p.mu.Lock()
		p.hung--
		if !land {
			do()
		}
		p.mu.Unlock()
		return nil
	}
	do()
	p.mu.Unlock()
	return nil
}

// crashClone is what a restart after a power cut finds.
func (p *fakePrimary) crashClone() *fakePrimary {
	p.mu.Lock()
	defer p.mu.Unlock()
	return &fakePrimary{logs: maps.Clone(p.logs), stable: maps.Clone(p.stable)}
}

func (p *fakePrimary) handle() (Store, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open++
	return &fakeHandle{p}, nil
}

type fakeHandle struct{ p *fakePrimary }

func (h *fakeHandle) bound(pick func(...uint64) uint64) uint64 {
	h.p.mu.Lock()
	defer h.p.mu.Unlock()
	keys := slices.Collect(maps.Keys(h.p.logs))
	if len(keys) == 0 {
		return 0
	}
	return pick(keys...)
}

func (h *fakeHandle) FirstIndex() (uint64, error) {
	return h.bound(func(k ...uint64) uint64 { return slices.Min(k) }), nil
}
func (h *fakeHandle) LastIndex() (uint64, error) {
	return h.bound(func(k ...uint64) uint64 { return slices.Max(k) }), nil
}

func (h *fakeHandle) GetLog(i uint64, out *raft.Log) error {
	h.p.mu.Lock()
	defer h.p.mu.Unlock()
	l, ok := h.p.logs[i]
	if !ok {
		return raft.ErrLogNotFound
	}
	*out = *l
	return nil
}

func (h *fakeHandle) StoreLog(l *raft.Log) error { return h.StoreLogs([]*raft.Log{l}) }

func (h *fakeHandle) StoreLogs(logs []*raft.Log) error {
	last, _ := h.LastIndex()
	if last != 0 && logs[0].Index != last+1 {
		return fmt.Errorf("non-monotonic: %d after %d", logs[0].Index, last)
	}
	return h.p.write(func() {
		for _, l := range logs {
			h.p.logs[l.Index] = l
		}
	})
}

func (h *fakeHandle) DeleteRange(low, high uint64) error {
	return h.p.write(func() {
		for i := low; i <= high; i++ {
			delete(h.p.logs, i)
		}
	})
}

func (h *fakeHandle) Set(k, v []byte) error {
	return h.p.write(func() { h.p.stable[string(k)] = v })
}
func (h *fakeHandle) SetUint64(k []byte, v uint64) error {
	return h.p.write(func() { h.p.stable[string(k)] = []byte(fmt.Sprint(v)) })
}

var errNotFound = errors.New("not found")

func (h *fakeHandle) Get(k []byte) ([]byte, error) {
	h.p.mu.Lock()
	defer h.p.mu.Unlock()
	v, ok := h.p.stable[string(k)]
	if !ok {
		return nil, errNotFound
	}
	return v, nil
}

func (h *fakeHandle) GetUint64(k []byte) (uint64, error) {
	v, err := h.Get(k)
	if err != nil {
		return 0, err
	}
	var n uint64
	_, err = fmt.Sscan(string(v), &n)
	return n, err
}

func (h *fakeHandle) Close() error {
	h.p.mu.Lock()
	defer h.p.mu.Unlock()
	h.p.open--
	return nil
}

// A bench is one log over a fake primary and a real side directory.
type rig struct {
	t       *testing.T
	dir     string // the primary's
	sideDir string
	primary *fakePrimary
	side    *Side
	log     *Log
}

func newRig(t *testing.T, change ...func(*Config)) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir(), sideDir: t.TempDir(), primary: newFakePrimary()}
	r.open(change...)
	t.Cleanup(func() { r.close() })
	return r
}

func (r *rig) open(change ...func(*Config)) {
	r.t.Helper()
	side, err := OpenSide(vfs.OS{}, r.sideDir)
	if err != nil {
		r.t.Fatal(err)
	}
	cfg := Config{
		Dir: r.dir, Open: r.primary.handle, Side: side, Cluster: "c", Node: "a", Store: "s", Partition: "default",
		JournalFileSize: 256 << 10, JournalBudget: 4 << 20,
	}
	for _, f := range change {
		f(&cfg)
	}
	l, err := Open(r.t.Context(), cfg)
	if err != nil {
		r.t.Fatal(err, side.Close())
	}
	r.side, r.log = side, l
}

func (r *rig) close() {
	if r.log == nil {
		return
	}
	r.primary.thaw()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := errors.Join(r.log.Close(ctx), r.side.Close()); err != nil {
		r.t.Error(err)
	}
	r.log = nil
}

func (r *rig) append(index, term uint64, data string) {
	r.t.Helper()
	if err := r.log.StoreLog(entry(index, term, data)); err != nil {
		r.t.Fatalf("append %d: %v", index, err)
	}
}

func (r *rig) wantLog(want ...string) {
	r.t.Helper()
	first, _ := r.log.FirstIndex()
	last, _ := r.log.LastIndex()
	var got []string
	for i := first; i <= last && last != 0; i++ {
		var l raft.Log
		if err := r.log.GetLog(i, &l); err != nil {
			r.t.Fatalf("entry %d: %v", i, err)
		}
		got = append(got, fmt.Sprintf("%d:%s", i, l.Data))
	}
	if !slices.Equal(got, want) {
		r.t.Fatalf("the log is %v, want %v", got, want)
	}
}

func (r *rig) until(what string, ok func(Status) bool) {
	r.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !ok(r.log.Status()) {
		if time.Now().After(deadline) {
			r.t.Fatalf("waited for %s: %+v", what, r.log.Status())
		}
		time.Sleep(time.Millisecond)
	}
}

func TestHealthyLogWritesToThePrimaryAlone(t *testing.T) {
	r := newRig(t)
	for i := range uint64(100) {
		r.append(i+1, 1, fmt.Sprint(i))
	}
	if s := r.log.Status(); s.Hedges != 0 || s.Switches != 0 || s.Pending != 0 || s.Bytes != 0 {
		t.Errorf("%+v", s)
	}
	if len(r.primary.logs) != 100 {
		t.Errorf("%d entries in the primary", len(r.primary.logs))
	}
}

func TestWritesGoOnWhileThePrimaryHangs(t *testing.T) {
	for _, landed := range []bool{false, true} {
		t.Run(fmt.Sprintf("landed=%v", landed), func(t *testing.T) {
			r := newRig(t)
			r.append(1, 1, "a")
			r.primary.hang(landed)
			r.append(2, 1, "b")
			r.append(3, 1, "c")
			if err := r.log.SetUint64([]byte("CurrentTerm"), 7); err != nil {
				t.Fatal(err)
			}
			r.wantLog("1:a", "2:b", "3:c")
			r.until("the switch", func(s Status) bool { return s.Active == "secondary" && s.Switches == 1 })
			// Conflict: the suffix is replaced while the primary hangs.
			if err := r.log.DeleteRange(3, 3); err != nil {
				t.Fatal(err)
			}
			r.append(3, 2, "C")
			r.primary.thaw()
			r.until("the primary to catch up", func(s Status) bool { return s.Pending == 0 })
			r.until("failback", func(s Status) bool { return s.Active == "primary" && s.Switches == 2 })
			r.append(4, 2, "d")
			r.wantLog("1:a", "2:b", "3:C", "4:d")
			if n, err := r.log.GetUint64([]byte("CurrentTerm")); n != 7 || err != nil {
				t.Errorf("term %d, %v", n, err)
			}
			r.close()
			r.open()
			r.wantLog("1:a", "2:b", "3:C", "4:d")
		})
	}
}

// restart is a power cut: what the primary holds now and what the side's files
// hold now is all there is.
func (r *rig) crash() {
	r.t.Helper()
	old, oldSide := r.log, r.side
	was := r.primary
	r.primary = was.crashClone()
	dir, side := r.t.TempDir(), r.t.TempDir()
	copyTree(r.t, r.dir, dir)
	copyTree(r.t, r.sideDir, side)
	// The side's path is in the record: the copy takes the name's place.
	rename(r.t, side, r.sideDir)
	rename(r.t, dir, r.dir)
	r.log, r.side = nil, nil
	r.t.Cleanup(func() {
		was.thaw()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = old.Close(ctx) // its files are gone from under it
		_ = oldSide.Close()
	})
	r.open()
}

func TestCrashWhileFailedOver(t *testing.T) {
	for _, landed := range []bool{false, true} {
		t.Run(fmt.Sprintf("landed=%v", landed), func(t *testing.T) {
			r := newRig(t)
			r.append(1, 1, "a")
			r.append(2, 1, "b")
			r.primary.hang(landed)
			r.append(3, 1, "c")
			r.append(4, 1, "d")
			if err := r.log.Set([]byte("LastVoteCand"), []byte("b")); err != nil {
				t.Fatal(err)
			}
			if err := r.log.DeleteRange(3, 4); err != nil {
				t.Fatal(err)
			}
			r.append(3, 2, "C")
			r.crash()
			r.wantLog("1:a", "2:b", "3:C")
			if v, err := r.log.Get([]byte("LastVoteCand")); string(v) != "b" || err != nil {
				t.Errorf("the vote is %q, %v", v, err)
			}
			r.append(4, 2, "D")
			r.crash()
			r.wantLog("1:a", "2:b", "3:C", "4:D")
		})
	}
}

func TestPrimaryErrorsReopen(t *testing.T) {
	r := newRig(t)
	r.append(1, 1, "a")
	r.primary.mu.Lock()
	r.primary.fail = []error{errors.New("input/output error"), errors.New("input/output error")}
	r.primary.mu.Unlock()
	r.append(2, 1, "b")
	r.append(3, 1, "c")
	r.until("the primary to catch up", func(s Status) bool { return s.Pending == 0 && s.PrimaryErr == nil })
	r.wantLog("1:a", "2:b", "3:c")
	if r.primary.open != 1 {
		t.Errorf("%d handles are open", r.primary.open)
	}
}

func TestStalledLeader(t *testing.T) {
	leader := true
	r := newRig(t, func(c *Config) { c.Leader = func() bool { return leader }; c.Side = nil })
	r.append(1, 1, "a")
	r.primary.hang(false)
	if err := r.log.StoreLog(entry(2, 1, "lost")); !errors.Is(err, ErrStalled) {
		t.Fatalf("%v, want ErrStalled", err)
	}
	r.wantLog("1:a")
	r.primary.thaw()
	r.append(2, 2, "b")
	r.until("the primary to catch up", func(s Status) bool { return s.Pending == 0 })
	r.wantLog("1:a", "2:b")
}

func TestPrefixTruncationIsNotHedged(t *testing.T) {
	r := newRig(t, func(c *Config) { c.CompactionPiece = 7 })
	for i := range uint64(50) {
		r.append(i+1, 1, "x")
	}
	if err := r.log.DeleteRange(1, 40); err != nil {
		t.Fatal(err)
	}
	if first, _ := r.log.FirstIndex(); first != 41 {
		t.Fatalf("first index %d", first)
	}
	deadline := time.Now().Add(10 * time.Second)
	for {
		r.primary.mu.Lock()
		n := len(r.primary.logs)
		r.primary.mu.Unlock()
		if n == 10 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d entries are left in the primary", n)
		}
		time.Sleep(time.Millisecond)
	}
	if err := r.log.DeleteRange(1, 50); err != nil {
		t.Fatal(err)
	}
	r.append(90, 3, "after a snapshot")
	r.wantLog("90:after a snapshot")
}
