// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package rate

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestMeasure(t *testing.T) {
	dir := t.TempDir()
	r, err := Measure(t.Context(), dir, Options{Time: 20 * time.Millisecond, Bytes: 3 << 20})
	if errors.Is(err, unix.EOPNOTSUPP) {
		t.Skip("the temporary directory's file system has no files without a name: ", err)
	}
	if err != nil || r.IOPS <= 0 || r.Bandwidth <= 0 {
		t.Errorf("%+v, %v", r, err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Measure(ctx, dir, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want context.Canceled", err)
	}
	if _, err := Measure(t.Context(), filepath.Join(dir, "none"), Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v, want os.ErrNotExist", err)
	}
}

// A slow disk takes no longer for being measured with a large file: the writes before
// the clock end with their time, and what was not written then is not measured. Seen
// to fail with the time left out of the first writes: it takes 64 of them.
func TestSlowDisk(t *testing.T) {
	dir := t.TempDir()
	f, err := open(dir)
	if err != nil {
		t.Skip("the temporary directory's file system has no files without a name: ", err)
	}
	defer func() { _ = f.Close() }() // it has no name
	size, err := room(f, 64<<20)
	if errors.Is(err, ErrNoRoom) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	got, err := writes(t.Context(), f, make([]byte, largeWrite), size, 1, true) // no disk is faster than that
	if err != nil || got.n != 1 {
		t.Errorf("%d writes, %v", got.n, err)
	}
}

func TestJudge(t *testing.T) {
	data := Rate{IOPS: 5000, Bandwidth: 200e6}
	for _, tc := range []struct {
		side   Rate
		enough bool
		why    string
	}{
		{Rate{500, 20e6}, true, "the side disk takes 500 writes and 20.0 MB a second, the data disk 5000 and 200.0 MB: a tenth is enough"},
		{Rate{499, 300e6}, false, "the side disk takes 499 writes a second, the data disk 5000: a log that fails over would be slower than a tenth"},
		{Rate{9000, 19e6}, false, "the side disk takes 19.0 MB a second, the data disk 200.0 MB: a log that fails over would be slower than a tenth"},
	} {
		if v := Judge(data, tc.side); v.Enough != tc.enough || v.Why != tc.why {
			t.Errorf("%+v: %v, %s", tc.side, v.Enough, v.Why)
		}
	}
}
