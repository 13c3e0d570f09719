// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package agent

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/store"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
)

// Which directories are compared: those of disks of their own.
func TestOwnDisks(t *testing.T) {
	disk := &agentapi.Disk{}
	for _, tc := range []struct {
		name   string
		stores []agentapi.StoreSpec
		side   *agentapi.SideDisk
		want   []string
	}{
		{"no side", []agentapi.StoreSpec{{Path: "/d", Disk: disk}}, nil, nil},
		{"directories", []agentapi.StoreSpec{{Path: "/d"}}, &agentapi.SideDisk{Path: "/s"}, nil},
		{"a side in a directory", []agentapi.StoreSpec{{Path: "/d", Disk: disk}}, &agentapi.SideDisk{Path: "/s"}, nil},
		{"disks", []agentapi.StoreSpec{{Path: "/d", Disk: disk}}, &agentapi.SideDisk{Path: "/s", Disk: disk}, []string{"/d"}},
		{"devices", []agentapi.StoreSpec{{Path: "/d", Device: "/dev/a"}, {Path: "/e"}}, &agentapi.SideDisk{Path: "/s", Device: "/dev/b"}, []string{"/d"}},
	} {
		got, side := ownDisks(&agentapi.Spec{Stores: tc.stores, SideDisk: tc.side})
		if diff := cmp.Diff(tc.want, got); diff != "" || (side == "") != (len(tc.want) == 0) {
			t.Errorf("%s: %q, %s", tc.name, side, diff)
		}
	}
}

// A record is for the devices it names, wherever they are mounted and whatever number
// and name they have now.
func TestRatesRecordOf(t *testing.T) {
	data, side := deviceID{UUID: "1", Name: "sda", Bytes: 10}, deviceID{Name: "sdb", Bytes: 5}
	rec := &ratesRecord{Data: []measured{{agentapi.DiskRate{Path: "/d", IOPS: 1}, data}}, Side: measured{agentapi.DiskRate{Path: "/s", IOPS: 2}, side}}
	for _, tc := range []struct {
		name       string
		data, side deviceID
		known      bool
	}{
		{"the same", data, side, true},
		{"another name, grown", deviceID{UUID: "1", Name: "sdc", Bytes: 20}, side, true},
		{"formatted anew", deviceID{UUID: "2", Name: "sda", Bytes: 10}, side, false},
		{"another side", data, deviceID{Name: "sdb", Bytes: 6}, false},
		{"a side that was formatted", data, deviceID{UUID: "3", Name: "sdb", Bytes: 5}, false},
	} {
		got := rec.of([]rated{{"/d2", tc.data}}, rated{"/s2", tc.side})
		if (got != nil) != tc.known || got != nil && (got.Data[0].Path != "/d2" || got.Side.Path != "/s2" || got.Data[0].IOPS != 1) {
			t.Errorf("%s: %+v", tc.name, got)
		}
	}
	if got := rec.of([]rated{{"/d", data}, {"/e", deviceID{UUID: "9"}}}, rated{"/s", side}); got != nil {
		t.Errorf("with a store more: %+v", got)
	}
}

// A disturbance in one of two measurements does not count.
func TestBestRates(t *testing.T) {
	m := func(iops, bandwidth float64) measured {
		return measured{DiskRate: agentapi.DiskRate{IOPS: iops, BandwidthBytes: bandwidth}}
	}
	got := (&ratesRecord{Data: []measured{m(100, 10)}, Side: m(5, 9)}).best(&ratesRecord{Data: []measured{m(90, 20)}, Side: m(50, 8)})
	if want := (&ratesRecord{Data: []measured{m(100, 20)}, Side: m(50, 9)}); !cmp.Equal(want, got) {
		t.Errorf("%+v", got)
	}
}

// A side disk that is too slow shows with both numbers, where logs would use it.
func TestSlowSide(t *testing.T) {
	spec := &agentapi.Spec{Stores: []agentapi.StoreSpec{{Path: "/d", Device: "/dev/a"}}, SideDisk: &agentapi.SideDisk{Path: "/s", Device: "/dev/b"}}
	a := &Agent{}
	a.mu.rates.record = &ratesRecord{
		Data: []measured{{DiskRate: agentapi.DiskRate{Path: "/d", IOPS: 5000, BandwidthBytes: 2e8}}},
		Side: measured{DiskRate: agentapi.DiskRate{Path: "/s", IOPS: 499, BandwidthBytes: 2e8}},
	}
	rates, problems := a.ratesNow(spec)
	if rates == nil || rates.Enough || rates.Data[0].IOPS != 5000 || rates.Side.IOPS != 499 || len(problems) > 0 {
		t.Errorf("disabled: %+v %+v", rates, problems)
	}
	spec.WALFailover.Mode = agentapi.SideDiskMode
	_, problems = a.ratesNow(spec)
	if len(problems) != 1 || !strings.Contains(problems[0].Why, "499") || !strings.Contains(problems[0].Why, "5000") || problems[0].Next == "" {
		t.Errorf("%+v", problems)
	}
	a.mu.rates.record.Side.IOPS = 500
	if rates, problems := a.ratesNow(spec); !rates.Enough || len(problems) > 0 {
		t.Errorf("%+v %+v", rates, problems)
	}
	spec.SideDisk.Path = "/t"
	if rates, problems := a.ratesNow(spec); rates != nil || len(problems) > 0 {
		t.Errorf("another side: %+v %+v", rates, problems)
	}
}

// A lock that is held is seen, and is not taken to see it.
func TestLocked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	check := func(want bool) {
		t.Helper()
		if got, err := locked(path); got != want || err != nil {
			t.Errorf("%v, %v; want %v", got, err, want)
		}
	}
	check(false)
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	check(false)
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	check(true)
	if got, err := heldIn(strings.NewReader("1: POSIX  ADVISORY  WRITE 7 fe:01:99 0 EOF\n2: FLOCK  ADVISORY  WRITE 7 fe:01:98 0 EOF\n"), unix.Mkdev(0xfe, 1), 99); got || err != nil {
		t.Errorf("somebody else's: %v, %v", got, err)
	}
}

// loopDisk is an ext4 of 64 MiB on a loop device, mounted. It goes with the mount.
func loopDisk(t *testing.T, dir, name string) (device, point string) {
	t.Helper()
	run := func(name string, args ...string) string {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v: %s", name, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	image, point := filepath.Join(dir, name+".img"), filepath.Join(dir, name)
	if _, err := os.Stat(image); errors.Is(err, os.ErrNotExist) {
		if err := errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, 64<<20), os.MkdirAll(point, 0o700)); err != nil {
			t.Fatal(err)
		}
		run("mkfs.ext4", "-q", "-F", image)
	}
	device = run("losetup", "--find", "--show", image)
	_, err := exec.CommandContext(t.Context(), "mount", device, point).CombinedOutput()
	run("losetup", "--detach", device) // once nobody has it mounted
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unmount(t, point) })
	return device, point
}

func unmount(t *testing.T, point string) {
	if err := unix.Unmount(point, 0); err != nil && !errors.Is(err, unix.EINVAL) { // EINVAL: it was done
		t.Error(err)
	}
}

// ratesRig is a node of two loop devices whose agents start no engine.
type ratesRig struct {
	t          *testing.T
	dir        string
	data, side string // devices
	dataPoint  string
	sidePoint  string
}

func newRatesRig(t *testing.T) *ratesRig {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("loop devices need root")
	}
	for _, tool := range []string{"losetup", "mkfs.ext4", "mount"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip("needs ", tool, ": scripts/deps.sh installs it")
		}
	}
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	r := &ratesRig{t: t, dir: dir}
	r.data, r.dataPoint = loopDisk(t, dir, "data")
	r.side, r.sidePoint = loopDisk(t, dir, "side")
	if err := os.Mkdir(filepath.Join(dir, "agent"), 0o700); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *ratesRig) spec() *agentapi.Spec {
	return (&agentapi.Spec{
		Cluster: agentapi.Cluster{Name: "orders", ID: "6f2d1c9e-7a53-4c1e-9a55-0f5b3d1c2e4f"}, Node: "a",
		Servers:  []agentapi.Server{{Name: "a", Address: "127.0.0.1:8300", Voter: true}},
		Stores:   []agentapi.StoreSpec{{Path: filepath.Join(r.dataPoint, "store"), Device: r.data}},
		SideDisk: &agentapi.SideDisk{Path: filepath.Join(r.sidePoint, "store"), Device: r.side},
	}).WithDefaults()
}

func (r *ratesRig) agent() *Agent {
	r.t.Helper()
	a, err := open(r.t.Context(), Options{Dir: filepath.Join(r.dir, "agent"), Binary: "/bin/false", Logger: hclog.NewNullLogger()})
	if err != nil {
		r.t.Fatal(err)
	}
	return a
}

// converge sends the spec and converges once.
func (r *ratesRig) converge(a *Agent) agentapi.Status {
	r.t.Helper()
	if _, err := a.acceptLocked(r.t.Context(), r.spec(), nil, false); err != nil {
		r.t.Fatal(err)
	}
	a.converge(true)
	if !a.convergeOnce(r.t.Context()) || len(a.problemsNow()) > 0 || !a.sup.State().Ready {
		r.t.Fatalf("%+v, ready %v", a.problemsNow(), a.sup.State().Ready)
	}
	return a.Status(r.t.Context())
}

// Two disks are measured before their first engine, and not again: not by the same
// agent, not by the next, not under other names; and never while an engine has a store
// open. Another side disk is measured.
//
// Seen to fail without of (each convergence measures) and without engineUses.
func TestRates(t *testing.T) {
	r := newRatesRig(t)
	a := r.agent()
	// An engine that the agent does not know of has the store open.
	if _, problems := a.directoriesLocked(r.spec(), storesRecord{}, place{uid: -1, gid: -1}); len(problems) > 0 {
		t.Fatalf("%+v", problems)
	}
	lock, err := os.Create(filepath.Join(r.spec().Stores[0].Path, store.LockName))
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if got := r.converge(a).Rates; got != nil {
		t.Errorf("measured beside an engine: %+v", got)
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}

	begun := time.Now()
	st := r.converge(a)
	first := st.Rates
	if first == nil || len(first.Data) != 1 || first.Data[0].Path != r.spec().Stores[0].Path || first.Verdict == "" {
		t.Fatalf("%+v %+v", first, st.Problems)
	}
	for _, d := range append(first.Data, first.Side) {
		if d.IOPS <= 0 || d.BandwidthBytes <= 0 {
			t.Errorf("%+v", d)
		}
	}
	t.Logf("within %v: %s", time.Since(begun), first.Verdict)
	if got := r.converge(a).Rates; !cmp.Equal(first, got) {
		t.Errorf("measured again: %+v", got)
	}
	unmount(t, r.dataPoint)
	unmount(t, r.sidePoint)
	r.side, _ = loopDisk(t, r.dir, "side") // the other way round
	r.data, _ = loopDisk(t, r.dir, "data")
	if got := r.converge(r.agent()).Rates; !cmp.Equal(first, got) {
		t.Errorf("measured again by another agent: %+v", got)
	}
	r.side, r.sidePoint = loopDisk(t, r.dir, "side2")
	if got := r.converge(r.agent()).Rates; got == nil || got.At.Equal(first.At) || got.Side.Path != r.spec().SideDisk.Path {
		t.Errorf("another side: %+v", got)
	}
}

// A disk that hangs while it is measured is given up: the engine may start, and the
// status says what is not known until it is measured.
func TestRatesOfHungDisk(t *testing.T) {
	t.Parallel()
	r := newRatesRig(t)
	a := r.agent()
	if _, problems := a.directoriesLocked(r.spec(), storesRecord{}, place{uid: -1, gid: -1}); len(problems) > 0 {
		t.Fatalf("%+v", problems)
	}
	point, err := os.Open(r.sidePoint)
	if err != nil {
		t.Fatal(err)
	}
	const freeze, thaw = 0xc0045877, 0xc0045878 // FIFREEZE, FITHAW
	if err := unix.IoctlSetInt(int(point.Fd()), freeze, 0); err != nil {
		t.Fatal(err)
	}
	released := sync.OnceFunc(func() {
		if err := errors.Join(unix.IoctlSetInt(int(point.Fd()), thaw, 0), point.Close()); err != nil {
			t.Error(err)
		}
		// What was parked has left the disk when the next one gets its turn.
		if err := a.disks.Do("rates of "+r.spec().SideDisk.Path, time.Minute, func() error { return nil }); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(released)
	begun := time.Now()
	st := r.converge(a)
	if past := time.Since(begun); past > rateBound+askDevices {
		t.Errorf("it took %v", past)
	}
	if st.Rates != nil || !slices.ContainsFunc(st.Problems, func(p agentapi.Problem) bool { return p.What == "the disks were not measured" }) {
		t.Errorf("%+v %+v", st.Rates, st.Problems)
	}
	released()
	if st := r.converge(a); st.Rates == nil {
		t.Errorf("not measured when it answers: %+v", st.Problems)
	}
}
