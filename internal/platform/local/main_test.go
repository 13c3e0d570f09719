// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

//go:build linux

package local

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/mountinfo"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/cli"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/supervise"
	scratchdir "github.com/holdfastdb/terraform-provider-holdfast/test/scratch"
)

// The test binary is also the holdfast binary that the clusters of these tests
// run (by the name that install gives it), and the run that gets killed.
//
// All clusters live below one directory of this process, holdfast-local-test-*
// in TMPDIR, whose lock it holds. A test process that was killed, by a timeout for
// example, leaves it with agents, mounts and devices: the next one takes away
// every such directory whose lock is free.
func TestMain(m *testing.M) {
	if strings.HasPrefix(filepath.Base(os.Args[0]), binaryPrefix) {
		os.Exit(cli.Run(context.Background(), os.Args[1:], cli.Env{
			Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv, Version: "test",
		}))
	}
	if order := os.Getenv(doomedVariable); order != "" {
		os.Exit(doomed(order))
	}
	os.Exit(testMain(m))
}

// dirs are the directories of the processes of these tests.
var dirs = scratchdir.Kind{Prefix: "holdfast-local-test-", Release: release}

var scratch string // the directory of this process

func testMain(m *testing.M) (code int) {
	fail := func(err error) int {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := dirs.Sweep(); err != nil {
		fmt.Fprintln(os.Stderr, err) // no reason not to test
	}
	own, err := dirs.Make()
	if err != nil {
		return fail(err)
	}
	scratch = own.Path
	code = m.Run()
	if left := leftovers(scratch); len(left) > 0 {
		code = fail(fmt.Errorf("the tests left behind: %s", strings.Join(left, "; ")))
	}
	if err := own.Remove(); err != nil {
		return fail(err)
	}
	return code
}

// leftovers lists the processes, mounts and loop devices that belong to dir.
func leftovers(dir string) []string {
	var left []string
	for _, pid := range pidsBelow(dir) {
		left = append(left, fmt.Sprintf("process %d", pid))
	}
	for _, m := range mountsBelow(dir) {
		left = append(left, "mount "+m.Point)
	}
	for _, d := range loopsBelow(dir) {
		left = append(left, d.path()+" of "+d.backing)
	}
	return left
}

// obliterate removes dir with all that belongs to it.
func obliterate(dir string) error {
	if err := release(dir); err != nil {
		return err
	}
	return os.RemoveAll(dir)
}

// release ends all that belongs to dir, by other means than those that are
// tested. It is called with directories of test processes alone.
func release(dir string) error {
	for bound := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		for _, pid := range pidsBelow(dir) {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may just have ended
		}
		for _, m := range slices.Backward(mountsBelow(dir)) {
			_ = freeze(m.Point, false)                      // it seldom was frozen
			_ = unix.Unmount(m.Point, unix.UMOUNT_NOFOLLOW) // what is busy is tried again
		}
		for _, d := range loopsBelow(dir) {
			unfreeze(d, filepath.Join(dir, "thaw"))
			_ = detach(d) // as above
		}
		left := leftovers(dir)
		if len(left) == 0 {
			return nil
		}
		if time.Now().After(bound) {
			return fmt.Errorf("%s cannot be removed: %s", dir, strings.Join(left, "; "))
		}
	}
}

// unfreeze thaws what was unmounted while it was frozen.
func unfreeze(d loop, point string) {
	if os.MkdirAll(point, 0o700) == nil && unix.Mount(d.path(), point, "ext4", 0, "") == nil {
		_ = freeze(point, false)
		_ = unix.Unmount(point, 0)
	}
}

// pidsBelow returns the processes that run a binary below dir.
func pidsBelow(dir string) []int {
	exes, _ := filepath.Glob("/proc/[0-9]*/exe") // the pattern is good
	var pids []int
	for _, path := range exes {
		exe, err := os.Readlink(path)
		if pid, aerr := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil && aerr == nil && strings.HasPrefix(exe, dir+"/") {
			pids = append(pids, pid)
		}
	}
	return pids
}

func mountsBelow(dir string) []mountinfo.Mount {
	found, err := mounts(func(m mountinfo.Mount) bool { return strings.HasPrefix(m.Point, dir+"/") })
	if err != nil {
		panic(err)
	}
	return found
}

func loopsBelow(dir string) []loop {
	if !mayMount() {
		return nil
	}
	var found []loop
	files, _ := filepath.Glob("/sys/block/loop*/loop/backing_file") // the pattern is good
	for _, file := range files {
		b, err := os.ReadFile(file)
		n, aerr := strconv.Atoi(strings.TrimPrefix(filepath.Base(filepath.Dir(filepath.Dir(file))), "loop"))
		if err == nil && aerr == nil && strings.HasPrefix(string(b), dir+"/") {
			found = append(found, loop{number: n, backing: strings.TrimSpace(string(b))})
		}
	}
	return found
}

// doomedVariable makes the test binary a run that is killed at a step. Its name
// does not begin as those that an agent inherits.
const doomedVariable = "LOCAL_TEST_DOOMED"

// bystander, in doomedVariable, is a process that only stays.
const bystander = "bystander"

// order is what a doomed run does.
type order struct {
	Config  Config
	Cluster json.RawMessage // platform.Cluster
	Destroy bool
	// KillAt is the step, from 1, at which the run kills itself, once it was told.
	KillAt int
}

// identityOf fails the test where there is no such process.
func identityOf(t *testing.T, pid int) supervise.Identity {
	t.Helper()
	id, err := supervise.Identify(pid)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// tree lists all that is in a directory, and what the files hold.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if found[path] = d.Type().String(); !d.Type().IsRegular() {
			return nil
		}
		b, err := os.ReadFile(path)
		found[path] = string(b)
		return err
	})
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return found
}
