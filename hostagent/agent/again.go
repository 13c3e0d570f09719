// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package agent

import (
	"context"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/mountinfo"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
)

// A node converges again while something keeps it from its spec that may pass, and when
// one of its mounts is not there any more: a disk that went away takes its mount with it,
// and systemd mounts it by itself at boot alone. A whole machine looks at all of its disks
// each time, and looks less and less often; whatever was sent is tried at once.

// pause is how long a machine rests after the n-th convergence in a row that left something.
func pause(n int) time.Duration {
	d := time.Duration(0)
	for ; n > 1 && d < againMost; n-- {
		d = max(2*d, againAfter)
	}
	return min(d, againMost)
}

// dueLocked reports whether there is to be a convergence that nobody asked for. unmounted
// says that a mount is missing.
func (a *Agent) dueLocked(unmounted bool) bool {
	switch {
	case a.mu.spec == nil:
		return false
	case !a.opts.Systemd:
		return a.mu.again || !a.sup.State().Ready
	}
	return (a.mu.again || unmounted || !a.sup.State().Ready) && time.Since(a.mu.ended) >= pause(a.mu.left)
}

// endedLocked takes note of how a convergence ended.
func (a *Agent) endedLocked(c *convergence, again bool) {
	a.mu.again, a.mu.ended = again, time.Now()
	switch {
	case !again || c.asked:
		a.mu.left = 0
	default:
		a.mu.left++
	}
}

// unmounted reports whether the disk of a store of the spec is not mounted, and whether the
// side's is not. It asks the kernel for its table and touches no disk.
func (a *Agent) unmounted(spec *agentapi.Spec) (store, side bool) {
	if !a.opts.Systemd || spec == nil {
		return false, false
	}
	table, err := mountinfo.Read()
	if err != nil {
		return false, false
	}
	return missing(table, spec)
}

func missing(table mountinfo.Table, spec *agentapi.Spec) (store, side bool) {
	for _, w := range wants(spec, storesRecord{}) {
		if m, ok := table.Of(w.Mount); w.Mount == "" || ok && m.Point == w.Mount {
			continue
		}
		if w.Field == sideField {
			side = true
		} else {
			store = true
		}
	}
	return store, side
}

// reload has a running engine take over what it can of a new spec. It says no while the
// engine does not answer: before it listens for the signal, that would end it. One that
// does not run, or has yet to read its configuration, needs none.
func (a *Agent) reload(ctx context.Context, spec *agentapi.Spec) (told bool, err error) {
	p := a.sup.State().Process
	if p == nil {
		return true, nil
	}
	if _, _, err := a.ask(ctx, a.runs(p), spec); err != nil {
		return false, nil //nolint:nilerr // it starts, or hangs: it is told another time
	}
	return true, a.sup.Hangup()
}
