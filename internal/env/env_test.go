// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package env

import (
	"errors"
	"testing"

	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
)

type opened struct{ platform.Platform }

// TestOpen: whoever opens a place over SSH gets the same platform and its connections;
// what failed is tried again.
func TestOpen(t *testing.T) {
	calls, failure := 0, error(nil)
	e := &Env{SSH: func(map[string]Machine) (platform.Platform, error) {
		calls++
		return &opened{}, failure
	}}
	open := func(text string) platform.Platform {
		t.Helper()
		l, err := ParseLocation(text)
		if err != nil {
			t.Fatal(err)
		}
		p, err := e.Open(l)
		if !errors.Is(err, failure) {
			t.Fatal(err)
		}
		return p
	}
	failure = ErrUnknown
	open("ssh:a=ops@10.0.0.1")
	failure = nil
	first := open("ssh:a=ops@10.0.0.1")
	if again := open("ssh:a=ops@10.0.0.1:22"); again != first || calls != 2 {
		t.Errorf("opened %d times", calls)
	}
	if other := open("ssh:a=root@10.0.0.1"); other == first || calls != 3 {
		t.Errorf("another user shares the connections; opened %d times", calls)
	}
}
