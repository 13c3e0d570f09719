// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/blockdev"
)

// ErrUnsettled is returned where every step was done and yet something is not
// as it should be.
var ErrUnsettled = errors.New("the disks are still not what the spec says")

// Host is the machine that a plan is applied to.
type Host struct {
	Roots blockdev.Roots
	// StateDir holds the lock. Two runs with different ones do not see each
	// other, but for the lock of the device itself.
	StateDir string
	// Mounter mounts, nil for mount(8).
	Mounter Mounter
	// Note is told each step before it is done, nil: nobody is.
	Note func(Step)
	// NoGrow leaves file systems as large as they are.
	NoGrow bool

	// do does a step, nil for the system's tools; tests interrupt here.
	do func(context.Context, *system, Step) error
}

// Dry returns the plan without doing it.
func Dry(ctx context.Context, h Host, s Spec) (Plan, error) {
	if err := s.Validate(); err != nil {
		return Plan{}, err
	}
	m, err := Look(ctx, h.Roots, s)
	if err != nil {
		return Plan{}, err
	}
	plan, err := Make(s, m, uuid.NewString)
	if h.NoGrow {
		plan.Steps = slices.DeleteFunc(plan.Steps, func(s Step) bool { return s.Do == Grow })
	}
	return plan, err
}

// Apply makes the disks what the spec says and returns what it did. After an
// error, and after a kill, it can be called again and goes on. While another
// run is at work it returns [ErrBusy].
func Apply(ctx context.Context, h Host, s Spec) (done Plan, err error) {
	l, err := lock(h.StateDir)
	if err != nil {
		return Plan{}, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	plan, err := Dry(ctx, h, s)
	if err != nil {
		return Plan{}, err
	}
	sys := newSystem(h, l)
	done.Mounts = plan.Mounts
	for _, step := range plan.Steps {
		if h.Note != nil {
			h.Note(step)
		}
		if err := h.step(ctx, sys, step); err != nil {
			return done, fmt.Errorf("%s: %s: %w", step.Field, step, err)
		}
		done.Steps = append(done.Steps, step)
	}
	left, err := Dry(ctx, h, s)
	if err != nil {
		return done, fmt.Errorf("%w: %w", ErrUnsettled, err)
	}
	if len(left.Steps) > 0 {
		return done, fmt.Errorf("%w: %s: still to do: %s", ErrUnsettled, left.Steps[0].Field, left.Steps[0])
	}
	return done, nil
}

func (h Host) step(ctx context.Context, sys *system, s Step) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if h.do != nil {
		return h.do(ctx, sys, s)
	}
	return sys.do(ctx, s)
}
