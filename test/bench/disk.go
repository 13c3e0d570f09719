// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// makeDisk makes the disk of one node and returns its directory: an ext4 on a
// loop device over a sparse image in dir, mounted below work; without root,
// a directory in dir.
func makeDisk(ctx context.Context, dir, work, name string, size int64) (string, error) {
	if !inNamespace() {
		return os.MkdirTemp(dir, name+"-")
	}
	point := filepath.Join(work, name)
	if err := os.Mkdir(point, 0o755); err != nil {
		return "", err
	}
	image, err := os.CreateTemp(dir, "holdfast-bench-")
	if err != nil {
		return "", err
	}
	// The loop device keeps the file; nobody else needs its name.
	defer func() { _ = os.Remove(image.Name()) }()
	if err := image.Truncate(size); err != nil {
		return "", err
	}
	if err := image.Close(); err != nil {
		return "", err
	}
	// Initialized at once: otherwise the kernel goes on with it for minutes.
	if err := tool(ctx, "mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard", image.Name()); err != nil {
		return "", err
	}
	return point, tool(ctx, "mount", "-o", "loop", image.Name(), point)
}

func tool(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %v: %w: %s", name, args, err, bytes.TrimSpace(out))
	}
	return nil
}
