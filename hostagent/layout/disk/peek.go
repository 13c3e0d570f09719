// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/store"
)

// peek reads the identity of the store on a device that is not mounted, and
// writes nothing: neither is the journal replayed nor the time of the mount
// noted. The mount is in a namespace of its own and goes with the process.
func peek(ctx context.Context, w Disk, device string) (id store.Identity, err error) {
	dir, err := os.MkdirTemp("", "holdfast-peek-") // mode 0700
	if err != nil {
		return store.Identity{}, err
	}
	defer func() { err = errors.Join(err, os.Remove(dir)) }()
	options := "ro,nodev,nosuid,noexec,noload"
	if w.FSType == XFS {
		options = "ro,nodev,nosuid,noexec,norecovery"
	}
	const script = `mount -t "$1" -o "$2" "$3" "$4" && if [ -e "$4/$5" ]; then cat "$4/$5"; fi`
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", script, "peek", w.FSType, options, device, dir, filepath.Join(w.StoreDir, store.FileName))
	cmd.Env = toolEnv
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return store.Identity{}, fmt.Errorf("looking into %s: %w: %s", device, err, bytes.TrimSpace(stderr.Bytes()))
	}
	if len(out) == 0 {
		return store.Identity{}, store.ErrNoIdentity
	}
	file := filepath.Join(dir, store.FileName) // in our own namespace the directory is empty
	if err := os.WriteFile(file, out, 0o600); err != nil {
		return store.Identity{}, err
	}
	defer func() { err = errors.Join(err, os.Remove(file)) }()
	return store.Read(dir)
}
