// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package vfs

import (
	"strings"
	"testing"
)

const procLocks = `1: POSIX  ADVISORY  READ  512 08:01:77 128 128
2: FLOCK  ADVISORY  WRITE 4711 08:01:42 0 EOF
2: -> FLOCK  ADVISORY  WRITE 4712 08:01:42 0 EOF
3: POSIX  ADVISORY  WRITE 99 08:01:43 0 EOF
4: FLOCK  ADVISORY  WRITE -1 00:1f:44 0 EOF
5: FLOCK  ADVISORY
`

func TestFindHolder(t *testing.T) {
	for _, tc := range []struct {
		inode uint64
		want  int
	}{
		{42, 4711},
		{43, 0}, // not a flock
		{44, 0}, // of another pid namespace
		{2, 0},  // no part of a number
		{45, 0},
	} {
		if got := findHolder(strings.NewReader(procLocks), tc.inode); got != tc.want {
			t.Errorf("inode %d: process %d, want %d", tc.inode, got, tc.want)
		}
	}
}
