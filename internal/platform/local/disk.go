// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

//go:build linux

package local

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
)

// errLost is returned for a disk that was there once and may have held data.
var errLost = errors.New("the disk is gone")

// volume is one disk of one node.
type volume struct {
	node, name string
	disk       diskRecord
	image      string // the file below it; empty for a plain directory
	point      string // where it is mounted, or the directory itself
}

func (v volume) lost(path string) error {
	return &platform.Error{
		What: fmt.Sprintf("node %s has lost its disk %s", v.node, v.name),
		Err:  fmt.Errorf("%w: %s is not there, and it may have held data", errLost, path),
		Next: "Restore it. An empty one in its place would make the node forget what it voted for: if it cannot be restored, destroy the cluster and restore a snapshot into a new one.",
	}
}

func (v volume) checkImage() error {
	if _, err := os.Stat(v.image); errors.Is(err, os.ErrNotExist) {
		return v.lost(v.image)
	} else if err != nil {
		return err
	}
	return nil
}

func (v volume) checkDirectory() error {
	if _, err := os.Stat(v.point); errors.Is(err, os.ErrNotExist) {
		return v.lost(v.point)
	} else if err != nil {
		return err
	}
	return nil
}

// makeDirectory makes the disk of who is not root.
func (v volume) makeDirectory(say say) error {
	if _, err := os.Stat(v.point); err == nil {
		return nil
	}
	if err := os.MkdirAll(v.point, 0o700); err != nil {
		return err
	}
	say("node %s: made the directory of disk %s", v.node, v.name)
	return syncDir(filepath.Dir(v.point))
}

// makeImage makes a formatted image, unless there is one. It is formatted under
// a name of its own that no other run uses: an image that has its final name may hold data.
func (v volume) makeImage(ctx context.Context, say say) error {
	if _, err := os.Stat(v.image); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(v.image), 0o700); err != nil {
		return err
	}
	if err := v.removeUnfinished(); err != nil {
		return err
	}
	next := v.image + "." + rand.Text() + ".new"
	f, err := os.OpenFile(next, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // synced below
	if err := f.Truncate(v.disk.SizeBytes); err != nil {
		return fmt.Errorf("make a sparse file of %d bytes: %w", v.disk.SizeBytes, err)
	}
	say("node %s: formatting disk %s with %s", v.node, v.name, v.disk.FileSystem)
	if err := v.format(ctx, next); err != nil {
		return &platform.Error{What: fmt.Sprintf("node %s: disk %s cannot be formatted", v.node, v.name), Err: err,
			Next: "Mend that, or choose another size or file system, and apply again."}
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Rename(next, v.image); err != nil {
		return err
	}
	say("node %s: made disk %s, %d MiB of %s", v.node, v.name, v.disk.SizeBytes>>20, v.disk.FileSystem)
	return syncDir(filepath.Dir(v.image))
}

// removeUnfinished removes what a killed run was formatting. Its mkfs may live on:
// it writes to a file without a name then.
func (v volume) removeUnfinished() error {
	left, err := filepath.Glob(globQuote(v.image) + ".*.new")
	if err != nil {
		return err
	}
	for _, path := range left {
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	return nil
}

// globQuote takes the meaning from the characters of path that Glob knows.
func globQuote(path string) string {
	return strings.NewReplacer("\\", "\\\\", "*", "\\*", "?", "\\?", "[", "\\[").Replace(path)
}

// format runs mkfs on a new file. The file reads as zeros, which mkfs is told:
// inode tables and journal need no writing, neither now nor in the background
// after the mount, where it would disturb what is measured.
func (v volume) format(ctx context.Context, path string) error {
	if v.disk.FileSystem == "xfs" {
		return run(ctx, "mkfs.xfs", "-q", "-K", "-f", path)
	}
	// A store holds few files: an inode per MiB is plenty. A small journal
	// has touched all of its blocks soon, so that the sparse file below grows no more for it.
	args := []string{"-q", "-F", "-b", "4096", "-m", "0", "-N", fmt.Sprint(max(v.disk.SizeBytes>>20, 4096))}
	if v.disk.SizeBytes >= 1<<30 {
		args = append(args, "-J", "size=32")
	}
	err := run(ctx, "mkfs.ext4", append(args, "-E", "nodiscard,assume_storage_prezeroed=1", path)...)
	if err == nil || ctx.Err() != nil {
		return err
	}
	// e2fsprogs before 1.47 does not know that option.
	if old := run(ctx, "mkfs.ext4", append(args, "-E", "nodiscard,lazy_itable_init=1,lazy_journal_init=1", path)...); old != nil {
		return errors.Join(err, old)
	}
	return nil
}

// run runs a tool, with what it said in the error.
func run(ctx context.Context, name string, args ...string) error {
	path, err := tool(name)
	if err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, path, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// tool finds a command in PATH, or where administrators' commands are.
func tool(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/local/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return "", err
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
