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
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/store"
)

// peekMost is how much of a list of files is read; what is in nobody's way is short.
const peekMost = 64 << 10

// peek reads the identity of the store on a device that is not mounted, and lists the
// uppermost files of its file system. It writes nothing: neither is the journal replayed
// nor the time of the mount noted. The mount is in a namespace of its own and goes with
// the process.
func peek(ctx context.Context, w Disk, device string) (id store.Identity, entries []string, err error) {
	dir, err := os.MkdirTemp("", "holdfast-peek-") // mode 0700
	if err != nil {
		return store.Identity{}, nil, err
	}
	defer func() { err = errors.Join(err, os.Remove(dir)) }()
	options := "ro,nodev,nosuid,noexec,noload"
	if w.FSType == XFS {
		options = "ro,nodev,nosuid,noexec,norecovery"
	}
	// The identity, a zero byte, and the names: each below the file system's root.
	const script = `mount -t "$1" -o "$2" "$3" "$4" && cd "$4" && if [ -e "$5" ]; then cat "./$5"; fi && printf '\000' && find . -mindepth 1 -maxdepth "$6" | head -c "$7"`
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", script, "peek", w.FSType, options, device, dir,
		filepath.Join(w.StoreDir, store.FileName), strconv.Itoa(w.depth()), strconv.Itoa(peekMost))
	cmd.Env = toolEnv
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return store.Identity{}, nil, fmt.Errorf("looking into %s: %w: %s", device, err, bytes.TrimSpace(stderr.Bytes()))
	}
	out, names, _ := bytes.Cut(out, []byte{0})
	for name := range strings.Lines(string(names)) {
		entries = append(entries, strings.TrimPrefix(strings.TrimSuffix(name, "\n"), "./"))
	}
	if len(out) == 0 {
		return store.Identity{}, entries, store.ErrNoIdentity
	}
	file := filepath.Join(dir, store.FileName) // in our own namespace the directory is empty
	if err := os.WriteFile(file, out, 0o600); err != nil {
		return store.Identity{}, entries, err
	}
	defer func() { err = errors.Join(err, os.Remove(file)) }()
	id, err = store.Read(dir)
	return id, entries, err
}
