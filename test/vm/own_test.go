// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package vm

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestSweep removes what a killed test left, and nothing that somebody has.
// Seen to fail with sweep emptied, and with its look at the lock taken out.
func TestSweep(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	alive, lock, err := claim()
	if err != nil {
		t.Fatal(err)
	}
	killed, gone, err := claim()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(gone.Close(), os.WriteFile(filepath.Join(killed, "data.disk"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	foreign := filepath.Join(os.TempDir(), dirPrefix+"foreign")
	if err := os.Mkdir(foreign, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := sweep(); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]bool{alive: true, killed: false, foreign: true} {
		if _, err := os.Stat(dir); (err == nil) != want {
			t.Errorf("%s is there: %v, want %v", dir, err == nil, want)
		}
	}
	if _, err := tryLock(filepath.Join(alive, lockName)); !errors.Is(err, unix.EWOULDBLOCK) {
		t.Errorf("a second lock: %v", err)
	}
	if err := lock.Close(); err != nil {
		t.Error(err)
	}
}
