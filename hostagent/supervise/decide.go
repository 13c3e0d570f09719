// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package supervise

import "time"

// Times of the supervision.
const (
	// FirstDelay is the wait before the first start after an exit that nobody asked for.
	FirstDelay = 200 * time.Millisecond
	// LastDelay is the longest such wait, reached by doubling.
	LastDelay = 10 * time.Second
	// Well is how long an engine has to run for its next exit to count as the first.
	Well = 20 * time.Second
)

// facts are all that a decision rests on.
type facts struct {
	now     time.Time
	wanted  bool // somebody wants an engine
	ready   bool // its configuration and directories are in place
	present bool // there is one, alive or held in the kernel
	// replace is set while the present one shall give way to a new one.
	replace    bool
	terminated time.Time // when it was asked to stop, zero before
	killed     bool      // it was sent SIGKILL
	failures   int       // exits in a row that nobody asked for
	exited     time.Time // when the last of them was
	stopBound  time.Duration
}

type action int

const (
	rest action = iota
	launch
	terminate
	kill
)

// decide returns what to do now, and when to look again where nothing may
// happen by itself; zero is never.
func decide(f facts) (action, time.Time) {
	if f.present {
		switch {
		case f.wanted && !f.replace:
			return rest, time.Time{}
		case f.terminated.IsZero():
			return terminate, f.now.Add(f.stopBound)
		case f.killed: // the kernel has it; a second signal changes nothing
			return rest, time.Time{}
		case f.now.Before(f.terminated.Add(f.stopBound)):
			return rest, f.terminated.Add(f.stopBound)
		default:
			return kill, time.Time{}
		}
	}
	if !f.wanted || !f.ready {
		return rest, time.Time{}
	}
	if at := f.exited.Add(delay(f.failures)); f.failures > 0 && f.now.Before(at) {
		return rest, at
	}
	return launch, time.Time{}
}

// delay is the wait after the n-th exit in a row.
func delay(n int) time.Duration {
	d := FirstDelay
	for ; n > 1 && d < LastDelay; n-- {
		d *= 2
	}
	return min(d, LastDelay)
}
