// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/mountinfo"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/drill/stall/stalltest"
)

// TestDrillScripts runs drills on real clusters: agents and engines below a
// directory that looks like the local platform's, on loop devices.
func TestDrillScripts(t *testing.T) {
	sweepKilled(t)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/drill",
		WorkdirRoot:         t.TempDir(), // testscript's own stays behind, empty
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			work := env.WorkDir
			held, err := hold(work)
			if err != nil {
				return err
			}
			env.Defer(func() {
				clearBelow(env.T(), work)
				_ = held.Close()
			})
			for _, name := range []string{"SERVER_PORT", "HTTP_PORT"} {
				if err := setFreePort(env, name); err != nil {
					return err
				}
			}
			env.Setenv("HOLDFAST_HTTP_ADDR", "127.0.0.2:"+env.Getenv("HTTP_PORT"))
			return nil
		},
		Condition: func(cond string) (bool, error) {
			if cond != "disks" {
				return false, fmt.Errorf("unknown condition %s", cond)
			}
			_, err := os.Stat("/dev/loop-control")
			return err == nil && os.Getuid() == 0, nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"agent":      agentRequest,
			"until":      until,
			"send":       sendSignal,
			"subst":      subst,
			"loopdisk":   loopDisk,
			"writable":   writable,
			"killthawer": killThawer,
		},
	})
}

// inUse is locked in a script's directory for as long as its test lives.
const inUse = "in-use"

func hold(work string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(work, inUse), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close() // the error to tell is the lock's
		return nil, err
	}
	return f, nil
}

// sweepKilled clears what a test that was killed has left: engines, agents and
// mounts, which outlive it.
func sweepKilled(t *testing.T) {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(os.TempDir(), t.Name()+"*", "*", "script-*", inUse))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range left {
		work := filepath.Dir(path)
		held, err := hold(work)
		if err != nil {
			continue // its test lives
		}
		clearBelow(sweeper{t}, work)
		_ = held.Close()
		if err := os.RemoveAll(filepath.Dir(filepath.Dir(work))); err != nil {
			t.Error(err)
		}
	}
}

// sweeper is a test as the helpers of a script want one; they use Fatal only.
type sweeper struct{ *testing.T }

func (s sweeper) Run(string, func(testscript.T)) {}
func (s sweeper) Verbose() bool                  { return testing.Verbose() }

// clearBelow ends what runs in a script's directory, and takes its disks away.
func clearBelow(t testscript.T, work string) {
	thawBelow(work) // what hangs there cannot be killed
	killAll(t, work)
	unmountBelow(t, work)
}

func mountsBelow(dir string) (points []string) {
	table, _ := mountinfo.Read() // what does not parse is none of ours
	for _, m := range table {
		if strings.HasPrefix(m.Point, dir+"/") {
			points = append(points, m.Point)
		}
	}
	return points
}

func thawBelow(dir string) {
	for _, p := range mountsBelow(dir) {
		stalltest.Thaw(p)
	}
}

func unmountBelow(t testscript.T, dir string) {
	for _, p := range mountsBelow(dir) {
		var err error
		for end := time.Now().Add(scriptBound); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			if err = unix.Unmount(p, 0); err == nil {
				break
			}
		}
		if err != nil {
			t.Fatal("unmount", p, err)
		}
	}
}

// loopdisk IMAGE POINT: makes the image with an ext4 and mounts it.
func loopDisk(ts *testscript.TestScript, _ bool, args []string) {
	image, point := ts.MkAbs(args[0]), ts.MkAbs(args[1])
	for _, dir := range []string{filepath.Dir(image), point} {
		ts.Check(os.MkdirAll(dir, 0o700))
	}
	ts.Check(os.WriteFile(image, nil, 0o600))
	ts.Check(os.Truncate(image, 256<<20))
	ts.Check(ts.Exec("mkfs.ext4", "-q", "-F", image))
	ts.Check(ts.Exec("mount", "-o", "loop", image, point))
}

// writable POINT: a write to the disk comes through.
func writable(ts *testscript.TestScript, _ bool, args []string) {
	ctx, cancel := context.WithTimeout(context.Background(), scriptBound)
	defer cancel()
	cmd := exec.CommandContext(ctx, "dd", "if=/dev/zero", "of="+filepath.Join(ts.MkAbs(args[0]), "written"), "bs=1", "count=1", "conv=fsync", "status=none")
	cmd.WaitDelay = time.Second
	done := make(chan error, 1) // one result, whether somebody waits or not
	go func() { done <- cmd.Run() }()
	select {
	case err := <-done:
		ts.Check(err)
	case <-time.After(scriptBound + 2*time.Second): // it is held in the kernel
		ts.Fatalf("the disk at %s hangs on", args[0])
	}
}

// killthawer: kill -9 of the process that a drill of this script has for thawing.
func killThawer(ts *testscript.TestScript, _ bool, _ []string) {
	mark := []byte("\x00WORK=" + ts.Getenv("WORK") + "\x00")
	entries, err := os.ReadDir("/proc")
	ts.Check(err)
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		line, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline")) // gone by now: none
		env, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "environ"))
		if bytes.Contains(line, []byte(thawerArgs[1])) && bytes.Contains(append([]byte{0}, env...), mark) {
			ts.Check(syscall.Kill(pid, syscall.SIGKILL))
			return
		}
	}
	ts.Fatalf("no thawer runs")
}
