// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// control is what the disk below all disks did meanwhile: one append of 256 bytes
// and fdatasync every 50 ms, in a file of its own on a disk of the same kind that
// nobody hangs. A latency that the control shows, too, is the machine's.
type control struct {
	P50   time.Duration `json:"p50_ns"`
	P99   time.Duration `json:"p99_ns"`
	Worst time.Duration `json:"worst_ns"`
}

const (
	controlEvery = 50 * time.Millisecond
	controlSize  = 256
	controlFile  = 4 << 20
)

// watchDisk measures until ctx ends. done has one result then.
func watchDisk(ctx context.Context, dir string) (done <-chan control, err error) {
	f, err := os.OpenFile(filepath.Join(dir, "control"), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	if _, err := f.Write(make([]byte, controlFile)); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if err := f.Sync(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	out := make(chan control, 1) // from the goroutine below, once
	go func() {
		defer func() { _ = f.Close() }() // nobody reads it
		var all []time.Duration
		tick := time.NewTicker(controlEvery)
		defer tick.Stop()
		for at := int64(0); ; at = (at + controlSize) % controlFile {
			select {
			case <-ctx.Done():
				out <- summarizeControl(all)
				return
			case <-tick.C:
			}
			began := time.Now()
			_, err := f.WriteAt(make([]byte, controlSize), at)
			if err == nil {
				err = syscall.Fdatasync(int(f.Fd()))
			}
			if err == nil { // a disk that fails is noticed by its nodes
				all = append(all, time.Since(began))
			}
		}
	}()
	return out, nil
}

func summarizeControl(all []time.Duration) control {
	if len(all) == 0 {
		return control{}
	}
	slices.Sort(all)
	last := len(all) - 1
	return control{P50: all[last/2], P99: all[last*99/100], Worst: all[last]}
}
