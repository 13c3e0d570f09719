// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package provision

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"os/user"
	"slices"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	shellPath = "/bin/sh"
	// searchPath is a command's PATH: the agent's own environment does not reach it,
	// or the effect of a step would hang on who started the agent.
	searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

	// grace is how long a command has after SIGTERM, and again after SIGKILL, before
	// the next thing happens.
	grace = 5 * time.Second
)

// runShell runs the commands once. It returns when the shell and its whole process
// group have ended; with ErrHeld when the kernel did not let go of them in time. The
// secrets are taken out of what an error tells.
func runShell(ctx context.Context, node string, s *Step, g given) error {
	sh := s.Shell
	script, err := memfd(sh.text())
	if err != nil {
		return err
	}
	defer func() { _ = script.Close() }() // in memory
	who, err := credentials(sh.User)
	if err != nil {
		return err
	}
	out := newOutput(g)
	cmd := exec.Command(shellPath, "-eu", "/dev/fd/3") //nolint:noctx // the group is ended below, which CommandContext does not
	cmd.ExtraFiles = []*os.File{script}
	if g.lock != nil {
		cmd.ExtraFiles = append(cmd.ExtraFiles, g.lock)
	}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.WaitDelay = grace // for a pipe that a process outside the group keeps open
	cmd.Dir = "/"
	if sh.Dir != "" {
		cmd.Dir = sh.Dir
	}
	cmd.Env = environment(node, s, who)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: who.credential}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", shellPath, err)
	}
	return wait(ctx, cmd, sh.validExitCodes(), out)
}

// wait waits for a command that was started, and ends it when ctx does.
func wait(ctx context.Context, cmd *exec.Cmd, valid []int, out *output) error {
	exited := make(chan struct{}) // closed by the goroutine below when the shell is a zombie
	go func() {
		// The zombie keeps its pid, so that the group can still be named below.
		for {
			err := unix.Waitid(unix.P_PID, cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
			if !errors.Is(err, unix.EINTR) {
				close(exited)
				return
			}
		}
	}()
	var cause error
	select {
	case <-exited:
	case <-ctx.Done():
		cause = context.Cause(ctx)
		signalGroup(cmd, syscall.SIGTERM)
		if !within(exited, grace) {
			signalGroup(cmd, syscall.SIGKILL)
			if !within(exited, grace) {
				go func() { <-exited; _ = cmd.Wait() }() // reaps it whenever the kernel lets go
				return failure(fmt.Errorf("%w: %w", cause, ErrHeld), out)
			}
		}
	}
	signalGroup(cmd, syscall.SIGKILL) // what is left of the group
	err := cmd.Wait()
	if cause != nil {
		return failure(cause, out)
	}
	if err != nil && cmd.ProcessState == nil {
		return failure(err, out)
	}
	if code := cmd.ProcessState.ExitCode(); slices.Contains(valid, code) {
		return nil
	}
	if err == nil { // exit code 0, which is not among the valid ones
		err = errors.New(cmd.ProcessState.String())
	}
	return failure(err, out)
}

func within(c <-chan struct{}, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-c:
		return true
	case <-t.C:
		return false
	}
}

// signalGroup signals every process of the command's group. That there is none left
// is no error.
func signalGroup(cmd *exec.Cmd, sig syscall.Signal) { _ = syscall.Kill(-cmd.Process.Pid, sig) }

// commandError is an attempt that failed, with the end of its output.
type commandError struct {
	err    error
	output string
}

func failure(err error, out *output) error { return &commandError{err, out.String()} }

// Error implements error.
func (e *commandError) Error() string {
	if e.output == "" {
		return e.err.Error() + "; it wrote nothing"
	}
	return e.err.Error() + "; its output ends:\n" + e.output
}

// Unwrap returns the cause.
func (e *commandError) Unwrap() error { return e.err }

// memfd holds a text that the shell reads as /dev/fd/3, whoever it runs as: neither a
// file that others could look at nor an argument that everybody sees.
func memfd(text string) (*os.File, error) {
	fd, err := unix.MemfdCreate("step", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	f := os.NewFile(uintptr(fd), "step")
	if _, err = f.WriteString(text); err == nil {
		_, err = f.Seek(0, 0)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// account is who a command runs as.
type account struct {
	name, home string
	credential *syscall.Credential // nil: as this process
}

func credentials(name string) (account, error) {
	var u *user.User
	var err error
	switch _, numeric := strconv.Atoi(name); {
	case name == "":
		u, err = user.Current()
	case numeric == nil:
		u, err = user.LookupId(name)
	default:
		u, err = user.Lookup(name)
	}
	if err != nil {
		return account{}, err
	}
	a := account{name: u.Username, home: u.HomeDir}
	if name == "" {
		return a, nil
	}
	uid, gid, err := numbers(u.Uid, u.Gid)
	if err != nil {
		return account{}, err
	}
	if int(uid) == os.Getuid() { // needs no privilege
		return a, nil
	}
	a.credential = &syscall.Credential{Uid: uid, Gid: gid}
	groups, err := u.GroupIds()
	if err != nil {
		return account{}, fmt.Errorf("groups of user %s: %w", name, err)
	}
	for _, g := range groups {
		_, n, err := numbers("0", g)
		if err != nil {
			return account{}, err
		}
		a.credential.Groups = append(a.credential.Groups, n)
	}
	return a, nil
}

func numbers(uid, gid string) (u, g uint32, err error) {
	nu, err := strconv.ParseUint(uid, 10, 32)
	if err != nil {
		return 0, 0, err
	}
	ng, err := strconv.ParseUint(gid, 10, 32)
	return uint32(nu), uint32(ng), err
}

func environment(node string, s *Step, who account) []string {
	env := map[string]string{
		"PATH": searchPath, "LANG": "C.UTF-8", "HOME": who.home, "USER": who.name,
		"HOLDFAST_NODE": node, "HOLDFAST_STEP": s.Name,
	}
	for name, v := range s.Shell.Env {
		env[name] = v.text
	}
	var list []string
	for _, name := range slices.Sorted(maps.Keys(env)) {
		list = append(list, name+"="+env[name])
	}
	return list
}
