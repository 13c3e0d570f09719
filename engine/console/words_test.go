// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package console

import (
	"math"
	"testing"
	"time"
)

func TestWords(t *testing.T) {
	for _, tc := range []struct{ got, want string }{
		{bytesText(0), "0 B"},
		{bytesText(1023), "1023 B"},
		{bytesText(1024), "1.00 KiB"},
		{bytesText(3<<20 + 200<<10), "3.20 MiB"},
		{bytesText(25 << 30), "25.0 GiB"},
		{bytesText(math.MaxInt64), "8192 PiB"},
		{spanText(0), "0 s"},
		{spanText(999 * time.Millisecond), "999 ms"},
		{spanText(time.Second), "1 s"},
		{spanText(2300 * time.Millisecond), "2.3 s"},
		{spanText(59*time.Second + 999*time.Millisecond), "59 s"},
		{spanText(65 * time.Second), "1 min 5 s"},
		{spanText(2 * time.Hour), "2 h"},
		{spanText(26*time.Hour + 12*time.Minute), "1 d 2 h"},
		{spanText(-1), unknown},
		{agoText(-time.Second), "just now"},
		{agoText(59 * time.Second), "59 s ago"},
		{agoText(47 * time.Hour), "47 h ago"},
		{agoText(49 * time.Hour), "2 d ago"},
		{countText(999), "999"},
		{countText(1284221), "1\u202f284\u202f221"},
		{figure(math.NaN()), unknown},
		{figure(0), "0"},
		{figure(6.4218), "6.42"},
		{figure(201.4), "201"},
		{figure(12345.6), "12\u202f346"},
		{list(nil), ""},
		{list([]string{"a"}), "a"},
		{list([]string{"a", "b", "c"}), "a, b and c"},
	} {
		if tc.got != tc.want {
			t.Errorf("%q, want %q", tc.got, tc.want)
		}
	}
}
