// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package vfstest

import (
	"slices"
	"sync"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs"
)

// A Stall is a disk that hangs: calls that match a Hang wait until it is
// released, as a process in D state does. Safe for concurrent use.
type Stall struct {
	*wrapper
	// Latency, where not nil, says how long a call takes besides; the caller
	// sleeps that long first. Set it before the first call.
	Latency func(Op) time.Duration

	mu    sync.Mutex
	hangs []*Hang // that are not released
}

// NewStall returns a disk that is well, over inner.
func NewStall(inner vfs.FS) *Stall {
	s := &Stall{}
	s.wrapper = &wrapper{inner: inner, around: s.around}
	return s
}

// Moment is when a hung call takes effect.
type Moment int

const (
	// Before means that a hung call has not happened until it is released, and
	// then happens.
	Before Moment = iota
	// After means that a hung call has happened, and its answer hangs.
	After
)

// A Hang holds the calls that match.
type Hang struct {
	s      *Stall
	match  Match
	moment Moment

	change   *sync.Cond // with the lock of s
	released bool
	blocked  []Op // calls that wait now
}

// Hang begins to hold the calls that match. Those that are under way finish.
func (s *Stall) Hang(m Match, at Moment) *Hang {
	h := &Hang{s: s, match: m, moment: at, change: sync.NewCond(&s.mu)}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hangs = append(s.hangs, h)
	return h
}

// Release lets go of all calls that h holds and holds no more. Calls that were
// held Before happen now, in no certain order, with the result of now: a file
// may be gone. Release does not wait for them.
func (h *Hang) Release() {
	h.s.mu.Lock()
	defer h.s.mu.Unlock()
	h.releaseLocked()
	h.s.hangs = slices.DeleteFunc(h.s.hangs, func(o *Hang) bool { return o == h })
}

func (h *Hang) releaseLocked() {
	h.released = true
	h.change.Broadcast()
}

// Release releases everything.
func (s *Stall) Release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.hangs {
		h.releaseLocked()
	}
	s.hangs = nil
}

// Blocked returns the calls that h holds, in the order of their arrival.
func (h *Hang) Blocked() []Op {
	h.s.mu.Lock()
	defer h.s.mu.Unlock()
	return slices.Clone(h.blocked)
}

// Wait returns when h holds at least n calls, or was released.
func (h *Hang) Wait(n int) {
	h.s.mu.Lock()
	defer h.s.mu.Unlock()
	for len(h.blocked) < n && !h.released {
		h.change.Wait()
	}
}

func (s *Stall) around(op Op, _ vfs.File, do func(int) error) error {
	if s.Latency != nil {
		if d := s.Latency(op); d > 0 {
			time.Sleep(d)
		}
	}
	s.pass(op, Before)
	err := do(all)
	s.pass(op, After)
	return err
}

// pass waits as long as any hang of that moment holds op.
func (s *Stall) pass(op Op, at Moment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		i := slices.IndexFunc(s.hangs, func(h *Hang) bool { return h.moment == at && h.match.matches(op) })
		if i < 0 {
			return
		}
		h := s.hangs[i]
		h.blocked = append(h.blocked, op)
		h.change.Broadcast()
		for !h.released {
			h.change.Wait()
		}
		j := slices.Index(h.blocked, op)
		h.blocked = slices.Delete(h.blocked, j, j+1)
	}
}
