// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package failover

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

// TestHistories runs random histories against the real log, in virtual time:
// appends, conflicting rewrites, truncations and votes while the primary hangs,
// comes back, fails, with calls that land late or landed before they hung, and
// kills at any moment. After each restart the log must be what a prefix of the
// history made, with everything acknowledged in it.
//
// Seen to fail with replay ignoring the fence (9 of 10 histories) and with
// truncations handed to the primary before the fence (1 of 20; this test found
// that rule). The windows of the other rules are too narrow for it: model_test.go
// opens them one by one.
func TestHistories(t *testing.T) {
	n := uint64(300)
	if testing.Short() {
		n = 60
	}
	for seed := range n {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { runHistory(t, seed) })
		})
	}
}

// image is a log and its stable store as text.
type image struct {
	first uint64
	logs  []string
	term  uint64
}

func (i image) String() string {
	return fmt.Sprintf("%d:%s term %d", i.first, strings.Join(i.logs, ","), i.term)
}

// A history is what was asked of the log, and how much of it was acknowledged.
type history struct {
	mu     sync.Mutex
	images []image // after each operation; images[0] is the start
	acked  int
	life   int // restarts so far: what a dead log still answers counts no more
}

func (h *history) now() image { return h.images[len(h.images)-1] }

func runHistory(t *testing.T, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 7))
	r := newRig(t)
	defer r.close()
	h := &history{images: []image{{first: 1}}}
	inFlight := newInFlight()
	term := uint64(1)
	for step := range 60 {
		switch rnd.IntN(12) {
		case 0, 1, 2, 3, 4:
			h.append(r, rnd, term, step, inFlight)
		case 5:
			term++
			h.set(r, term, inFlight)
		case 6:
			h.truncate(r, rnd, inFlight)
		case 7:
			r.primary.thaw()
			r.primary.hang(rnd.IntN(2) == 0)
		case 8, 9:
			r.primary.thaw()
		case 10:
			if rnd.IntN(3) == 0 {
				r.primary.mu.Lock()
				r.primary.fail = append(r.primary.fail, fmt.Errorf("input/output error"))
				r.primary.mu.Unlock()
			}
		case 11:
			// A caller may be waiting, or have just been answered.
			time.Sleep(time.Duration(rnd.IntN(30)) * time.Millisecond)
			h.kill(t, r, seed, step)
			inFlight = newInFlight()
		}
		if rnd.IntN(3) > 0 {
			time.Sleep(time.Duration(rnd.IntN(40)) * time.Millisecond)
			synctest.Wait()
		}
		if rnd.IntN(20) == 0 {
			time.Sleep(5 * time.Second)
		}
	}
	h.kill(t, r, seed, 60)
}

// do runs one operation from a goroutine of its own, after the one before it
// was acknowledged: raft's main loop.
func (h *history) do(inFlight *sync.WaitGroup, next image, call func() error) {
	inFlight.Wait()
	h.mu.Lock()
	h.images = append(h.images, next)
	at, life := len(h.images)-1, h.life
	h.mu.Unlock()
	inFlight.Go(func() {
		err := call()
		h.mu.Lock()
		defer h.mu.Unlock()
		if err == nil && life == h.life {
			h.acked = at
		}
	})
}

func (h *history) append(r *rig, rnd *rand.Rand, term uint64, step int, inFlight *sync.WaitGroup) {
	inFlight.Wait()
	at := h.now()
	keep := len(at.logs)
	if keep > 0 && rnd.IntN(3) == 0 {
		keep -= rnd.IntN(min(keep, 3)) // a lower term may replace a higher one: Figure 8
	}
	next := image{first: at.first, term: at.term, logs: append([]string(nil), at.logs[:keep]...)}
	if keep < len(at.logs) {
		// The log truncates first, by an operation of its own, as raft does.
		h.mu.Lock()
		h.images = append(h.images, image{first: at.first, term: at.term, logs: slices.Clone(next.logs)})
		h.mu.Unlock()
	}
	var logs []*raft.Log
	for i := range 1 + rnd.IntN(3) {
		text := fmt.Sprintf("%d.%d", step, i)
		next.logs = append(next.logs, text)
		logs = append(logs, entry(at.first+uint64(keep+i), 1+rnd.Uint64N(term), text))
	}
	log := r.log
	h.do(inFlight, next, func() error { return log.StoreLogs(logs) })
}

func (h *history) set(r *rig, term uint64, inFlight *sync.WaitGroup) {
	inFlight.Wait()
	next := h.now()
	next.term = term
	log := r.log
	h.do(inFlight, next, func() error { return log.SetUint64([]byte("CurrentTerm"), term) })
}

func (h *history) truncate(r *rig, rnd *rand.Rand, inFlight *sync.WaitGroup) {
	inFlight.Wait()
	at := h.now()
	if len(at.logs) < 2 {
		return
	}
	keep := len(at.logs) - 1 - rnd.IntN(len(at.logs)-1)
	next := image{first: at.first, term: at.term, logs: at.logs[:keep:keep]}
	log, low, high := r.log, at.first+uint64(keep), at.first+uint64(len(at.logs))-1
	h.do(inFlight, next, func() error { return log.DeleteRange(low, high) })
}

// kill restarts the log and judges what it finds. The history goes on from there.
func (h *history) kill(t *testing.T, r *rig, seed uint64, step int) {
	t.Helper()
	h.mu.Lock()
	acked := h.acked
	h.life++
	h.mu.Unlock()
	r.crash()
	got := read(t, r)
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, want := range h.images[acked:] {
		if want.String() == got.String() || len(want.logs) == 0 && len(got.logs) == 0 && want.term == got.term {
			h.images, h.acked = []image{want}, 0
			return
		}
	}
	t.Fatalf("seed %d, step %d: the restarted log is %v\nacknowledged: %v\nhistory from there: %v", seed, step, got, h.images[acked], h.images[acked:])
}

func read(t *testing.T, r *rig) image {
	t.Helper()
	got, err := imageOf(r.log)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func newInFlight() *sync.WaitGroup { return &sync.WaitGroup{} }
