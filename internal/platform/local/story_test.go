// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

//go:build linux

package local

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
)

// Up, all alive, again without a change, down, nothing left.
func TestLife(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, root bool) {
		t.Parallel()
		f := newFixture(t, root, "a", "b")
		if err := f.Preflight(t.Context(), f.cluster); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Lstat(f.dir); !errors.Is(err, os.ErrNotExist) {
			t.Fatalf("the preflight made something: %v", err)
		}
		machines := f.ensure(t)
		if got := slices.Sorted(maps.Keys(machines)); !slices.Equal(got, []string{"a", "b"}) {
			t.Fatalf("machines %v", got)
		}
		devices := map[string]bool{}
		for _, m := range machines {
			if ip, err := netip.ParseAddr(m.Address); err != nil || !ip.IsLoopback() {
				t.Errorf("node %s: address %q", m.Name, m.Address)
			}
			for _, d := range append(m.Stores, m.SideDisk) {
				devices[d.Device] = true
				if _, err := os.Stat(filepath.Dir(d.Path)); err != nil {
					t.Errorf("node %s: %v", m.Name, err)
				}
				if root != strings.HasPrefix(d.Device, "/dev/loop") {
					t.Errorf("node %s: device %q", m.Name, d.Device)
				}
			}
		}
		if want := map[bool]int{true: 4, false: 1}[root]; len(devices) != want {
			t.Errorf("devices %v, want %d: each disk has its own", slices.Sorted(maps.Keys(devices)), want)
		}
		if machines["a"].Address == machines["b"].Address {
			t.Errorf("both nodes have the address %s", machines["a"].Address)
		}
		a := f.start(t, machines, "a")
		f.start(t, machines, "b")
		if root && a.Stores[0].FSType != "ext4" {
			t.Errorf("the store lies on %+v", a.Stores[0])
		}

		// Again: nothing is made, and nobody is replaced.
		f.said.take()
		again := f.ensure(t)
		if d := cmp.Diff(machines, again); d != "" {
			t.Errorf("again: %s", d)
		}
		if said := f.said.take(); len(said) > 0 {
			t.Errorf("again, it did: %q", said)
		}
		if st := f.running(t, "a"); st.Engine.PID != a.Engine.PID || st.Agent.PID != a.Agent.PID {
			t.Errorf("agent %d and engine %d were %d and %d", st.Agent.PID, st.Engine.PID, a.Agent.PID, a.Engine.PID)
		}
		if observed, err := f.Observe(t.Context()); err != nil || !cmp.Equal(machines, observed) {
			t.Errorf("observed: %v %v", cmp.Diff(machines, observed), err)
		}
		if name, id, ok, err := f.Adopt(t.Context()); name != f.cluster.Name || id != f.cluster.ID || !ok || err != nil {
			t.Errorf("adopt: %q %q %v %v", name, id, ok, err)
		}

		// An agent that was killed comes back and finds its engine.
		if err := syscall.Kill(a.Agent.PID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		f.ensure(t)
		if st := f.running(t, "a"); st.Engine.PID != a.Engine.PID || st.Agent.PID == a.Agent.PID {
			t.Errorf("agent %d and engine %d were %d and %d", st.Agent.PID, st.Engine.PID, a.Agent.PID, a.Engine.PID)
		}
		f.destroy(t)
		if err := f.Destroy(t.Context(), f.cluster.ID, nil); err != nil {
			t.Errorf("destroyed again: %v", err)
		}
		if _, _, ok, err := f.Adopt(t.Context()); ok || err != nil {
			t.Errorf("adopt afterwards: %v %v", ok, err)
		}
	})
}

// A run that is killed at any of its steps is continued by the next one, keeping
// what it had made, or destroyed without a trace.
func TestKilledAnywhere(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, root bool) {
		t.Parallel()
		for _, then := range []string{"continued", "destroyed"} {
			t.Run(then, func(t *testing.T) {
				t.Parallel()
				for step := 1; ; step++ {
					f := newFixture(t, root, "a")
					said, killed := f.runDoomed(t, false, step)
					if !killed {
						if step < 5 {
							t.Errorf("there were %d steps only:\n%s", step, said)
						}
						f.destroy(t)
						return
					}
					if then == "continued" {
						before := tree(t, f.dir)
						f.start(t, f.ensure(t), "a")
						for path := range before {
							if _, err := os.Stat(path); err != nil && !strings.HasSuffix(path, ".new") {
								t.Errorf("killed at %d, %s is gone", step, path)
							}
						}
					}
					f.destroy(t)
				}
			})
		}
	})
}

// A destroy that is killed at any of its steps is ended by the next, or by the
// next cluster that is made in its place.
func TestDestroyKilledAnywhere(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, root bool) {
		t.Parallel()
		for _, then := range []string{"destroyed", "another"} {
			t.Run(then, func(t *testing.T) {
				t.Parallel()
				for step := 1; ; step++ {
					f := newFixture(t, root, "a")
					f.start(t, f.ensure(t), "a")
					said, killed := f.runDoomed(t, true, step)
					if !killed {
						if step < 4 {
							t.Errorf("there were %d steps only:\n%s", step, said)
						}
						f.nothingLeft(t)
						return
					}
					f.afterKilledDestroy(t, step, then == "another")
				}
			})
		}
	})
}

func (f *fixture) afterKilledDestroy(t *testing.T, step int, another bool) {
	t.Helper()
	_, id, ok, err := f.Adopt(t.Context())
	if err != nil || ok || id != f.cluster.ID && id != "" {
		t.Errorf("killed at %d, adopt: %q %v %v", step, id, ok, err)
	}
	if machines, err := f.Observe(t.Context()); err != nil || len(machines) > 0 {
		t.Errorf("killed at %d, there are %v %v", step, machines, err)
	}
	if id != "" { // the same one cannot be: part of it is gone
		_, err := f.Ensure(t.Context(), f.cluster, nil)
		failure(t, err, errChanged, "half destroyed")
	}
	if another {
		f.cluster.ID = uuid.NewString()
		if err := f.Preflight(t.Context(), f.cluster); err != nil {
			t.Errorf("killed at %d, the next one: %v", step, err)
		}
		f.start(t, f.ensure(t), "a")
	}
	f.destroy(t)
}

// Data survives everything but a destroy: the disks are mounted again after
// whatever took their mounts, with their content.
func TestRepair(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, root bool) {
		t.Parallel()
		f := newFixture(t, root, "a")
		machines := f.ensure(t)
		note := filepath.Join(filepath.Dir(machines["a"].Stores[0].Path), "note")
		if err := os.WriteFile(note, []byte("hello"), 0o600); err != nil {
			t.Fatal(err)
		}
		// As after a reboot: no process, no mount, no device.
		for _, pid := range pidsBelow(f.dir) {
			if err := end(t.Context(), process{Identity: identityOf(t, pid)}, 0, bound); err != nil {
				t.Fatal(err)
			}
		}
		for _, m := range mountsBelow(f.dir) {
			if err := syscall.Unmount(m.Point, 0); err != nil {
				t.Fatal(err)
			}
		}
		// A device goes with its last user: a test of another package may have it in a mount namespace of its own.
		var left []string
		if gone, err := settled(t.Context(), bound, func() (bool, error) { left = leftovers(f.dir); return len(left) == 0, nil }); err != nil || !gone {
			t.Fatalf("still there: %q %v", left, err)
		}
		if m, err := f.Observe(t.Context()); err != nil || m["a"].Stores[0].Device != "" {
			t.Errorf("observed: %+v %v", m, err)
		}
		if _, err := f.Node("a").Agent().Status(t.Context()); !errors.Is(err, agentapi.ErrUnreachable) {
			t.Errorf("the agent: %v", err)
		}
		f.start(t, f.ensure(t), "a")
		if b, err := os.ReadFile(note); err != nil || string(b) != "hello" {
			t.Errorf("after the repair: %q %v", b, err)
		}

		// Another binary replaces the agents and leaves the engine; the old one goes.
		before := f.running(t, "a")
		b, err := os.ReadFile(f.cluster.Binary)
		if err != nil {
			t.Fatal(err)
		}
		f.cluster.Binary = filepath.Join(filepath.Dir(f.dir), "newer")
		if err := os.WriteFile(f.cluster.Binary, append(b, '\n'), 0o755); err != nil {
			t.Fatal(err)
		}
		f.ensure(t)
		after := f.running(t, "a")
		if after.Agent.PID == before.Agent.PID || after.Engine.PID != before.Engine.PID {
			t.Errorf("agent %d and engine %d were %d and %d", after.Agent.PID, after.Engine.PID, before.Agent.PID, before.Engine.PID)
		}
		if n := len(tree(t, f.binDir())); n != 3 { // the directory, the engine's, the agent's
			t.Errorf("%d files in bin", n-1)
		}
		if _, err := f.Node("a").Agent().Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		f.ensure(t)
		if n := len(tree(t, f.binDir())); n != 2 {
			t.Errorf("%d files in bin after the engine's restart", n-1)
		}
		f.destroy(t)
	})
}

// A cluster grows by nodes, and keeps those that a call does not name.
func TestMoreNodes(t *testing.T) {
	t.Parallel()
	f := newFixture(t, false, "b")
	first := f.ensure(t)["b"]
	f.cluster.Nodes = []platform.Node{{Name: "a"}, {Name: "b"}}
	both := f.ensure(t)
	if d := cmp.Diff(first, both["b"]); d != "" {
		t.Errorf("b changed: %s", d)
	}
	if both["a"].Address == first.Address {
		t.Errorf("a got b's address %s", first.Address)
	}
	f.cluster.Nodes = f.cluster.Nodes[:1]
	if got := f.ensure(t); len(got) != 1 || !f.answers(t.Context(), "b", bound) {
		t.Errorf("asked for a: %v, and b's agent answers: %v", got, f.answers(t.Context(), "b", bound))
	}
	f.destroy(t)
}

// Clusters side by side have different networks, be their engines stopped.
func TestSideBySide(t *testing.T) {
	t.Parallel()
	f := newFixture(t, false, "a")
	g := newFixture(t, false, "a")
	g.cluster.Ports = f.cluster.Ports
	// The second would choose the network that the first one has.
	rec := networkOf(t, f)
	candidates := append([]int{rec}, g.networks()...)
	if slices.Contains(g.networks(), rec) {
		t.Errorf("the network %d has agents and is a candidate", rec)
	}
	f.start(t, f.ensure(t), "a")
	next, err := assign(&record{Ports: g.cluster.Ports, Nodes: map[string]nodeRecord{"a": {}}}, candidates, g.portsFree)
	if err != nil || next.Network == rec {
		t.Errorf("beside a running engine: %+v %v", next, err)
	}
	m := g.ensure(t)
	if m["a"].Address == fmt.Sprintf("127.0.%d.1", rec) {
		t.Errorf("both have %s", m["a"].Address)
	}
	g.start(t, m, "a")
	f.destroy(t)
	g.running(t, "a") // the other one is not touched
	g.destroy(t)
}

// networkOf makes f's cluster and returns its network.
func networkOf(t *testing.T, f *fixture) int {
	t.Helper()
	f.ensure(t)
	rec, err := f.look()
	if err != nil || rec == nil {
		t.Fatalf("%v %v", rec, err)
	}
	return rec.Network
}

// Who is not root has a whole life, too, beside root's cluster of the same names:
// it may not look at that one's devices.
func TestNotRoot(t *testing.T) {
	t.Parallel()
	needRoot(t)
	const nobody = 65534
	f, g := newFixture(t, true, "a"), newFixture(t, false, "a")
	f.ensure(t)
	place := filepath.Dir(g.dir)
	installed, err := installTo(place, g.cluster.Binary)
	binary := filepath.Join(place, "made") // another name than the one that makes it a holdfast
	if err := errors.Join(err, os.Rename(installed, binary), os.Chmod(scratch, 0o755), os.Chmod(place, 0o755), os.Mkdir(g.dir, 0o700), os.Chown(g.dir, nobody, nobody)); err != nil {
		t.Fatal(err)
	}
	g.cluster.Binary, g.cfg.Root, g.user = binary, nil, &syscall.Credential{Uid: nobody, Gid: nobody}
	for range 2 {
		g.runDoomed(t, false, 0)
	}
	rec, err := g.look()
	if err != nil || rec.Mode != modePlain {
		t.Fatalf("%+v %v", rec, err)
	}
	if !g.answers(t.Context(), "a", bound) {
		t.Error("its agent does not answer")
	}
	g.runDoomed(t, true, 0)
	if got := tree(t, g.dir); len(got) > 1 || len(leftovers(g.dir)) > 0 { // the directory is in one of root's
		t.Errorf("left: %q %q", got, leftovers(g.dir))
	}
	f.destroy(t)
}
