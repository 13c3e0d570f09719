// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

//go:build linux

package local

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
)

const binaryPrefix = "holdfast-"

var errNotExecutable = errors.New("it is not an executable file")

func checkBinary(path string) error {
	const next = "Build it with make build, and set HOLDFAST_BINARY or the provider's binary to its path."
	fi, err := os.Stat(path)
	if err == nil && (!fi.Mode().IsRegular() || fi.Mode()&0o111 == 0) {
		err = errNotExecutable
	}
	if err != nil {
		return &platform.Error{What: fmt.Sprintf("the holdfast binary %q cannot be run", path), Err: err, Next: next}
	}
	return nil
}

// install copies a binary to where the nodes run it from. The name follows from
// the content, so that a build never changes what a running node executes.
func (l *Local) install(src string) (string, error) {
	path, err := installTo(l.binDir(), src)
	if err != nil {
		return "", l.failed("copy "+src+" to "+l.binDir(), err)
	}
	return path, nil
}

func installTo(dir, src string) (path string, err error) {
	in, err := os.Open(src)
	if err != nil {
		return "", err
	}
	defer func() { _ = in.Close() }() // it was only read
	hash := sha256.New()
	size, err := io.Copy(hash, in)
	if err != nil {
		return "", err
	}
	path = filepath.Join(dir, binaryPrefix+hex.EncodeToString(hash.Sum(nil))[:12])
	if fi, err := os.Stat(path); err == nil && fi.Size() == size {
		return path, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	if _, err := in.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	out, err := os.OpenFile(path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o755)
	if err != nil {
		return "", err
	}
	if _, err = io.Copy(out, in); err == nil {
		err = out.Sync()
	}
	if err = errors.Join(err, out.Close()); err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		_ = os.Remove(path + ".new") // it may have filled the disk; the next run removes it, too
		return "", err
	}
	return path, nil
}

// removeOldBinaries removes copies that no process runs, keep apart.
func (l *Local) removeOldBinaries(keep string) error {
	entries, err := os.ReadDir(l.binDir())
	if err != nil {
		return l.failed("read "+l.binDir(), err)
	}
	running, err := l.processes()
	if err != nil {
		return l.failed("look for processes", err)
	}
	used := map[string]bool{keep: true}
	for _, p := range running {
		used[p.exe] = true
	}
	for _, e := range entries {
		path := filepath.Join(l.binDir(), e.Name())
		if !strings.HasPrefix(e.Name(), binaryPrefix) || used[path] {
			continue
		}
		if err := os.Remove(path); err != nil {
			return l.failed("remove an old binary", err)
		}
	}
	return nil
}
