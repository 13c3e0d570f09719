// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

//go:build linux

package local

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/supervise"
)

// disks attaches, mounts and freezes what a cluster's disks may be found as.
type disks struct {
	t *testing.T
	v volume
}

func (f *fixture) disk(t *testing.T, name string) disks {
	d, mode := diskRecord(f.cluster.SideDisk), modePlain
	if *f.cfg.Root {
		mode = modeRoot
	}
	return disks{t, f.volume(mode, "a", name, d)}
}

// attach attaches the image to a device that stays without a mount.
func (d disks) attach() loop {
	d.t.Helper()
	dev, err := attach(d.v.image)
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { _ = dev.Close() })
	st, err := unix.IoctlLoopGetStatus64(int(dev.Fd()))
	if err == nil {
		st.Flags &^= unix.LO_FLAGS_AUTOCLEAR // as losetup does
		err = unix.IoctlLoopSetStatus64(int(dev.Fd()), st)
	}
	if err != nil {
		d.t.Fatal(err)
	}
	if err := dev.Close(); err != nil {
		d.t.Fatal(err)
	}
	return loop{number: int(st.Number), backing: d.v.image}
}

func (d disks) mount(dev loop, point string) {
	d.t.Helper()
	err := os.MkdirAll(point, 0o700)
	if err == nil {
		err = unix.Mount(dev.path(), point, "ext4", 0, "")
	}
	if err != nil {
		d.t.Fatal(err)
	}
}

func (d disks) freeze(frozen bool) {
	d.t.Helper()
	if err := freeze(d.v.point, frozen); err != nil {
		d.t.Fatal(err)
	}
}

// freeze does what fsfreeze does.
func freeze(point string, frozen bool) error {
	dir, err := os.Open(point)
	if err != nil {
		return err
	}
	request := uint(fiThaw)
	if frozen {
		request--
	}
	return errors.Join(unix.IoctlSetInt(int(dir.Fd()), request, 0), dir.Close())
}

func (d disks) unmount() {
	d.t.Helper()
	if err := unix.Unmount(d.v.point, 0); err != nil {
		d.t.Fatal(err)
	}
}

// mountElse mounts something that is not the cluster's.
func mountElse(t *testing.T, point string) {
	t.Helper()
	err := os.MkdirAll(point, 0o700)
	if err == nil {
		err = unix.Mount("somebody", point, "tmpfs", 0, "size=1m")
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(point, "theirs"), []byte("keep"), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(point, unix.MNT_DETACH) })
}

func stopAll(t *testing.T, f *fixture) {
	t.Helper()
	for _, pid := range pidsBelow(f.dir) {
		if err := end(t.Context(), process{Identity: identityOf(t, pid)}, 0, bound); err != nil {
			t.Fatal(err)
		}
	}
}

// What may be lying around, in whatever state, is taken over by the next run, and
// taken away by a destroy.
func TestLeftovers(t *testing.T) {
	t.Parallel()
	needRoot(t)
	for _, tc := range []struct {
		name  string
		leave func(t *testing.T, f *fixture)
	}{
		{"an image without a device", func(t *testing.T, f *fixture) {
			f.disk(t, "data1").unmount()
		}},
		{"a device without a mount", func(t *testing.T, f *fixture) {
			f.disk(t, "data1").unmount()
			f.disk(t, "data1").attach()
		}},
		{"two devices without a mount", func(t *testing.T, f *fixture) {
			f.disk(t, "data1").unmount()
			f.disk(t, "data1").attach()
			f.disk(t, "data1").attach()
		}},
		{"a mount by hand", func(t *testing.T, f *fixture) {
			d := f.disk(t, "data1")
			d.unmount()
			d.mount(d.attach(), d.v.point)
		}},
		{"a mount on top of itself", func(t *testing.T, f *fixture) {
			point := f.disk(t, "data1").v.point
			if err := unix.Mount(point, point, "", unix.MS_BIND, ""); err != nil {
				t.Fatal(err)
			}
		}},
		{"a spare device beside the mounted one", func(t *testing.T, f *fixture) {
			f.disk(t, "data1").attach()
		}},
		{"images that were being formatted", func(t *testing.T, f *fixture) {
			for _, x := range []string{"A", "B"} {
				if err := os.WriteFile(f.disk(t, "data1").v.image+"."+x+".new", []byte("x"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}},
		{"a record and a binary that were being written", func(t *testing.T, f *fixture) {
			for _, path := range []string{f.recordPath() + ".new", filepath.Join(f.binDir(), binaryPrefix+"x.new")} {
				if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			for _, then := range []string{"continued", "destroyed"} {
				f := newFixture(t, true, "a")
				f.ensure(t)
				stopAll(t, f)
				note := filepath.Join(f.disk(t, "data1").v.point, "note")
				if err := os.WriteFile(note, []byte("hello"), 0o600); err != nil {
					t.Fatal(err)
				}
				tc.leave(t, f)
				if then == "continued" {
					f.start(t, f.ensure(t), "a")
					if b, err := os.ReadFile(note); err != nil || string(b) != "hello" {
						t.Errorf("afterwards: %q %v", b, err)
					}
					if left := loopsBelow(f.dir); len(left) != 2 {
						t.Errorf("devices %+v, want one for each of the two disks", left)
					}
				}
				f.destroy(t)
			}
		})
	}
}

// A destroy does not go into what somebody else mounted, nor takes it away. It
// says where it is, and does its work once that has gone.
func TestForeignMount(t *testing.T) {
	t.Parallel()
	needRoot(t)
	for _, tc := range []struct {
		name, at string
		root     bool
		leave    bool // the next Ensure does not mind
	}{
		{"over a disk's place", "nodes/a/data1", true, false},
		{"over a plain directory", "nodes/a/data1", false, true},
		{"inside a disk", "nodes/a/side/x", true, true},
		{"beside the disks", "nodes/a/x", true, true},
		{"over the nodes", "nodes", false, true},
		{"over the binaries", "bin", false, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, tc.root, "a")
			f.ensure(t)
			point := filepath.Join(f.dir, tc.at)
			mountElse(t, point)
			if !tc.leave {
				_, err := f.Ensure(t.Context(), f.cluster, nil)
				failure(t, err, errMountPoint, "umount "+point)
			}
			err := f.Destroy(t.Context(), f.cluster.ID, nil)
			failure(t, err, errMountPoint, "umount "+point, "nothing was removed")
			if b, err := os.ReadFile(filepath.Join(point, "theirs")); err != nil || string(b) != "keep" {
				t.Errorf("theirs: %q %v", b, err)
			}
			if err := unix.Unmount(point, 0); err != nil {
				t.Fatal(err)
			}
			f.destroy(t)
		})
	}
}

// A directory that was moved elsewhere and linked is not followed.
func TestLink(t *testing.T) {
	t.Parallel()
	f := newFixture(t, false, "a")
	f.ensure(t)
	stopAll(t, f)
	moved := filepath.Join(filepath.Dir(f.dir), "moved")
	if err := errors.Join(os.Rename(f.nodesDir(), moved), os.Symlink(moved, f.nodesDir())); err != nil {
		t.Fatal(err)
	}
	failure(t, f.Destroy(t.Context(), f.cluster.ID, nil), errLink, f.nodesDir())
	if _, err := os.Stat(filepath.Join(moved, "a")); err != nil {
		t.Error(err)
	}
	if err := errors.Join(os.Remove(f.nodesDir()), os.Rename(moved, f.nodesDir())); err != nil {
		t.Fatal(err)
	}
	f.destroy(t)
}

// A file that somebody put beside ours stays, in its directory.
func TestForeignFile(t *testing.T) {
	t.Parallel()
	f := newFixture(t, false, "a")
	f.ensure(t)
	theirs := filepath.Join(f.dir, "theirs")
	if err := os.WriteFile(theirs, []byte("keep"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := f.Destroy(t.Context(), f.cluster.ID, nil); err != nil {
		t.Fatal(err)
	}
	if got := tree(t, f.dir); len(got) != 2 || got[theirs] != "keep" {
		t.Errorf("left: %q", got)
	}
}

// A device that somebody mounted elsewhere, too, is neither cleared nor forgotten.
func TestMountedElsewhere(t *testing.T) {
	t.Parallel()
	needRoot(t)
	f := newFixture(t, true, "a")
	f.ensure(t)
	d := f.disk(t, "side")
	at, err := loopsOf(d.v.image)
	if err != nil || len(at) != 1 {
		t.Fatal(at, err)
	}
	elsewhere := filepath.Join(filepath.Dir(f.dir), "elsewhere")
	d.mount(at[0], elsewhere)
	failure(t, f.Destroy(t.Context(), f.cluster.ID, nil), errInUse, "umount "+elsewhere)
	if _, err := os.Stat(d.v.image); err != nil {
		t.Error(err)
	}
	if err := unix.Unmount(elsewhere, 0); err != nil {
		t.Fatal(err)
	}
	f.destroy(t)
}

// One image through two devices at once is a broken file system: refused.
func TestMountedTwice(t *testing.T) {
	t.Parallel()
	needRoot(t)
	f := newFixture(t, true, "a")
	f.ensure(t)
	d := f.disk(t, "side")
	elsewhere := filepath.Join(filepath.Dir(f.dir), "elsewhere")
	d.mount(d.attach(), elsewhere)
	_, err := f.Ensure(t.Context(), f.cluster, nil)
	failure(t, err, errTwoDevices, "fsck")
	if err := unix.Unmount(elsewhere, 0); err != nil {
		t.Fatal(err)
	}
	f.ensure(t)
	f.destroy(t)
}

// A frozen file system holds its engine in the kernel, and its device after an
// unmount. A destroy thaws it.
func TestFrozen(t *testing.T) {
	t.Parallel()
	needRoot(t)
	f := newFixture(t, true, "a")
	st := f.start(t, f.ensure(t), "a")
	d := f.disk(t, "data1")
	d.freeze(true)
	// It writes, and is held: it does not end when it is killed.
	put, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://"+st.Engine.HTTPAddress+"/v1/kv/held", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	go func() { // ended by the engine's end
		if resp, err := http.DefaultClient.Do(put); err == nil {
			_ = resp.Body.Close()
		}
	}()
	for held := false; !held; {
		states, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", st.Engine.PID))
		if err != nil || len(states) == 0 {
			t.Fatal("the engine has ended: ", err)
		}
		for _, path := range states {
			b, err := os.ReadFile(path)
			held = held || err == nil && strings.Contains(string(b), ") D ")
		}
	}
	// An apply meanwhile takes its sockets for the engine's, alive or killed.
	f.ensure(t)
	if err := syscall.Kill(st.Engine.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	f.ensure(t)
	if !alive(identityOf(t, st.Engine.PID)) {
		t.Error("the engine was not held: this test shows nothing")
	}
	began := time.Now()
	f.destroy(t)
	if d := time.Since(began); d > engineGentle {
		t.Errorf("the destroy took %v", d)
	}
}

// A frozen file system that somebody unmounted keeps its device: its image is not
// removed, and the advice that is given helps.
func TestFrozenAndUnmounted(t *testing.T) {
	t.Parallel()
	needRoot(t)
	f := newFixture(t, true, "a")
	f.ensure(t)
	d := f.disk(t, "side")
	at, err := loopsOf(d.v.image)
	if err != nil || len(at) != 1 {
		t.Fatal(at, err)
	}
	d.freeze(true)
	d.unmount()
	failure(t, f.Destroy(t.Context(), f.cluster.ID, nil), errInUse, "mount "+at[0].path(), "fsfreeze -u")
	if _, err := os.Stat(d.v.image); err != nil {
		t.Error(err)
	}
	d.mount(at[0], d.v.point)
	d.freeze(false)
	d.unmount()
	f.destroy(t)
}

// A pid in a record is a process only with its start time and boot: another one that has the
// pid by now is never signalled.
func TestStalePID(t *testing.T) {
	t.Parallel()
	f := newFixture(t, false, "a")
	f.ensure(t)
	stopAll(t, f)
	bystander := exec.Command("sleep", "1000")
	if err := bystander.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = bystander.Process.Kill(); _ = bystander.Wait() })
	theirs := identityOf(t, bystander.Process.Pid)
	for _, stale := range []supervise.Identity{
		{PID: theirs.PID, StartTicks: theirs.StartTicks - 1, BootID: theirs.BootID},
		{PID: theirs.PID, StartTicks: theirs.StartTicks, BootID: "an earlier boot"},
		{PID: 1, StartTicks: 0, BootID: theirs.BootID},
		{PID: 0}, {PID: -1},
	} {
		for _, role := range []string{roleAgent, roleEngine} {
			b, err := json.Marshal(stale)
			if err == nil {
				err = os.WriteFile(filepath.Join(f.nodeDir("a"), role+"-process.json"), b, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if got, err := f.processes(); err != nil || len(got) > 0 {
			t.Errorf("%+v: processes %+v %v", stale, got, err)
		}
	}
	// The record of a process that lives is one: the test of the test.
	b, err := json.Marshal(theirs)
	if err == nil {
		err = os.WriteFile(filepath.Join(f.nodeDir("a"), roleEngine+"-process.json"), b, 0o600)
	}
	if got, perr := f.processes(); err != nil || perr != nil || len(got) != 1 || got[0].Identity != theirs {
		t.Errorf("processes %+v %v %v", got, err, perr)
	}
	if err := os.WriteFile(filepath.Join(f.nodeDir("a"), roleEngine+"-process.json"), []byte(`{"pid":`), 0o600); err != nil {
		t.Fatal(err)
	}
	f.destroy(t)
	if !alive(theirs) {
		t.Error("the bystander was ended")
	}
}

// Command lines and binaries like ours, below another directory, are not ours.
func TestStrangers(t *testing.T) {
	t.Parallel()
	f := newFixture(t, false, "a")
	f.ensure(t)
	args := []string{roleEngine, "-config-file", filepath.Join(f.nodeDir("a"), "engine.json")}
	stranger := exec.Command(f.cluster.Binary, args...)
	stranger.Args[0] = "x"
	stranger.Env = append(os.Environ(), doomedVariable+"="+bystander)
	if err := stranger.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = stranger.Process.Kill(); _ = stranger.Wait() })
	g := newFixture(t, false, "a")
	g.start(t, g.ensure(t), "a")
	if role, node, ok := f.parseCommand(append([]string{"x"}, args...)); role != roleEngine || node != "a" || !ok {
		t.Fatal("it does not look like ours: this test shows nothing")
	}
	f.destroy(t)
	if !alive(identityOf(t, stranger.Process.Pid)) {
		t.Error("a process with our command line and another binary was ended")
	}
	g.running(t, "a")
	g.destroy(t)
}

// A disk that was there once is not replaced by an empty one.
func TestLostDisk(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, root bool) {
		t.Parallel()
		f := newFixture(t, root, "a")
		f.ensure(t)
		stopAll(t, f)
		d := f.disk(t, "data1")
		lost := d.v.point
		if root {
			d.unmount()
			lost = d.v.image
		}
		if err := os.Rename(lost, lost+".away"); err != nil {
			t.Fatal(err)
		}
		_, err := f.Ensure(t.Context(), f.cluster, nil)
		failure(t, err, errLost, lost, "Restore it")
		if _, err := os.Lstat(lost); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("it was made again: %v", err)
		}
		if err := os.Rename(lost+".away", lost); err != nil {
			t.Fatal(err)
		}
		f.ensure(t)
		// Gone below its mount, it is told, too; a destroy finds its device all the same.
		if root {
			if err := os.Remove(lost); err != nil {
				t.Fatal(err)
			}
			_, err := f.Ensure(t.Context(), f.cluster, nil)
			failure(t, err, errLost, lost)
		}
		f.destroy(t)
	})
}

// A broken file system is told and not formatted.
func TestDamagedImage(t *testing.T) {
	t.Parallel()
	needRoot(t)
	f := newFixture(t, true, "a")
	f.ensure(t)
	stopAll(t, f)
	d := f.disk(t, "data1")
	d.unmount()
	image, err := os.OpenFile(d.v.image, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = image.WriteAt(make([]byte, 4096), 0) // the superblock
	if err := errors.Join(err, image.Sync(), image.Close()); err != nil {
		t.Fatal(err)
	}
	_, err = f.Ensure(t.Context(), f.cluster, nil)
	failure(t, err, syscall.EINVAL, d.v.image, "nothing was formatted")
	f.destroy(t)
}

// A binary that does not run is told with what it said.
func TestBadBinary(t *testing.T) {
	t.Parallel()
	f := newFixture(t, false, "a")
	script := filepath.Join(filepath.Dir(f.dir), "holdfast")
	if err := os.WriteFile(script, []byte("#!/bin/sh\necho no such luck >&2\nexit 3\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	good := f.cluster.Binary
	f.cluster.Binary = script
	_, err := f.Ensure(t.Context(), f.cluster, nil)
	failure(t, err, errAgentEnded, "no such luck", "exit status 3", "agent.log")
	f.cluster.Binary = good
	f.ensure(t)
	for _, path := range []string{"", filepath.Dir(script), script + "-missing", f.recordPath()} {
		c := f.cluster
		c.Binary = path
		failure(t, f.Preflight(t.Context(), c), nil, fmt.Sprintf("%q", path), "make build")
	}
	f.destroy(t)
	if strings.Contains(fmt.Sprint(tree(t, filepath.Dir(f.dir))), "cluster.json") {
		t.Error("a record is left")
	}
}
