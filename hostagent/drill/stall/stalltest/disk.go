// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

// Package stalltest gives tests file systems that may hang, and writers that
// hang on them. It takes away what it made, also where a test failed.
package stalltest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Bound is how long a test waits for something to become so.
const Bound = 30 * time.Second

const fiThaw = 0xC0045878 // see package stall

// Disk mounts an ext4 of its own and returns where. The test is skipped where
// that cannot be.
func Disk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	Mount(t, filepath.Join(dir, "disk.img"), filepath.Join(dir, "disk"))
	return filepath.Join(dir, "disk")
}

// Mount makes the image with an ext4 in it and mounts it at point.
func Mount(t *testing.T, image, point string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("freezing a file system needs root")
	}
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		t.Skipf("no loop devices here: %v", err)
	}
	f, err := os.Create(image)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }() // nothing was written
	if err := f.Truncate(64 << 20); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(point, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := tool("mkfs.ext4", "-q", "-F", image); err != nil {
		t.Skipf("no ext4 here: %v", err)
	}
	if err := tool("mount", "-o", "loop", image, point); err != nil {
		t.Skipf("nothing can be mounted here: %v", err)
	}
	t.Cleanup(func() {
		Thaw(point) // whatever the test did
		var err error
		for end := time.Now().Add(Bound); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			if err = unix.Unmount(point, 0); err == nil {
				return
			}
		}
		t.Errorf("unmount %s: %v", point, err)
	})
}

func tool(name string, args ...string) error {
	cmd := exec.Command(name, args...)
	if path, err := exec.LookPath(filepath.Join("/usr/sbin", name)); cmd.Err != nil && err == nil {
		cmd = exec.Command(path, args...)
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, bytes.TrimSpace(out))
	}
	return nil
}

// Thaw thaws point, past the package under test, and tells whether it was frozen.
func Thaw(point string) bool {
	d, err := os.Open(point)
	if err != nil {
		return false
	}
	defer func() { _ = d.Close() }() // nothing was written
	return unix.IoctlSetInt(int(d.Fd()), fiThaw, 0) == nil
}

// Writer is a process that writes one file.
type Writer struct {
	t    *testing.T
	cmd  *exec.Cmd
	done chan struct{}
}

// Write starts a process that writes a file below point.
func Write(t *testing.T, point string) *Writer {
	t.Helper()
	w := &Writer{t: t, cmd: exec.Command("dd", "if=/dev/zero", "of="+filepath.Join(point, "written"), "bs=1", "count=1", "conv=fsync", "status=none"), done: make(chan struct{})}
	w.cmd.Dir = "/"
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { // ends with the process, which the cleanup waits for
		_ = w.cmd.Wait()
		close(w.done)
	}()
	t.Cleanup(func() {
		Thaw(point)
		<-w.done
	})
	return w
}

// Held waits until the process is in the kernel and no signal ends it.
func (w *Writer) Held() {
	w.t.Helper()
	for end := time.Now().Add(Bound); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", w.cmd.Process.Pid))
		if i := bytes.LastIndexByte(b, ')'); err == nil && i > 0 && bytes.HasPrefix(b[i+1:], []byte(" D")) {
			return
		}
		select {
		case <-w.done:
			w.t.Fatal("the write came through: the file system does not hang")
		default:
		}
	}
	w.t.Fatal("the writer never came to hang")
}

// Done waits until the write came through.
func (w *Writer) Done() {
	w.t.Helper()
	select {
	case <-w.done:
	case <-time.After(Bound):
		w.t.Fatal("the file system hangs on")
	}
}
