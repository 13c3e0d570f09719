// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package vfstest

import (
	"fmt"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs"
)

// A Point is a moment at which the power is cut.
type Point struct {
	// Step is the number of changes before it; Op the change that is next, its
	// Kind 0 at the end.
	Step   int
	Op     Op
	Policy Policy
}

// String says which point it is, for messages.
func (p Point) String() string {
	if p.Op.Kind == 0 {
		return fmt.Sprintf("power cut at the end, %v", p.Policy)
	}
	return fmt.Sprintf("power cut at step %d before %v, %v", p.Step, p.Op, p.Policy)
}

// CrashPoints runs a program over mem and calls check with what a power cut
// before each of its changes leaves, and one at the end: once with LoseAll, once
// with KeepAll and once for each of tears seeds.
//
// check runs in the goroutine that is about to make the change, and no other
// change begins meanwhile: what run has had acknowledged so far can be read from
// variables that it sets. Goroutines that run starts must have ended when it
// returns. The result is run's.
func CrashPoints(mem *Mem, tears int, run func(vfs.FS) error, check func(Point, *Mem)) error {
	step := 0
	at := func(n int, op Op) {
		step = n + 1
		policies := []Policy{LoseAll(), KeepAll()}
		for seed := range tears {
			policies = append(policies, Tear(uint64(n*tears+seed)))
		}
		for _, p := range policies {
			check(Point{Step: n, Op: op, Policy: p}, mem.CrashClone(p))
		}
	}
	faults := NewFaults(mem)
	faults.OnChange(at)
	err := run(faults)
	faults.OnChange(nil)
	at(step, Op{})
	return err
}
