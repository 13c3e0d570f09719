// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

//go:build linux

package ssh

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform/sshhost"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform/sshhost/sshdtest"
)

// cutOff puts the last machine behind a relay, and returns it.
func (w *world) cutOff(t *testing.T) *sshdtest.Relay {
	t.Helper()
	last := len(w.machines) - 1
	r := sshdtest.StartRelay(t, 0, w.machines[last].Port)
	name := string(rune('a' + last))
	n := w.cfg.Nodes[name]
	n.Port = r.Port
	w.cfg.Nodes[name] = n
	w.p = open(t, w.cfg)
	return r
}

// One machine does not answer while a cluster is looked at and destroyed.
func TestOneIsDown(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3)
	r := w.cutOff(t)
	bin, _ := build(t, "1")
	c := cluster(bin, "a", "b", "c")
	ensure(t, w.p, c)
	cutC := func() {
		r.Down.Store(true)
		r.Cut()
	}
	cutC()

	t.Run("a look does not wait for it", func(t *testing.T) {
		cfg := w.cfg
		cfg.Access.BootTimeout = 0 // two minutes, longer than the look has
		p := open(t, cfg)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		name, id, ok, err := p.Adopt(ctx)
		if err != nil || !ok || name != "demo" || id != c.ID {
			t.Fatalf("%s, %s, %v, %v", name, id, ok, err)
		}
		machines, err := p.Observe(ctx)
		if err != nil || len(machines) != 3 || len(machines["a"].Stores) != 2 {
			t.Errorf("%v, %v", machines, err)
		}
		if diff := cmp.Diff(platform.Machine{Name: "c", Address: addressOf(2)}, machines["c"]); diff != "" {
			t.Error(diff)
		}
		if _, err := p.Node("a").Agent().Status(ctx); err != nil {
			t.Error(err)
		}
		_, err = p.Node("c").Agent().Status(ctx)
		wantError(t, err, agentapi.ErrUnreachable)
		wantError(t, err, sshhost.ErrUnreachable, "cannot be reached over SSH")
		_, err = p.Node("c").DialContext(ctx, "tcp", "127.0.0.1:1")
		wantError(t, err, sshhost.ErrUnreachable, "node c: ")
		_, err = p.Node("z").Agent().Status(ctx)
		wantError(t, err, agentapi.ErrUnreachable)
		wantError(t, err, errNoMachine)
	})
	t.Run("an apply is refused, and changes nothing", func(t *testing.T) {
		next, _ := build(t, "2")
		c := c
		c.Binary = next
		was := w.state(t)
		_, err := w.p.Ensure(within(t), c, nil)
		wantError(t, err, sshhost.ErrUnreachable, "node c: ")
		if diff := cmp.Diff(was, w.state(t)); diff != "" {
			t.Error(diff)
		}
	})
	destroyed := func(t *testing.T) {
		t.Helper()
		var s steps
		err := w.p.Destroy(within(t), c.ID, s.add)
		wantError(t, err, sshhost.ErrUnreachable, "node c: ", "destroy again")
		for _, m := range w.machines[:2] {
			wantFiles(t, m, "/var/lib/holdfast", recordPath)
			if rec := m.record(t); !rec.Destroying {
				t.Errorf("%+v", rec)
			}
		}
		if !strings.Contains(strings.Join(s.lines, "\n"), "2 machines are empty; their records stay") {
			t.Errorf("%q", s.lines)
		}
	}
	t.Run("a destroy", func(t *testing.T) {
		for range 2 { // the second run has nothing to do on a and b
			destroyed(t)
		}
		half := "demo " + c.ID + " false"
		if got := adopt(t, w.p); got != half {
			t.Errorf("got %s, want %s", got, half)
		}
		r.Down.Store(false)
		if got := adopt(t, w.p); got != half { // c's record does not say so
			t.Errorf("got %s, want %s", got, half)
		}
		if machines, err := w.p.Observe(within(t)); err != nil || len(machines) != 0 {
			t.Errorf("%v, %v", machines, err)
		}
		// It is not made whole with a and b empty.
		_, err := w.p.Ensure(within(t), c, nil)
		wantError(t, err, errDestroying, "terraform destroy")
		if err := w.p.Destroy(within(t), c.ID, nil); err != nil {
			t.Fatal(err)
		}
		for _, m := range w.machines {
			wantFiles(t, m)
		}
	})
	t.Run("another cluster ends it", func(t *testing.T) {
		ensure(t, w.p, c)
		cutC()
		destroyed(t)
		next := c
		next.ID = otherID
		wantError(t, w.p.Preflight(within(t), next), sshhost.ErrUnreachable, "node c: ")
		r.Down.Store(false)
		if err := w.p.Preflight(within(t), next); err != nil {
			t.Fatal(err)
		}
		w.machines[2].calls(t)
		_, lines := ensure(t, w.p, next)
		if !strings.Contains(strings.Join(lines, "\n"), "ending the destruction of cluster "+c.ID) {
			t.Errorf("%q", lines)
		}
		if diff := cmp.Diff([]string{"agent remove -cluster-id " + c.ID, "agent install -node c"}, w.machines[2].calls(t)); diff != "" {
			t.Error(diff)
		}
		if got, want := adopt(t, w.p), "demo "+otherID+" true"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		// The id of the first one destroys nothing of it.
		was := w.state(t)
		if err := w.p.Destroy(within(t), c.ID, nil); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(was, w.state(t)); diff != "" {
			t.Error(diff)
		}
	})
}

// Where no machine that answers has a record, one that does not may have it.
func TestNoneIsBelievedOfAllOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	r := w.cutOff(t)
	r.Down.Store(true)
	_, _, ok, err := w.p.Adopt(within(t))
	if ok {
		t.Error("there is a cluster")
	}
	wantError(t, err, errNobody, "node b: ")
	_, err = w.p.Observe(within(t))
	wantError(t, err, errNobody)
}

// A machine that starts is waited for where the others cannot tell.
func TestAdoptWaits(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	bin, _ := build(t, "1")
	ensure(t, w.p, cluster(bin, "a"))
	w.cfg.Access.BootTimeout = time.Minute
	r := w.cutOff(t)
	var tried atomic.Int32
	r.OnAccept(func() { r.Down.Store(tried.Add(1) < 3) })
	if got, want := adopt(t, w.p), "demo "+cluster(bin).ID+" true"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if tried.Load() != 3 {
		t.Errorf("it was tried %d times", tried.Load())
	}
}

// One look asks a machine that is down once.
func TestTrialIsRemembered(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	r := w.cutOff(t)
	var tried atomic.Int32
	r.OnAccept(func() { tried.Add(1) })
	r.Down.Store(true)
	n := w.p.nodes["a"]
	n.memory = time.Hour
	for range 3 {
		wantError(t, n.try(within(t)), sshhost.ErrUnreachable)
	}
	if got := tried.Load(); got != 1 {
		t.Errorf("it was tried %d times", got)
	}
	r.Down.Store(false)
	if err := n.wait(within(t)); err != nil { // who waits, tries
		t.Fatal(err)
	}
	if err := n.try(within(t)); err != nil {
		t.Error(err)
	}
	n.memory = -1
	r.Down.Store(true)
	r.Cut()
	for n.try(within(t)) == nil { // until the connection's end is noticed
	}
	r.Down.Store(false)
	if err := n.try(within(t)); err != nil { // it is forgotten
		t.Error(err)
	}
}

// A call that has no more time leaves the attempt to log in to the next.
func TestTrialGoesOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	r := w.cutOff(t)
	ctx, cancel := context.WithCancel(t.Context())
	r.OnAccept(cancel)
	n := w.p.nodes["a"]
	if err := n.try(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if err := n.try(within(t)); err != nil {
		t.Fatal(err)
	}
	if got := w.machines[0].Accepted.Load(); got != 1 {
		t.Errorf("it was logged in %d times", got)
	}
	if err := w.p.Close(); err != nil {
		t.Error(err)
	}
	if err := n.try(within(t)); !errors.Is(err, sshhost.ErrClosed) {
		t.Errorf("got %v", err)
	}
}

// Of two clusters that want a machine at once, one gets it.
func TestClaimOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	n := w.p.nodes["a"]
	if err := n.wait(within(t)); err != nil {
		t.Fatal(err)
	}
	const rivals = 5
	var got [rivals]error
	var wg sync.WaitGroup
	for i := range rivals {
		c := cluster("")
		c.ID = strings.Replace(otherID, "2222", strings.Repeat(string(rune('1'+i)), 4), 1)
		wg.Go(func() { got[i] = n.claim(within(t), recordFor(c, platform.Node{Name: "a"}, nil)) })
	}
	wg.Wait()
	winners := 0
	for i, err := range got {
		switch {
		case err == nil:
			winners++
			if id := w.machines[0].record(t).Cluster.ID; !strings.Contains(id, strings.Repeat(string(rune('1'+i)), 4)) {
				t.Errorf("%d won, and the record says %s", i, id)
			}
		case !errors.Is(err, errOther):
			t.Errorf("got %v", err)
		}
	}
	if winners != 1 {
		t.Errorf("%d got it", winners)
	}
	wantFiles(t, w.machines[0], "/var/lib/holdfast", recordPath)
	// Its own claim, whose answer was lost, is no other's.
	own := w.machines[0].record(t)
	if err := n.claim(within(t), own); err != nil {
		t.Error(err)
	}
}

func TestFirstContact(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3)
	cfg := w.cfg
	cfg.Nodes = map[string]Node{}
	for name, n := range w.cfg.Nodes {
		n.HostKeys = nil
		cfg.Nodes[name] = n
	}
	cfg.Access.KnownHosts, cfg.Access.Record = filepath.Join(t.TempDir(), "known_hosts"), true
	if got := adopt(t, open(t, cfg)); got != "false" {
		t.Errorf("got %s", got)
	}
	b, err := os.ReadFile(cfg.Access.KnownHosts)
	if err != nil || strings.Count(string(b), "\n") != 3 {
		t.Errorf("%q, %v", b, err)
	}
}

// The machines are behind one that is gone through.
func TestJump(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	jump := sshdtest.Start(t, sshdtest.Options{})
	cfg := w.cfg
	cfg.Access.Jump = []sshhost.Endpoint{{User: jump.User, Address: "127.0.0.1", Port: jump.Port, Key: sshhost.Key{PEM: jump.Key.PEM}, HostKey: sshhost.HostKey{Given: []string{jump.HostKeys[0].Fingerprint()}}}}
	bin, _ := build(t, "1")
	ensure(t, open(t, cfg), cluster(bin, "a", "b"))
	if got := jump.Accepted.Load(); got != 2 {
		t.Errorf("it was logged in %d times", got)
	}
}

// A machine whose binary is gone is not said to be empty while there is anything of the cluster.
func TestLeftWithoutBinary(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	m, c := w.machines[0], cluster("", "a")
	for name, left := range map[string]string{"a unit": unitPath, "a spec": stateDir + "/spec.json", "certificates": stateDir + "/pki"} {
		t.Run(name, func(t *testing.T) {
			m.putRecord(t, recordFor(c, c.Nodes[0], nil))
			m.put(t, left, specOf(c, "a", "a"))
			wantError(t, w.p.Destroy(within(t), c.ID, nil), errNoBinary, "node a: ", "Put the binary back")
			if !m.record(t).Destroying || !m.has(t, left) {
				t.Error("something went")
			}
			if err := os.Remove(m.path(left)); err != nil {
				t.Fatal(err)
			}
			if err := w.p.Destroy(within(t), c.ID, nil); err != nil {
				t.Fatal(err)
			}
			wantFiles(t, m)
		})
	}
}

// A machine that lost its record is its cluster's by its agent's spec: a destroy does not leave
// its engine running, and an apply makes the record again.
func TestRecordLost(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	bin, _ := build(t, "1")
	c := cluster(bin, "a")
	m := w.machines[0]
	ensure(t, w.p, c)
	lose := func() {
		t.Helper()
		m.put(t, stateDir+"/spec.json", specOf(c, "a", "a"))
		if err := os.Remove(m.path(recordPath)); err != nil {
			t.Fatal(err)
		}
	}
	lose()
	if got, want := adopt(t, w.p), "demo "+c.ID+" true"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if seen, err := w.p.Observe(within(t)); err != nil || seen["a"].Address != addressOf(0) {
		t.Errorf("%+v, %v", seen, err)
	}
	ensure(t, w.p, c)
	if r := m.record(t); r == nil || r.Cluster.ID != c.ID {
		t.Errorf("%+v", r)
	}
	lose()
	m.calls(t)
	if err := w.p.Destroy(within(t), c.ID, nil); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"agent remove -cluster-id " + c.ID}, m.calls(t)); diff != "" {
		t.Error(diff)
	}
	wantFiles(t, m)
}
