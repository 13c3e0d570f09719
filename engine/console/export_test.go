// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package console

import (
	"testing"
	"time"
)

// Boot is what a page knows the process by.
func (c *Console) Boot() string { return c.boot }

// StartFixture starts a console on a state of fixtures, with hours of history.
func StartFixture(t *testing.T, name string) *Console {
	t.Helper()
	for _, f := range fixtures() {
		if f.name == name {
			f.shift(time.Now())
			c := Start(Config{Source: f})
			c.Close() // the history stays as it is
			backfill(c, f)
			return c
		}
	}
	t.Fatalf("no fixture %q", name)
	return nil
}
