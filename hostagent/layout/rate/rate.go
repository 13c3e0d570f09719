// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Package rate measures how much a disk takes of what a log writes to it, and
// says whether a side disk is enough beside a data disk: a tenth of its IOPS
// and of its bandwidth.
//
// It writes 4 KiB and waits until that is durable, again and again, and then
// large pieces. The caller decides when: on a disk that is in use it takes from
// others, and what it measures is what they leave.
//
// On disk: a file of [Options].Bytes at most without a name (O_TMPFILE), which is gone
// however the process ends. A slow disk takes as long as one write more than it
// is given, three times; one that hangs holds the caller.
package rate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// What is meant where [Options] say nothing.
const (
	DefaultTime  = 2 * time.Second
	DefaultBytes = 64 << 20
)

const (
	smallWrite = 4 << 10
	largeWrite = 1 << 20
	roomShare  = 8 // the file takes an eighth of what is free at most
)

// Options bound a measurement.
type Options struct {
	// Time is how long each of the two measurements takes, and how long blocks are
	// written before them that were never written: those cost more.
	Time time.Duration
	// Bytes is the size of the file, smaller where there is little room.
	Bytes int64
}

// ErrNoRoom is returned, wrapped, where the disk is too full to be measured.
var ErrNoRoom = errors.New("there is too little room to measure")

// Rate is what a disk takes.
type Rate struct {
	// IOPS are writes of 4 KiB a second, each durable before the next.
	IOPS float64 `json:"iops"`
	// Bandwidth is in bytes a second.
	Bandwidth float64 `json:"bandwidth"`
}

// Measure measures the disk that the directory dir lies on.
func Measure(ctx context.Context, dir string, o Options) (r Rate, err error) {
	o.Time, o.Bytes = cmp.Or(o.Time, DefaultTime), cmp.Or(o.Bytes, DefaultBytes)
	fail := func(err error) (Rate, error) { return Rate{}, fmt.Errorf("measuring %s: %w", dir, err) }
	f, err := open(dir)
	if err != nil {
		return fail(err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	size, err := room(f, o.Bytes)
	if err != nil {
		return fail(err)
	}
	page, err := unix.Mmap(-1, 0, largeWrite, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON) // aligned, for O_DIRECT
	if err != nil {
		return fail(err)
	}
	defer func() { err = errors.Join(err, unix.Munmap(page)) }()
	for i := range page {
		page[i] = byte(i * 7) // no zeroes, which some disks do not write
	}
	written, err := writes(ctx, f, page, size, o.Time, true)
	if err != nil {
		return fail(err)
	}
	// What a slow disk did not get written before is left alone.
	size = min(size, int64(written.n)*largeWrite)
	small, err := writes(ctx, f, page[:smallWrite], size, o.Time, false)
	if err != nil {
		return fail(err)
	}
	large, err := writes(ctx, f, page, size, o.Time, false)
	if err != nil {
		return fail(err)
	}
	return Rate{IOPS: small.perSecond(), Bandwidth: large.perSecond() * largeWrite}, nil
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

// room takes up to want bytes for the file and returns how many: whole large writes.
func room(f *os.File, want int64) (int64, error) {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &fs); err != nil {
		return 0, fmt.Errorf("statfs: %w", err)
	}
	free := int64(fs.Bavail) * fs.Frsize
	size := min(want, free/roomShare) / largeWrite * largeWrite
	if size == 0 {
		return 0, fmt.Errorf("%w: %d bytes are free", ErrNoRoom, free)
	}
	if err := unix.Fallocate(int(f.Fd()), 0, 0, size); err != nil {
		return 0, fmt.Errorf("room for %d bytes: %w", size, err)
	}
	return size, nil
}

// taken is how many writes a disk took in which time.
type taken struct {
	n    int
	past time.Duration
}

func (t taken) perSecond() float64 { return float64(t.n) / t.past.Seconds() }

// writes writes to the first size bytes of f for so long, from their beginning again
// once they are full, or with once until then. It is one write at least.
func writes(ctx context.Context, f *os.File, b []byte, size int64, long time.Duration, once bool) (taken, error) {
	n, begun := 0, time.Now()
	for {
		if err := ctx.Err(); err != nil {
			return taken{}, err
		}
		if _, err := f.WriteAt(b, int64(n)*int64(len(b))%size); err != nil {
			return taken{}, err
		}
		if err := unix.Fdatasync(int(f.Fd())); err != nil {
			return taken{}, err
		}
		n++
		if past := time.Since(begun); past >= long || once && int64(n*len(b)) >= size {
			return taken{n, past}, nil
		}
	}
}
