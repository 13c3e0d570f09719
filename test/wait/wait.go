// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Package wait waits in tests for what happens outside of the process: on machines, in programs.
package wait

import (
	"testing"
	"time"
)

// Within asks until the answer is yes, and ends the test when it is not after a bound. why, where it is given, says
// in the end why the answer is still no.
func Within(t *testing.T, bound time.Duration, what string, yes func() bool, why ...*string) {
	t.Helper()
	began := time.Now()
	tick := time.NewTicker(300 * time.Millisecond)
	defer tick.Stop()
	for !yes() {
		if time.Since(began) > bound {
			for _, w := range why {
				t.Log(*w)
			}
			t.Fatalf("%s: not after %s", what, bound)
		}
		<-tick.C
	}
	t.Logf("%s: after %s", what, time.Since(began).Round(100*time.Millisecond))
}
