// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package sshhost

import (
	"bytes"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// A file system without room: seen before anything is sent, and where others take the room
// meanwhile. The old file stays, and no part.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("none", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("a small file system cannot be mounted: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	s := startServer(t, serverOptions{})
	h := newHost(t, s.config())
	path := filepath.Join(dir, "x")
	if _, err := h.Upload(t.Context(), file(path, "old")); err != nil {
		t.Fatal(err)
	}
	_, err := h.Upload(t.Context(), file(path, noise(2<<20)))
	wantError(t, err, ErrDiskFull, "Free some space", "2097152 are needed")
	wantOnly(t, dir, "x")

	content := noise(900_000)
	filling := &fillingContent{Reader: bytes.NewReader([]byte(content)), fill: filepath.Join(dir, "filler")}
	_, err = h.Upload(t.Context(), File{Path: path, Content: filling, Size: int64(len(content)), Mode: 0o600})
	wantError(t, err, ErrDiskFull, "bytes were left")
	wantFile(t, path, "old")
	wantOnly(t, dir, "filler", "x")

	// There is room for the whole, and none for two thirds beside it.
	if err := os.Remove(filepath.Join(dir, "filler")); err != nil {
		t.Fatal(err)
	}
	part(t, path, sum(content), content[:600_000])
	done, err := h.Upload(t.Context(), file(path, content))
	if err != nil || done.Resumed != 0 {
		t.Fatalf("%+v, %v", done, err)
	}
	wantFile(t, path, content)
}

// fillingContent fills a disk while it is read for the second time, which is for sending.
type fillingContent struct {
	*bytes.Reader
	fill  string
	reads int
}

func (f *fillingContent) ReadAt(p []byte, off int64) (int, error) {
	if off == 0 {
		if f.reads++; f.reads == 2 {
			_ = os.WriteFile(f.fill, make([]byte, 800_000), 0o600)
		}
	}
	return f.Reader.ReadAt(p, off)
}
