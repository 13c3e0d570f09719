// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Package rate measures how much a disk takes of what a log writes to it, and
// says whether a side disk is enough beside a data disk: a tenth of its IOPS
// and of its bandwidth.
//
// It writes for [Time] each: 4 KiB and a wait until that is durable, again and
// again, and then large pieces. The caller decides when: on a disk that is in
// use it takes from others, and what it measures is what they leave.
//
// On disk: a file of 64 MiB at most without a name (O_TMPFILE), which is gone
// however the process ends. A disk that hangs holds the caller.
//
// Nothing uses it yet: the verdict is to come into a node's status.
package rate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Time is how long each of the two measurements takes.
const Time = 2 * time.Second

const (
	fileBytes  = 64 << 20
	smallWrite = 4 << 10
	largeWrite = 1 << 20
)

// Rate is what a disk takes.
type Rate struct {
	// IOPS are writes of 4 KiB a second, each durable before the next.
	IOPS float64 `json:"iops"`
	// Bandwidth is in bytes a second.
	Bandwidth float64 `json:"bandwidth"`
}

// Measure measures the disk that the directory dir lies on.
func Measure(ctx context.Context, dir string) (Rate, error) { return measure(ctx, dir, Time) }

func measure(ctx context.Context, dir string, long time.Duration) (r Rate, err error) {
	f, err := open(dir)
	if err != nil {
		return Rate{}, fmt.Errorf("measuring %s: %w", dir, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := unix.Fallocate(int(f.Fd()), 0, 0, fileBytes); err != nil {
		return Rate{}, fmt.Errorf("measuring %s: room for %d bytes: %w", dir, fileBytes, err)
	}
	page, err := unix.Mmap(-1, 0, largeWrite, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON) // aligned, for O_DIRECT
	if err != nil {
		return Rate{}, fmt.Errorf("measuring %s: %w", dir, err)
	}
	defer func() { err = errors.Join(err, unix.Munmap(page)) }()
	for i := range page {
		page[i] = byte(i * 7) // no zeroes, which some disks do not write
	}
	// Once without a clock: blocks that were never written cost more.
	if _, err := writes(ctx, f, page, 0); err != nil {
		return Rate{}, fmt.Errorf("measuring %s: %w", dir, err)
	}
	if r.IOPS, err = writes(ctx, f, page[:smallWrite], long); err != nil {
		return Rate{}, fmt.Errorf("measuring %s: %w", dir, err)
	}
	large, err := writes(ctx, f, page, long)
	if err != nil {
		return Rate{}, fmt.Errorf("measuring %s: %w", dir, err)
	}
	r.Bandwidth = large * largeWrite
	return r, nil
}

// open makes a file that no name leads to. Past the page cache where the file
// system can do that, as a tmpfs cannot.
func open(dir string) (*os.File, error) {
	const flags = unix.O_RDWR | unix.O_TMPFILE | unix.O_CLOEXEC
	fd, err := unix.Open(dir, flags|unix.O_DIRECT, 0o600)
	if errors.Is(err, unix.EINVAL) {
		fd, err = unix.Open(dir, flags, 0o600)
	}
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), dir), nil
}

// writes returns how many writes a second f takes, from its beginning again
// once it is full; with a time of 0 it fills it once.
func writes(ctx context.Context, f *os.File, b []byte, long time.Duration) (float64, error) {
	n, begun := 0, time.Now()
	for {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		if _, err := f.WriteAt(b, int64(n)*int64(len(b))%fileBytes); err != nil {
			return 0, err
		}
		if err := unix.Fdatasync(int(f.Fd())); err != nil {
			return 0, err
		}
		n++
		past := time.Since(begun)
		if long == 0 && n*len(b) >= fileBytes || long > 0 && past >= long {
			return float64(n) / past.Seconds(), nil
		}
	}
}
