// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package failover_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/raft"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/failover"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/logstore/boltstore"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/logstore/walstore"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs"
)

// backends open the real stores in a directory of a real file system.
var backends = map[string]func(dir string) (failover.Store, error){
	"wal": func(dir string) (failover.Store, error) {
		return walstore.Open(filepath.Join(dir, walstore.DirName), walstore.Options{SegmentSizeMB: 1})
	},
	"boltdb": func(dir string) (failover.Store, error) { return boltstore.Open(dir, boltstore.Options{}) },
}

// A faulty is a store whose mutations fail or hang when they are told to, before
// they happen or after. Faults outlive the handle.
type faulty struct {
	failover.Store
	*faults
}

type faults struct {
	mu    sync.Mutex
	fail  int           // so many mutations from now on
	after bool          // and they happen all the same
	hang  chan struct{} // mutations wait until it is closed; nil: they do not
	delay atomic.Int64  // appends that took longer than late
}

// late is what an append may take before a hedge is its own doing.
const late = 8 * time.Millisecond

func (f *faults) set(fail int, after bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail, f.after = fail, after
}

func (f *faults) mutate(do func() error) error {
	f.mu.Lock()
	hang, fail, after := f.hang, f.fail > 0, f.after
	if fail {
		f.fail--
	}
	f.mu.Unlock()
	if hang != nil {
		<-hang
	}
	if !fail {
		return do()
	}
	if after {
		if err := do(); err != nil {
			return err
		}
	}
	return syscall.EIO
}

func (s *faulty) StoreLogs(l []*raft.Log) error {
	begin := time.Now()
	defer func() {
		if time.Since(begin) > late {
			s.delay.Add(1)
		}
	}()
	return s.mutate(func() error { return s.Store.StoreLogs(l) })
}
func (s *faulty) DeleteRange(a, b uint64) error {
	return s.mutate(func() error { return s.Store.DeleteRange(a, b) })
}
func (s *faulty) Set(k, v []byte) error { return s.mutate(func() error { return s.Store.Set(k, v) }) }
func (s *faulty) SetUint64(k []byte, v uint64) error {
	return s.mutate(func() error { return s.Store.SetUint64(k, v) })
}

// A realLog is a failover log over a real backend on real files.
type realLog struct {
	*failover.Log
	side *failover.Side
	*faults
}

func open(t testing.TB, dir, side, backend string) *realLog {
	t.Helper()
	if err := errors.Join(os.MkdirAll(dir, 0o700), os.MkdirAll(side, 0o700)); err != nil {
		t.Fatal(err)
	}
	s, err := failover.OpenSide(t.Context(), vfs.OS{}, side)
	if err != nil {
		t.Fatal(err)
	}
	f := &faults{}
	l, err := failover.Open(t.Context(), failover.Config{
		Dir: dir, Side: s, Cluster: "c", Node: "a", Store: "s", Partition: "default",
		JournalFileSize: 1 << 20, JournalBudget: 8 << 20,
		Open: func() (failover.Store, error) {
			store, err := backends[backend](dir)
			if err != nil {
				return nil, err
			}
			return &faulty{store, f}, nil
		},
	})
	if err != nil {
		t.Fatal(errors.Join(err, s.Close(t.Context())))
	}
	return &realLog{l, s, f}
}

func (r *realLog) close(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := errors.Join(r.Close(ctx), r.side.Close(ctx)); err != nil {
		t.Fatal(err)
	}
}

func logs(first uint64, term uint64, texts ...string) (out []*raft.Log) {
	for i, text := range texts {
		out = append(out, &raft.Log{Index: first + uint64(i), Term: term, Data: []byte(text)}) //nolint:gosec // small
	}
	return out
}

func contents(t testing.TB, s raft.LogStore) (out []string) {
	t.Helper()
	first, err := s.FirstIndex()
	last, lerr := s.LastIndex()
	if err := errors.Join(err, lerr); err != nil {
		t.Fatal(err)
	}
	for i := first; i <= last && last > 0; i++ {
		var l raft.Log
		if err := s.GetLog(i, &l); err != nil {
			t.Fatalf("entry %d: %v", i, err)
		}
		out = append(out, fmt.Sprintf("%d/%d:%s", i, l.Term, l.Data))
	}
	return out
}

// TestBackendFaults: point 12. EIO on appends (rotations among them), truncations and votes of both
// backends, before or after they happened: nobody hears of it, and the reopened log
// is identical, also to the one that the backend alone then finds.
//
// Seen to fail with the failed handle used on: both stores refuse every later mutation.
func TestBackendFaults(t *testing.T) {
	for backend := range backends {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s after=%v", backend, after), func(t *testing.T) {
				t.Parallel() // it waits for reopenings most of the time
				dir, side := filepath.Join(t.TempDir(), "log"), filepath.Join(t.TempDir(), "side")
				r := open(t, dir, side, backend)
				big := string(make([]byte, 300<<10)) // a few fill a segment
				var want []string
				last := uint64(0)
				settled := func() { // the fault has met the operation that it was for
					for r.Status().Pending > 0 {
						time.Sleep(time.Millisecond)
					}
				}
				for i := range uint64(6) {
					r.set(1, after)
					if err := r.StoreLogs(logs(last+1, i, "a", big, "c")); err != nil {
						t.Fatal(err)
					}
					settled()
					r.set(1, after)
					if err := r.DeleteRange(last+3, last+3); err != nil {
						t.Fatal(err)
					}
					want = append(want, fmt.Sprintf("%d/%d:a", last+1, i), fmt.Sprintf("%d/%d:%s", last+2, i, big))
					last += 2
					settled()
					r.set(1, after)
					if err := r.SetUint64([]byte("CurrentTerm"), i); err != nil {
						t.Fatal(err)
					}
					settled()
				}
				if diff := cmp.Diff(want, contents(t, r)); diff != "" {
					t.Errorf("(-want +got):\n%s", diff[:min(2000, len(diff))])
				}
				r.close(t)
				alone, err := backends[backend](dir)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want, contents(t, alone)); diff != "" {
					t.Errorf("the backend alone (-want +got):\n%s", diff[:min(2000, len(diff))])
				}
				if n, err := alone.GetUint64([]byte("CurrentTerm")); n != 5 || err != nil {
					t.Errorf("term %d, %v", n, err)
				}
				if err := alone.Close(); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// TestBackendFailover: both backends hang, are failed over and catch up; what the
// side alone had is in the backend after Close.
func TestBackendFailover(t *testing.T) {
	for backend := range backends {
		t.Run(backend, func(t *testing.T) {
			dir, side := filepath.Join(t.TempDir(), "log"), filepath.Join(t.TempDir(), "side")
			r := open(t, dir, side, backend)
			if err := r.StoreLogs(logs(1, 1, "a", "b")); err != nil {
				t.Fatal(err)
			}
			gate := make(chan struct{})
			r.mu.Lock()
			r.hang = gate
			r.mu.Unlock()
			if err := r.StoreLogs(logs(3, 1, "c", "d")); err != nil {
				t.Fatal(err)
			}
			if err := r.DeleteRange(4, 4); err != nil {
				t.Fatal(err)
			}
			if err := r.Set([]byte("LastVoteCand"), []byte("b")); err != nil {
				t.Fatal(err)
			}
			want := []string{"1/1:a", "2/1:b", "3/1:c"}
			if diff := cmp.Diff(want, contents(t, r)); diff != "" {
				t.Errorf("while it hangs (-want +got):\n%s", diff)
			}
			r.mu.Lock()
			r.hang = nil
			r.mu.Unlock()
			close(gate)
			r.close(t)
			alone, err := backends[backend](dir)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, contents(t, alone)); diff != "" {
				t.Errorf("afterwards (-want +got):\n%s", diff)
			}
			if v, err := alone.Get([]byte("LastVoteCand")); string(v) != "b" || err != nil {
				t.Errorf("the vote is %q, %v", v, err)
			}
			if err := alone.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestBackendCompaction: point 15. 100,000 entries of boltdb are compacted under a load of appends,
// with reads, status and metrics beside it (run it with -race): no hedge that is not an
// append's own slowness, and no entry that should be there is missing.
//
// Seen to fail with the whole range removed by one call: a hedge that no append explains (boltdb, not -short).
func TestBackendCompaction(t *testing.T) {
	const entries = 100_000
	for backend := range backends {
		t.Run(backend, func(t *testing.T) {
			n := uint64(entries)
			if testing.Short() {
				n /= 10
			}
			r := open(t, filepath.Join(t.TempDir(), "log"), filepath.Join(t.TempDir(), "side"), backend)
			for first := uint64(1); first <= n; first += 10_000 {
				texts := make([]string, 10_000)
				if err := r.StoreLogs(logs(first, 1, texts...)); err != nil {
					t.Fatal(err)
				}
			}
			before, slow := r.Status().Hedges, r.delay.Load()
			if err := r.DeleteRange(1, n-100); err != nil {
				t.Fatal(err)
			}
			stop := make(chan struct{}) // closed below
			var readers sync.WaitGroup
			for range 2 {
				readers.Go(func() {
					for {
						select {
						case <-stop:
							return
						case <-time.After(time.Millisecond):
						}
						r.Status()
						r.Stalled()
						last, _ := r.LastIndex()
						var l raft.Log
						if err := r.GetLog(last, &l); err != nil {
							t.Errorf("entry %d: %v", last, err)
							return
						}
					}
				})
			}
			for i := range uint64(500) {
				if err := r.StoreLogs(logs(n+1+i, 2, "x")); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Millisecond) // the load: some 500 appends per second
			}
			close(stop)
			readers.Wait()
			if got := r.Status().Hedges - before; got > uint64(r.delay.Load()-slow) { //nolint:gosec // a count
				t.Errorf("%d hedges, and %d appends that were slow themselves", got, r.delay.Load()-slow)
			}
			if first, _ := r.FirstIndex(); first != n-99 {
				t.Errorf("the first index is %d", first)
			}
			if got := len(contents(t, r)); got != 600 {
				t.Errorf("%d entries", got)
			}
			r.close(t)
		})
	}
}

// TestBackendConversion: the package's part of point 19. A log that is stopped is in its backend
// wholly, and disarmed: copied into the other backend, it goes on there.
func TestBackendConversion(t *testing.T) {
	for from, to := range map[string]string{"wal": "boltdb", "boltdb": "wal"} {
		t.Run(from+" to "+to, func(t *testing.T) {
			dir, side := filepath.Join(t.TempDir(), "log"), filepath.Join(t.TempDir(), "side")
			r := open(t, dir, side, from)
			if err := errors.Join(r.StoreLogs(logs(1, 1, "a", "b", "c")), r.SetUint64([]byte("CurrentTerm"), 4)); err != nil {
				t.Fatal(err)
			}
			r.close(t)
			convert(t, dir, from, to)
			r = open(t, dir, side, to)
			if err := r.StoreLogs(logs(4, 2, "d")); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{"1/1:a", "2/1:b", "3/1:c", "4/2:d"}, contents(t, r)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if n, err := r.GetUint64([]byte("CurrentTerm")); n != 4 || err != nil {
				t.Errorf("term %d, %v", n, err)
			}
			r.close(t)
		})
	}
}

func convert(t *testing.T, dir, from, to string) {
	t.Helper()
	src, err := backends[from](dir)
	if err != nil {
		t.Fatal(err)
	}
	dst, err := backends[to](dir)
	if err != nil {
		t.Fatal(err)
	}
	last, _ := src.LastIndex()
	for i := uint64(1); i <= last; i++ {
		var l raft.Log
		if err := errors.Join(src.GetLog(i, &l), dst.StoreLog(&l)); err != nil {
			t.Fatal(err)
		}
	}
	term, err := src.GetUint64([]byte("CurrentTerm"))
	if err := errors.Join(err, dst.SetUint64([]byte("CurrentTerm"), term), src.Close(), dst.Close()); err != nil {
		t.Fatal(err)
	}
}
