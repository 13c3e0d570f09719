// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package vfs_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs/vfstest"
)

// TestDropCache: the files stay as they are, and nothing of them is in the page cache.
func TestDropCache(t *testing.T) {
	dir := t.TempDir()
	deep := filepath.Join(dir, "raft", "default")
	if err := os.MkdirAll(deep, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(deep, "a")
	f, err := vfs.OS{}.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(vfs.FillZero(f, 64<<10), f.Close()); err != nil {
		t.Fatal(err)
	}
	if n, _ := vfstest.Cached(t, path); n == 0 {
		t.Fatal("what was written is not cached")
	}
	if err := vfs.DropCache(dir); err != nil {
		t.Fatal(err)
	}
	if n, _ := vfstest.Cached(t, path); n != 0 {
		t.Errorf("%d pages are cached still", n)
	}
	if info, err := os.Stat(path); err != nil || info.Size() != 64<<10 {
		t.Errorf("%v, %v", info, err)
	}
	if err := vfs.DropCache(filepath.Join(dir, "none")); err != nil {
		t.Errorf("a directory that is not there: %v", err)
	}
}
