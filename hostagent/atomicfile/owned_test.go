// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package atomicfile

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// A file has its content, owner and mode, over what was there before: another one, one of
// a write that was interrupted, or a link, which is not followed.
func TestWrite(t *testing.T) {
	dir := t.TempDir()
	path, target := filepath.Join(dir, "file"), filepath.Join(dir, "target")
	owner := Mine(0o640)
	if os.Geteuid() == 0 {
		owner.UID, owner.GID = 4711, 4712
	}
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".new", []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"one", "two"} {
		if err := Write(path, []byte(text), owner); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		fi, serr := os.Lstat(path)
		if err != nil || serr != nil || string(got) != text || fi.Mode() != fs.FileMode(0o640) {
			t.Errorf("%q %v %v %v", got, fi.Mode(), err, serr)
		}
		if st := fi.Sys().(*syscall.Stat_t); owner.UID > 0 && (st.Uid != 4711 || st.Gid != 4712) {
			t.Errorf("it belongs to %d:%d", st.Uid, st.Gid)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "d"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Write(filepath.Join(dir, "d"), nil, owner); err == nil {
		t.Error("a directory was replaced")
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 2 {
		t.Errorf("left: %v %v", left, err)
	}
}
