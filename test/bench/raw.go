// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// raw is what a disk does under one writer that appends a value to a
// preallocated file and waits for fdatasync, again and again: nothing durable
// can be faster with one request at a time.
type raw struct {
	// Zeroed: the file was written once, so that fdatasync has no metadata to
	// commit. Allocated: it was fallocated only, as log segments usually are;
	// the first write to each block converts it, and that is journaled.
	Zeroed    rawResult `json:"zeroed"`
	Allocated rawResult `json:"allocated"`
}

type rawResult struct {
	Appends int64         `json:"appends"`
	P50     time.Duration `json:"p50_ns"`
	P99     time.Duration `json:"p99_ns"`
	Max     time.Duration `json:"max_ns"`
}

// rawFile is large enough for any disk and any duration; appends start over
// at its end.
const rawFile = 64 << 20

func measureRaw(ctx context.Context, dir string, size int, duration time.Duration) (raw, error) {
	var r raw
	var err error
	if r.Zeroed, err = appendLoop(ctx, dir, size, duration/2, true); err == nil {
		r.Allocated, err = appendLoop(ctx, dir, size, duration/2, false)
	}
	if err != nil {
		return raw{}, fmt.Errorf("measuring the bare disk: %w", err)
	}
	return r, nil
}

func appendLoop(ctx context.Context, dir string, size int, duration time.Duration, zeroed bool) (result rawResult, err error) {
	f, err := os.OpenFile(filepath.Join(dir, "raw"), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	if err := syscall.Fallocate(int(f.Fd()), 0, 0, rawFile); err != nil {
		return result, fmt.Errorf("fallocate: %w", err)
	}
	if zeroed {
		zeros := make([]byte, 1<<20)
		for at := int64(0); at < rawFile; at += int64(len(zeros)) {
			if _, err := f.WriteAt(zeros, at); err != nil {
				return result, err
			}
		}
	}
	if err := f.Sync(); err != nil {
		return result, err
	}
	h := hdrhistogram.New(1000, int64(time.Minute), 3)
	value := make([]byte, size)
	fd := int(f.Fd())
	at := int64(0)
	for until := time.Now().Add(duration); time.Now().Before(until) && ctx.Err() == nil; {
		value[0]++
		began := time.Now()
		if _, err := f.WriteAt(value, at); err != nil {
			return result, err
		}
		if err := syscall.Fdatasync(fd); err != nil {
			return result, err
		}
		_ = h.RecordValue(min(max(int64(time.Since(began)), 1000), int64(time.Minute))) // within its bounds
		if at += int64(size); at+int64(size) > rawFile {
			at = 0
		}
	}
	return rawResult{
		Appends: h.TotalCount(),
		P50:     time.Duration(h.ValueAtQuantile(50)),
		P99:     time.Duration(h.ValueAtQuantile(99)),
		Max:     time.Duration(h.Max()),
	}, ctx.Err()
}
