// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package vfstest

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs"
)

// TestAtomicWriters replaces a file again and again, with power cuts
// everywhere: WriteFileAtomic gets away with it, and each way to do it wrong is
// caught.
func TestAtomicWriters(t *testing.T) {
	forget := func(m Match) func(vfs.FS, string, []byte) error {
		return func(fsys vfs.FS, name string, data []byte) error {
			return vfs.WriteFileAtomic(Forgetful(fsys, m), name, data)
		}
	}
	for _, tc := range []struct {
		name   string
		write  func(vfs.FS, string, []byte) error
		caught bool
	}{
		{"WriteFileAtomic", vfs.WriteFileAtomic, false},
		{"without SyncData", forget(Match{Kind: SyncData}), true},
		{"without SyncDir", forget(Match{Kind: SyncDir}), true},
		{"without a second file", overwrite, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var failures []string
			acked := 0
			content := func(i int) string { return fmt.Sprintf("%0*d", 3*sector/2, i) }
			points := 0
			err := CrashPoints(NewMem("/d"), 4, func(fsys vfs.FS) error {
				for i := range 5 {
					if err := tc.write(fsys, "/d/a", []byte(content(i+1))); err != nil {
						return err
					}
					acked = i + 1
				}
				return nil
			}, func(p Point, m *Mem) {
				points++
				got := read(t, m, "/d/a")
				if got == content(acked) || got == content(acked+1) || acked == 0 && got == "-" {
					return
				}
				failures = append(failures, fmt.Sprintf("%v: %d acknowledged, found %.20q", p, acked, got))
			})
			ok(t, err)
			if points < 100 {
				t.Errorf("only %d power cuts", points)
			}
			if caught := len(failures) > 0; caught != tc.caught {
				t.Errorf("caught: %v, want %v: %v", caught, tc.caught, failures)
			}
		})
	}
}

func overwrite(fsys vfs.FS, name string, data []byte) error {
	f, err := fsys.OpenReadWrite(name)
	if err != nil {
		if f, err = fsys.Create(name); err != nil {
			return err
		}
	}
	_, err = f.WriteAt(data, 0)
	return errors.Join(err, f.SyncData(), f.Close(), fsys.SyncDir(filepath.Dir(name)))
}
