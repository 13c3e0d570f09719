// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package agentapi

import (
	"math"
	"testing"
)

func TestParseSize(t *testing.T) {
	for in, want := range map[string]int64{
		"0": 0, "4096": 4096, "256KiB": 256 << 10, "50mib": 50 << 20, "1.5 GiB": 3 << 29, "25KB": 25000, "10MB": 10_000_000, "3B": 3, "1TiB": 1 << 40,
	} {
		if got, err := ParseSize(in); err != nil || got != want {
			t.Errorf("%q: %d %v, want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"", "KiB", "-1MiB", "1e3", "0x10", "1 2KiB", "1.2.3MiB", "9999999TiB", "12 parsecs", "NaN", "Inf", "+5", "1_000"} {
		if got, err := ParseSize(in); err == nil {
			t.Errorf("%q is %d", in, got)
		}
	}
}

func FuzzParseSize(f *testing.F) {
	for _, s := range []string{"256KiB", "1.5mib", ".", "9223372036854775807", "9.3e18"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if n, err := ParseSize(s); n < 0 || n == math.MaxInt64 || err != nil && n != 0 {
			t.Fatalf("%q: %d %v", s, n, err)
		}
	})
}
