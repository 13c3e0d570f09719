// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

//go:build linux

package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
)

// What a cluster may not be asked for is told before anything is made.
func TestBadCluster(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		change func(*platform.Cluster)
		words  string
	}{
		{"name that leads out", func(c *platform.Cluster) { c.Nodes[0].Name = "../x" }, `"../x"`},
		{"empty name", func(c *platform.Cluster) { c.Nodes[0].Name = "" }, `""`},
		{"name with a space", func(c *platform.Cluster) { c.Nodes[0].Name = "a b" }, `"a b"`},
		{"no port", func(c *platform.Cluster) { c.Ports.Server = 0 }, "0 is not a port"},
		{"no such port", func(c *platform.Cluster) { c.Ports.HTTP = 65536 }, "65536 is not a port"},
		{"no size", func(c *platform.Cluster) { c.SideDisk.SizeBytes = 0 }, "0 bytes"},
		{"file system", func(c *platform.Cluster) { c.Stores[0].FileSystem = "btrfs" }, "btrfs"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, false, "a")
			tc.change(&f.cluster)
			failure(t, f.Preflight(t.Context(), f.cluster), nil, tc.words)
			_, err := f.Ensure(t.Context(), f.cluster, nil)
			failure(t, err, nil, tc.words)
			f.nothingLeft(t)
		})
	}
}

// File systems that a cluster cannot live on.
func TestBadFileSystem(t *testing.T) {
	t.Parallel()
	needRoot(t)
	for _, tc := range []struct {
		name    string
		flags   uintptr
		options string
		want    error
		later   error // what Ensure runs into where nobody asked Preflight
	}{
		{"read-only", unix.MS_RDONLY, "size=1m", unix.EROFS, unix.EROFS},
		{"noexec", unix.MS_NOEXEC, "size=1g", errNoExec, unix.EACCES},
		{"too small", 0, "size=1m", errSpace, unix.ENOSPC},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, false, "a")
			place := filepath.Dir(f.dir)
			if err := unix.Mount("holdfast-test", place, "tmpfs", tc.flags, tc.options); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := errors.Join(obliterateBelow(place), unix.Unmount(place, 0)); err != nil {
					t.Error(err)
				}
			})
			failure(t, f.Preflight(t.Context(), f.cluster), tc.want, place, "another disk")
			if got := tree(t, place); len(got) > 1 {
				t.Errorf("changed: %q", got)
			}
			_, err := f.Ensure(t.Context(), f.cluster, nil)
			failure(t, err, tc.later)
			if err := f.Destroy(t.Context(), f.cluster.ID, nil); err != nil {
				t.Error(err)
			}
			if got := tree(t, place); len(got) > 1 {
				t.Errorf("left: %q", got)
			}
		})
	}
}

// obliterateBelow takes away what is in a directory, which stays.
func obliterateBelow(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		err = errors.Join(err, obliterate(filepath.Join(dir, e.Name())))
	}
	return err
}

// A tool that is missing is named with its package.
func TestMissingTool(t *testing.T) {
	needRoot(t)
	f := newFixture(t, true, "a")
	t.Setenv("PATH", t.TempDir())
	if _, err := tool("mkfs.ext4"); err != nil {
		t.Errorf("outside of PATH: %v", err)
	}
	if _, err := tool("mkfs.nothing"); err == nil {
		t.Error("found mkfs.nothing")
	}
	if _, err := tool("mkfs.xfs"); err != nil {
		f.cluster.SideDisk.FileSystem = "xfs"
		failure(t, f.Preflight(t.Context(), f.cluster), nil, "mkfs.xfs", "xfsprogs")
	}
}

// Another state's cluster is neither changed nor destroyed.
func TestOtherCluster(t *testing.T) {
	t.Parallel()
	f := newFixture(t, false, "a")
	st := f.start(t, f.ensure(t), "a")
	other := f.cluster
	other.ID = uuid.NewString()
	failure(t, f.Preflight(t.Context(), other), errOther, f.cluster.ID, other.ID)
	_, err := f.Ensure(t.Context(), other, nil)
	failure(t, err, errOther, f.cluster.ID, other.ID)
	failure(t, f.Destroy(t.Context(), other.ID, nil), errOther, f.cluster.ID, other.ID)
	if now := f.running(t, "a"); now.Engine.PID != st.Engine.PID || now.Agent.PID != st.Agent.PID {
		t.Errorf("agent %d and engine %d were %d and %d", now.Agent.PID, now.Engine.PID, st.Agent.PID, st.Engine.PID)
	}
	f.destroy(t)
}

// Two runs in one directory wait for each other: both end well, and one cluster is there.
func TestTwoRuns(t *testing.T) {
	t.Parallel()
	f := newFixture(t, false, "a")
	g := fixtureIn(t, f.dir, false, "a")
	g.cluster = f.cluster
	errs := make(chan error, 2) // one result each
	for _, x := range []*fixture{f, g} {
		go func() {
			_, err := x.Ensure(t.Context(), x.cluster, x.said.say)
			errs <- err
		}()
	}
	if err := errors.Join(<-errs, <-errs); err != nil {
		t.Fatal(err)
	}
	if n := len(pidsBelow(f.dir)); n != 1 {
		t.Errorf("%d processes, want the agent", n)
	}
	// A destroy and two creations of it: whatever the order, nothing breaks.
	for _, run := range []func() error{
		func() error { return f.Destroy(t.Context(), f.cluster.ID, nil) },
		func() error { return g.Destroy(t.Context(), g.cluster.ID, nil) },
	} {
		go func() { errs <- run() }()
	}
	if err := errors.Join(<-errs, <-errs); err != nil {
		t.Fatal(err)
	}
	f.nothingLeft(t)
}

// A run that does not get its turn says who has it.
func TestLockedOut(t *testing.T) {
	t.Parallel()
	f := newFixture(t, false, "a")
	if err := os.MkdirAll(f.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	unlock, err := f.lock(t.Context(), f.said.format)
	if err != nil {
		t.Fatal(err)
	}
	holder := fmt.Sprintf("pid %d", os.Getpid())
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		_, err := f.Ensure(t.Context(), f.cluster, f.said.say)
		failure(t, err, errBusy, f.dir, holder, "Wait until it ends")
		if d := time.Since(began); d < lockWait || d > lockWait+time.Second {
			t.Errorf("after %v", d)
		}
		if said := f.said.take(); len(said) != 1 {
			t.Errorf("it said %q, want one line", said)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := f.Ensure(ctx, f.cluster, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("cancelled: %v", err)
		}
	})
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
	f.nothingLeft(t)
}

func (s *transcript) format(format string, args ...any) { s.say(fmt.Sprintf(format, args...)) }
