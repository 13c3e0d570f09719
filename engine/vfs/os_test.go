// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package vfs_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/vfs/vfstest"
)

func TestOS(t *testing.T) {
	vfstest.Conformance(t, vfs.OS{}, t.TempDir())
	t.Run("under a stall and faults", func(t *testing.T) {
		vfstest.Conformance(t, vfstest.NewStall(vfstest.NewFaults(vfs.OS{})), t.TempDir())
	})
}

func TestOSModes(t *testing.T) {
	dir := t.TempDir()
	deep := filepath.Join(dir, "x", "y")
	f, err := func() (vfs.File, error) {
		if err := (vfs.OS{}).MkdirAll(deep); err != nil {
			return nil, err
		}
		return vfs.OS{}.Create(filepath.Join(deep, "a"))
	}()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}()
	for path, want := range map[string]os.FileMode{filepath.Dir(deep): 0o700, deep: 0o700, filepath.Join(deep, "a"): 0o600} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s has mode %o, want %o", path, got, want)
		}
	}
}

// TestOSFillZero: what was filled is allocated, so that an overwrite finds its
// blocks, and it stays when it is overwritten.
func TestOSFillZero(t *testing.T) {
	f, err := vfs.OS{}.Create(filepath.Join(t.TempDir(), "a"))
	if err != nil {
		t.Fatal(err)
	}
	const size = 3<<20 + 17
	err = vfs.FillZero(f, size)
	got, serr := f.Size()
	if err := errors.Join(err, serr, f.Close()); err != nil {
		t.Fatal(err)
	}
	if got != size {
		t.Errorf("the file is %d bytes long, want %d", got, size)
	}
}

// lockEnv makes the test binary a process that takes a lock, says so, and ends
// when its standard input does.
const lockEnv = "VFS_TEST_LOCK"

func TestMain(m *testing.M) {
	name := os.Getenv(lockEnv)
	if name == "" {
		os.Exit(m.Run())
	}
	if _, err := (vfs.OS{}).Lock(name); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("locked")
	_, _ = io.Copy(io.Discard, os.Stdin) // ends with the pipe
	os.Exit(0)
}

func TestOSLockOfAnotherProcess(t *testing.T) {
	name := filepath.Join(t.TempDir(), "LOCK")
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), lockEnv+"="+name)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "locked\n" {
		t.Fatalf("the other process says %q, %v", line, err)
	}
	_, err = vfs.OS{}.Lock(name)
	if !errors.Is(err, vfs.ErrLocked) {
		t.Errorf("got %v, want ErrLocked", err)
	}
	if want := fmt.Sprintf("process %d", cmd.Process.Pid); err != nil && !strings.Contains(err.Error(), want) {
		t.Errorf("%q does not name the holder, %s", err, want)
	}
	if err := errors.Join(in.Close(), cmd.Wait()); err != nil {
		t.Fatal(err)
	}
	lock, err := vfs.OS{}.Lock(name)
	if err != nil {
		t.Fatalf("after its end: %v", err)
	}
	if err := lock.Close(); err != nil {
		t.Error(err)
	}
}
