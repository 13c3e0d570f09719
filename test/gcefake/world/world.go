// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

//go:build linux

// Package world gives a program that plays a cloud a place of its own on this machine: namespaces for network, mounts
// and processes. Addresses like 10.128.0.2 and 169.254.169.254 meet nothing of the host there, and runs beside each
// other do not meet.
//
// A program enters by running itself again as the first process of new namespaces. All that is started inside
// ends with it, and it ends with the program that entered, however that ends: no process, mount or interface is
// left. What the kernel does not take along, a directory and control groups, the next Open removes; a lock says
// whose they are.
package world

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfastdb/terraform-provider-holdfast/test/gcefake/metadata"
	"github.com/holdfastdb/terraform-provider-holdfast/test/scratch"
)

// inside marks the environment of a program that has entered.
const inside = "HOLDFAST_GCE_WORLD"

// Of the network: a bridge that all machines are on.
const (
	Bridge = "hfgce0"
	// Internal and External are the prefixes that machines have their addresses with.
	Internal = "/8"
	External = "/15"
	// MetadataAddress is where the metadata server is.
	MetadataAddress = "169.254.169.254:80"
)

// ErrMissing is returned where this machine cannot do that: it is not root who asks, or a program is not installed.
var ErrMissing = errors.New("machines of an emulated cloud need more")

// Inside tells whether the program has entered.
func Inside() bool { return os.Getenv(inside) != "" && os.Getpid() == 1 }

// Enter runs the program again inside and returns its exit code. The program looks at Inside first. began, which may be nil, is
// told the process: others join its network by "nsenter --net --target PID".
func Enter(ctx context.Context, began func(pid int) error) (code int, err error) {
	if os.Geteuid() != 0 {
		return 1, fmt.Errorf("%w: root", ErrMissing)
	}
	self, err := os.Executable()
	if err != nil {
		return 1, err
	}
	runtime.LockOSThread() // Pdeathsig watches the thread
	defer runtime.UnlockOSThread()
	cmd := exec.Command(self, os.Args[1:]...) //nolint:noctx // it is told to end, and given time
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWPID, Pdeathsig: unix.SIGKILL}
	signals := make(chan os.Signal, 4) // those that are not read meanwhile are lost, which nobody minds
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return 1, fmt.Errorf("entering namespaces: %w", err)
	}
	done := make(chan error, 1) // one, at the end
	go func() { done <- cmd.Wait() }()
	if began != nil {
		if err := began(cmd.Process.Pid); err != nil {
			return 1, errors.Join(err, cmd.Process.Kill(), <-done)
		}
	}
	for {
		select {
		case s := <-signals:
			_ = cmd.Process.Signal(s) // it may have ended
		case <-ctx.Done():
			_ = cmd.Process.Signal(unix.SIGTERM)
			ctx = context.WithoutCancel(ctx)
		case err := <-done:
			if exit, ok := errors.AsType[*exec.ExitError](err); ok {
				return exit.ExitCode(), nil
			}
			return cmd.ProcessState.ExitCode(), err
		}
	}
}

// World is the inside.
type World struct {
	// Dir is for files. It is gone after Close.
	Dir string
	// Metadata is served at its real address.
	Metadata *metadata.Server

	own *scratch.Dir
	web net.Listener
}

const groupsRoot = "/sys/fs/cgroup"

// dirs are the worlds' directories, each with control groups that have its name.
var dirs = scratch.Kind{Prefix: "holdfast-gce-", Release: func(dir string) (err error) {
	for _, root := range Hierarchies() {
		err = errors.Join(err, removeGroups(filepath.Join(root, filepath.Base(dir))))
	}
	return err
}}

// Open sets the inside up: mounts that are its own, the network, the metadata server. Once per program.
func Open() (*World, error) {
	if !Inside() {
		return nil, errors.New("the program has not entered")
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return nil, fmt.Errorf("private mounts: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return nil, fmt.Errorf("mount /proc: %w", err)
	}
	if err := dirs.Sweep(); err != nil {
		return nil, err
	}
	own, err := dirs.Make()
	if err != nil {
		return nil, err
	}
	w := &World{Dir: own.Path, Metadata: &metadata.Server{}, own: own}
	if err := w.network(); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}

func (w *World) network() error {
	for _, line := range []string{
		"link set lo up",
		"link add " + Bridge + " type bridge",
		"addr add " + metadata.Gateway + Internal + " dev " + Bridge,
		"addr add 198.18.0.1" + External + " dev " + Bridge,
		"addr add 169.254.169.254/32 dev " + Bridge,
		"link set " + Bridge + " up",
	} {
		if out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput(); err != nil { //nolint:noctx // it does not wait
			return fmt.Errorf("ip %s: %w: %s", line, err, strings.TrimSpace(string(out)))
		}
	}
	l, err := net.Listen("tcp", MetadataAddress) //nolint:noctx // it does not wait
	if err != nil {
		return fmt.Errorf("the metadata server: %w", err)
	}
	w.web = l
	go serve(l, w.Metadata)
	return nil
}

// Close removes what the end of the program would leave. Machines must have ended.
func (w *World) Close() error {
	if w.web != nil {
		_ = w.web.Close() // who asks is gone
	}
	return w.own.Remove()
}

// Group is the name of the control groups of this world, in each of Hierarchies.
func (w *World) Group() string { return filepath.Base(w.Dir) }

// Hierarchies are the directories of the control groups that systemd manages.
func Hierarchies() []string {
	if _, err := os.Stat(groupsRoot + "/cgroup.controllers"); err == nil {
		return []string{groupsRoot}
	}
	var all []string
	for _, h := range []string{"systemd", "unified"} {
		if _, err := os.Stat(filepath.Join(groupsRoot, h, "cgroup.procs")); err == nil {
			all = append(all, filepath.Join(groupsRoot, h))
		}
	}
	return all
}

// removeGroups removes a tree of control groups. Their processes have been killed, and are gone in a moment.
func removeGroups(root string) error {
	const patience = 5 * time.Second
	for give := time.Now().Add(patience); ; {
		var dirs []string
		err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return nil //nolint:nilerr // what went meanwhile is gone
		})
		for i := len(dirs) - 1; i >= 0; i-- {
			if rmErr := unix.Rmdir(dirs[i]); rmErr != nil && !errors.Is(rmErr, unix.ENOENT) {
				err = errors.Join(err, fmt.Errorf("remove the control group %s: %w", dirs[i], rmErr))
			}
		}
		if err == nil || time.Now().After(give) {
			return err
		}
		time.Sleep(50 * time.Millisecond) // the kernel tells nobody when a group is empty
	}
}
