// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package vfstest

import (
	"io"
	"slices"
	"sync"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs"
)

// Fault says which calls fail, and how. Errors are given as the system gives
// them: syscall.EIO, syscall.ENOSPC, syscall.EROFS.
type Fault struct {
	Match
	// Err is what the call returns; nil: io.ErrShortWrite, for use with Short.
	Err error
	// Skip is how many calls that match go well before.
	Skip int
	// Times is how many calls fail; 0: all from then on.
	Times int
	// Short lets the first Short bytes of a failing Write land; other failing
	// calls, and a Write with Short 0, change nothing.
	Short int
	// Lost, with a failing SyncData on a Mem: what was not synced never will be,
	// though it reads as written and the next sync succeeds. So does Linux: a
	// page whose write-back failed is clean from then on.
	Lost bool
}

// Faults is a disk that fails on demand, and keeps a trace of the calls. Safe
// for concurrent use.
type Faults struct {
	*wrapper

	mu struct {
		sync.Mutex
		faults []*Injected
		trace  []string
		traced Match
		tracer bool
	}
	// step serialises the calls of hook.
	step struct {
		sync.Mutex
		n    int
		hook func(step int, op Op)
	}
}

// NewFaults returns a disk without a fault, over inner.
func NewFaults(inner vfs.FS) *Faults {
	f := &Faults{}
	f.wrapper = &wrapper{inner: inner, around: f.around}
	return f
}

// Injected is a fault that was added.
type Injected struct {
	f     *Faults
	fault Fault
	seen  int
	hits  int
}

// Add adds a fault. Of several that match a call the oldest one that is not
// used up decides; the younger ones do not count it.
func (f *Faults) Add(fault Fault) *Injected {
	in := &Injected{f: f, fault: fault}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.faults = append(f.mu.faults, in)
	return in
}

// Hits is how many calls it has failed.
func (in *Injected) Hits() int {
	in.f.mu.Lock()
	defer in.f.mu.Unlock()
	return in.hits
}

// Remove ends it.
func (in *Injected) Remove() {
	in.f.mu.Lock()
	defer in.f.mu.Unlock()
	in.f.mu.faults = slices.DeleteFunc(in.f.mu.faults, func(o *Injected) bool { return o == in })
}

// Trace begins to keep the calls that match, one line each, in the order in
// which they began; a failed one with its error.
func (f *Faults) Trace(m Match) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.tracer, f.mu.traced = true, m
}

// TakeTrace returns the lines since the last TakeTrace.
func (f *Faults) TakeTrace() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	lines := f.mu.trace
	f.mu.trace = nil
	return lines
}

// OnChange has hook called before each call that is one of Changes, with its
// number, from 0. One at a time: hook must not call f. Set it before the first call.
func (f *Faults) OnChange(hook func(step int, op Op)) {
	f.step.Lock()
	defer f.step.Unlock()
	f.step.hook = hook
}

func (f *Faults) around(op Op, inner vfs.File, do func(int) error) error {
	if op.Kind&Changes != 0 {
		f.announce(op)
	}
	fault, failing := f.decide(op)
	if !failing {
		return do(all)
	}
	err := fault.Err
	if err == nil {
		err = io.ErrShortWrite
	}
	if op.Kind == Write && fault.Short > 0 {
		if werr := do(fault.Short); werr != nil {
			return werr
		}
	}
	if op.Kind == SyncData && fault.Lost {
		loseUnsynced(inner)
	}
	if op.Kind == Close {
		_ = do(all) // the descriptor is gone, whatever close says
	}
	return err
}

func (f *Faults) announce(op Op) {
	f.step.Lock()
	defer f.step.Unlock()
	if f.step.hook != nil {
		f.step.hook(f.step.n, op)
	}
	f.step.n++
}

// decide counts and traces op.
func (f *Faults) decide(op Op) (fault Fault, failing bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, in := range f.mu.faults {
		if !in.fault.matches(op) || in.fault.Times > 0 && in.hits == in.fault.Times {
			continue
		}
		if in.seen++; in.seen > in.fault.Skip {
			in.hits++
			fault, failing = in.fault, true
		}
		break
	}
	if f.mu.tracer && f.mu.traced.matches(op) {
		line := op.String()
		if failing {
			line += ": fails"
			if fault.Err != nil {
				line += ": " + fault.Err.Error()
			}
		}
		f.mu.trace = append(f.mu.trace, line)
	}
	return fault, failing
}

// Forgetful is a program that forgets calls: those that match do nothing and
// succeed. A test that is to notice a missing sync is shown to by taking it away.
// Only calls without a result can be forgotten.
func Forgetful(inner vfs.FS, m Match) vfs.FS {
	return &wrapper{inner: inner, around: func(op Op, _ vfs.File, do func(int) error) error {
		if op.Kind&(Rename|Remove|MkdirAll|Allocate|Syncs) != 0 && m.matches(op) {
			return nil
		}
		return do(all)
	}}
}
