// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package scratch

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sync/errgroup"
)

// TestSweep removes what a killed program left, and nothing that somebody has.
func TestSweep(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	var released []string
	kind := Kind{Prefix: "test-", Release: func(dir string) error {
		released = append(released, filepath.Base(dir))
		return nil
	}}
	alive, killed, making := must(kind.Make())(t), must(kind.Make())(t), must(kind.Make())(t)
	if err := errors.Join(
		killed.lock.Close(), os.WriteFile(filepath.Join(killed.Path, "data.disk"), nil, 0o600),
		making.lock.Close(), os.Rename(filepath.Join(making.Path, lockName), filepath.Join(making.Path, newLock)),
	); err != nil {
		t.Fatal(err)
	}
	foreign := filepath.Join(os.TempDir(), "test-foreign")
	if err := os.Mkdir(foreign, 0o700); err != nil {
		t.Fatal(err)
	}
	elsewhere, link := t.TempDir(), filepath.Join(os.TempDir(), "test-link")
	if err := errors.Join(os.WriteFile(filepath.Join(elsewhere, lockName), nil, 0o600), os.Symlink(elsewhere, link)); err != nil {
		t.Fatal(err)
	}
	if err := kind.Sweep(); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]bool{alive.Path: true, killed.Path: false, making.Path: true, foreign: true, link: true, filepath.Join(elsewhere, lockName): true} {
		if _, err := os.Stat(dir); (err == nil) != want {
			t.Errorf("%s is there: %v, want %v", dir, err == nil, want)
		}
	}
	if err := alive.Remove(); err != nil {
		t.Error(err)
	}
	if want := []string{filepath.Base(killed.Path), filepath.Base(alive.Path)}; !slices.Equal(released, want) {
		t.Errorf("released: %v, want %v", released, want)
	}
}

// TestSweepAgain finds what could not be removed.
func TestSweepAgain(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	busy := errors.New("busy")
	kind := Kind{Prefix: "test-", Release: func(string) error { return busy }}
	d := must(kind.Make())(t)
	if err := d.Remove(); !errors.Is(err, busy) {
		t.Errorf("Remove: %v", err)
	}
	if err := kind.Sweep(); !errors.Is(err, busy) {
		t.Errorf("Sweep: %v", err)
	}
	busy = nil
	if err := kind.Sweep(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(d.Path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it stayed: %v", err)
	}
}

// TestMakeWhileSwept makes directories while others sweep, as machines do that start at once.
func TestMakeWhileSwept(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	kind := Kind{Prefix: "test-"}
	var all errgroup.Group
	for range 3 {
		all.Go(func() error {
			for range 2000 {
				if err := kind.Sweep(); err != nil {
					return err
				}
				d, err := kind.Make()
				if err != nil {
					return err
				}
				if err := os.WriteFile(filepath.Join(d.Path, "initrd.img"), nil, 0o600); err != nil {
					return err
				}
				if err := d.Remove(); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := all.Wait(); err != nil {
		t.Error(err)
	}
}

func must(d *Dir, err error) func(*testing.T) *Dir {
	return func(t *testing.T) *Dir {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
}
