// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package logstoretest

import (
	"errors"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"pgregory.net/rapid"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/logstore"
)

func testReopenAfterEveryStep(t *testing.T, h *harness) {
	var want []*raft.Log
	rng := rand.New(rand.NewPCG(1, 2))
	next := uint64(1)
	for step := range 60 {
		term := uint64(step + 1)
		switch {
		case len(want) > 5 && rng.IntN(3) == 0:
			cut := 1 + rng.IntN(len(want)-1)
			if rng.IntN(2) == 0 {
				h.mustDelete(t, want[cut].Index, want[len(want)-1].Index)
				next = want[cut].Index
				want = want[:cut:cut]
			} else {
				h.mustDelete(t, want[0].Index, want[cut-1].Index)
				want = want[cut:]
			}
		default:
			batch := Entries(next, next+uint64(rng.IntN(5)), term)
			h.mustStore(t, batch...)
			want = append(want, batch...)
			next += uint64(len(batch))
		}
		h.reopen(t)
		Check(t, h, want)
	}
}

// testModel compares random operations with a slice.
func testModel(t *testing.T, h *harness) {
	runs := 0
	rapid.Check(t, func(rt *rapid.T) {
		if runs++; runs > 25 {
			return // each operation syncs a disk
		}
		h.close(t)
		if err := os.RemoveAll(h.dir); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(h.dir, 0o700); err != nil {
			t.Fatal(err)
		}
		h.open(t)
		var want []*raft.Log
		next, term := uint64(1), uint64(1)
		rt.Repeat(map[string]func(*rapid.T){
			"append": func(rt *rapid.T) {
				if len(want) == 0 {
					next += rapid.Uint64Range(0, 3).Draw(rt, "skip")
				}
				batch := Entries(next, next+rapid.Uint64Range(0, 6).Draw(rt, "more"), term)
				if err := h.StoreLogs(batch); err != nil {
					rt.Fatal(err)
				}
				want = append(want, batch...)
				next += uint64(len(batch))
				term++
			},
			"suffix": func(rt *rapid.T) {
				if len(want) == 0 {
					return
				}
				cut := rapid.IntRange(0, len(want)-1).Draw(rt, "cut")
				if err := h.DeleteRange(want[cut].Index, next-1); err != nil {
					rt.Fatal(err)
				}
				next = want[cut].Index
				want = want[:cut:cut]
			},
			"prefix": func(rt *rapid.T) {
				if len(want) == 0 {
					return
				}
				cut := rapid.IntRange(1, len(want)).Draw(rt, "cut")
				if err := h.DeleteRange(0, want[cut-1].Index); err != nil {
					rt.Fatal(err)
				}
				want = want[cut:]
			},
			"reopen": func(*rapid.T) { h.reopen(t) },
			"":       func(*rapid.T) { Check(t, h, want) },
		})
	})
}

// testReadersBesideWriters is for the race detector: readers see each entry
// wholly or not at all while appends, truncations and votes go on.
func testReadersBesideWriters(t *testing.T, h *harness) {
	next, first := uint64(1), uint64(1)
	for round := range uint64(40) {
		var wg sync.WaitGroup
		for seed := range uint64(3) {
			wg.Go(func() { readSome(t, h, rand.New(rand.NewPCG(seed, round))) })
		}
		wg.Go(func() {
			if err := h.SetUint64([]byte("CurrentTerm"), round); err != nil {
				t.Errorf("SetUint64: %v", err)
			}
		})
		if err := h.StoreLogs(Entries(next, next+9, round+1)); err != nil {
			t.Errorf("StoreLogs: %v", err)
		}
		next += 10
		var err error
		switch round % 5 {
		case 3:
			err = h.DeleteRange(next-4, next-1)
			next -= 4
		case 4:
			err = h.DeleteRange(first, first+14)
			first += 15
		}
		if err != nil {
			t.Errorf("DeleteRange: %v", err)
		}
		wg.Wait()
		if t.Failed() {
			return
		}
	}
}

// readSome reads entries anywhere in the log.
func readSome(t *testing.T, s logstore.Store, rng *rand.Rand) {
	for range 40 {
		first, err := s.FirstIndex()
		if err != nil {
			t.Errorf("FirstIndex: %v", err)
			return
		}
		last, err := s.LastIndex()
		if err != nil {
			t.Errorf("LastIndex: %v", err)
			return
		}
		if first == 0 || last < first {
			continue
		}
		i := first + rng.Uint64N(last-first+1)
		var l raft.Log
		err = s.GetLog(i, &l)
		if errors.Is(err, raft.ErrLogNotFound) {
			continue // truncated meanwhile
		}
		if err != nil {
			t.Errorf("GetLog(%d): %v", i, err)
			return
		}
		if want := Entry(i, l.Term); l.Index != i || string(l.Data) != string(want.Data) {
			t.Errorf("entry %d reads as index %d, %q", i, l.Index, l.Data)
			return
		}
	}
}

// testCloseBesideCalls closes under running calls: each ends, with success or
// ErrClosed, and what was acknowledged is there.
func testCloseBesideCalls(t *testing.T, h *harness) {
	acked := uint64(0)
	for range 5 {
		var wg sync.WaitGroup
		started := make(chan struct{}) // closed when an append was acknowledged, or failed
		wg.Go(func() {
			once := sync.OnceFunc(func() { close(started) })
			defer once()
			for {
				err := h.StoreLogs(Entries(acked+1, acked+1, 1))
				if errors.Is(err, logstore.ErrClosed) {
					return
				}
				if err != nil {
					t.Errorf("StoreLogs: %v", err)
					return
				}
				acked++
				once()
			}
		})
		for range 2 {
			wg.Go(func() {
				for {
					last, err := h.LastIndex()
					if err == nil && last > 0 {
						err = h.GetLog(last, new(raft.Log))
					}
					if errors.Is(err, logstore.ErrClosed) {
						return
					}
					if err != nil {
						t.Errorf("read: %v", err)
						return
					}
				}
			})
		}
		<-started
		h.close(t)
		wg.Wait()
		h.open(t)
		Check(t, h, Entries(1, acked, 1))
	}
}

// testRaft runs a raft of one server on the store, restarts it and looks
// whether it still knows its term and log.
func testRaft(t *testing.T, h *harness) {
	config := raft.DefaultConfig()
	config.LocalID = "a"
	config.HeartbeatTimeout = 50 * time.Millisecond
	config.ElectionTimeout = 50 * time.Millisecond
	config.LeaderLeaseTimeout = 50 * time.Millisecond
	config.Logger = hclog.NewNullLogger()
	snaps := raft.NewInmemSnapshotStore()

	if known, err := raft.HasExistingState(h, h, snaps); err != nil || known {
		t.Fatalf("a new store has state: %v, %v", known, err)
	}
	var term, last uint64
	for start := range 2 {
		addr, trans := raft.NewInmemTransport("a")
		if start == 0 {
			if err := raft.BootstrapCluster(config, h, h, snaps, trans, raft.Configuration{
				Servers: []raft.Server{{ID: "a", Address: addr}},
			}); err != nil {
				t.Fatal(err)
			}
		}
		r, err := raft.NewRaft(config, nopFSM{}, h, h, snaps, trans)
		if err != nil {
			t.Fatal(err)
		}
		if r.LastIndex() < last || r.CurrentTerm() < term {
			t.Fatalf("restarted at index %d, term %d; stopped at %d, %d", r.LastIndex(), r.CurrentTerm(), last, term)
		}
		for !<-r.LeaderCh() { //nolint:revive // waits until it leads
		}
		for range 20 {
			if err := r.Apply([]byte("x"), 10*time.Second).Error(); err != nil {
				t.Fatal(err)
			}
		}
		last, term = r.LastIndex(), r.CurrentTerm()
		if err := r.Shutdown().Error(); err != nil {
			t.Fatal(err)
		}
		h.reopen(t)
	}
	if known, err := raft.HasExistingState(h, h, snaps); err != nil || !known {
		t.Fatalf("a used store has no state: %v, %v", known, err)
	}
}

type nopFSM struct{ raft.FSM }

func (nopFSM) Apply(*raft.Log) any { return nil }
