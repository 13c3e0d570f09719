// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/mountinfo"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/drill/stall"
)

// inside is set in the environment of the process in the namespaces, to its
// work directory.
const inside = "HOLDFAST_BENCH_INSIDE"

func inNamespace() bool { return os.Getenv(inside) != "" }

// exitCode ends this process like the inner one.
type exitCode int

func (c exitCode) Error() string { return fmt.Sprintf("exit code %d", int(c)) }

// enterNamespace runs this program again in a mount and a PID namespace of
// its own and waits for it.
//
// The inner process is the namespace's init: however it ends, the kernel
// kills the nodes with it; with the last process the mounts go, and with the
// mounts the loop devices, whose images were unlinked when they were mounted.
// It dies itself when this process does.
func enterNamespace(ctx context.Context, o options, args []string) (err error) {
	runtime.LockOSThread() // Pdeathsig watches the thread that started it
	defer runtime.UnlockOSThread()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if o.peers {
		args = append(args, "-etcd", o.etcd)
	}
	// An empty directory outside; inside, a tmpfs is mounted there. It is all
	// that a SIGKILL of this process leaves behind.
	work, err := os.MkdirTemp("", "holdfast-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(work)) }()
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), inside+"="+work)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if len(o.scenarios) > 0 {
		done, err := lendThawer(cmd, self)
		if err != nil {
			return err
		}
		defer done()
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:   syscall.CLONE_NEWPID,
		Unshareflags: syscall.CLONE_NEWNS, // and every mount made private
		Setpgid:      true,                // ^C reaches it through this process, once
		Pdeathsig:    syscall.SIGKILL,
	}
	err = cmd.Start()
	for _, f := range cmd.ExtraFiles {
		_ = f.Close() // the inner process's alone from here on
	}
	if err != nil {
		return fmt.Errorf("entering namespaces: %w: run it without root to use directories instead", err)
	}
	done := make(chan error, 1) // from the goroutine below, once
	go func() { done <- cmd.Wait() }()
	select {
	case err = <-done:
	case <-ctx.Done():
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may be gone already
		err = <-done
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() > 0 {
		return exitCode(exit.ExitCode())
	}
	return err
}

// thawerFD is where the inner process finds the socket of its thawer.
const thawerFD = 3

// lendThawer gives the inner process a thawer. That one runs out here: the end of
// the namespace would kill it, too, and leave processes in it that a frozen disk
// holds, so that it never ended. Its socket is the inner process's alone; when
// that dies, whatever hangs is thawed.
func lendThawer(inner *exec.Cmd, self string) (done func(), err error) {
	thawer, conn, err := stall.Spawn([]string{self, thawerArg})
	if err != nil {
		return nil, err
	}
	inner.ExtraFiles = []*os.File{conn}
	return func() { _ = thawer.Wait() }, nil // when nobody has the socket any more
}

// attachThawer is called once, in the inner process.
func attachThawer() (*stall.Thawer, error) {
	syscall.CloseOnExec(thawerFD) // no node shall have it
	return stall.Attach(os.NewFile(thawerFD, "thawer"))
}

// makeWork makes the directory of configurations, logs and mount points, and
// what removes it. In the namespaces it is in memory and vanishes with them;
// /proc is made to show their processes.
func makeWork() (work string, remove func(), err error) {
	if !inNamespace() {
		work, err = os.MkdirTemp("", "holdfast-bench-")
		return work, func() { _ = os.RemoveAll(work) }, err
	}
	work = os.Getenv(inside)
	if err := syscall.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return "", nil, fmt.Errorf("mounting /proc: %w", err)
	}
	if err := leaveDisks(); err != nil {
		return "", nil, err
	}
	if err := syscall.Mount("tmpfs", work, "tmpfs", 0, ""); err != nil {
		return "", nil, fmt.Errorf("mounting a work directory: %w", err)
	}
	return work, func() {}, nil
}

// leaveDisks gives up, in this namespace, the disks of local clusters whose
// mounts came with it: it would keep their loop devices from being detached when
// such a cluster is destroyed meanwhile.
func leaveDisks() error {
	mounts, err := mountinfo.Read()
	if err != nil {
		return fmt.Errorf("reading the mount table: %w", err)
	}
	const loop = 7 // the major number of loop devices
	for _, m := range slices.Backward(mounts) {
		if m.Major != loop || !strings.Contains(m.Point, "/nodes/") {
			continue
		}
		if err := syscall.Unmount(m.Point, syscall.MNT_DETACH); err != nil {
			return fmt.Errorf("leaving the mount %s: %w", m.Point, err)
		}
	}
	return nil
}
