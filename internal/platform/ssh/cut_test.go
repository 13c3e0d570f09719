// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

//go:build linux

package ssh

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform/sshhost"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform/sshhost/sshdtest"
)

// behind reaches one machine through a relay.
func behind(t *testing.T) (m *machine, r *sshdtest.Relay, through, straight Config) {
	t.Helper()
	m = startMachine(t, sshdtest.Options{})
	r = sshdtest.StartRelay(t, 0, m.Port)
	straight = configOf(m)
	give(t, &straight, m)
	through = straight
	n := straight.Nodes["a"]
	n.Port = r.Port
	through.Nodes = map[string]Node{"a": n}
	return m, r, through, straight
}

// everyCut has TestCutAnywhere cut at many more points.
const everyCut = "HOLDFAST_TEST_EVERY_CUT"

// cuts are points of a run that sends total bytes, one at least in each of its steps: before the
// first that is told (login, facts, look and claim) there are four, and between two of them one.
// told are how many bytes were sent when each was.
func cuts(told []int64, total int64) []int64 {
	at := []int64{0}
	if os.Getenv(everyCut) != "" {
		for n := int64(0); n < 9_000; n += 1_300 {
			at = append(at, n, total-n-100)
		}
	}
	from := int64(0)
	for i, to := range append(told, total) {
		parts := int64(2)
		if i == 0 {
			parts = 5
		}
		for n := int64(1); n < parts; n++ {
			at = append(at, from+(to-from)*n/parts)
		}
		from = to
	}
	slices.Sort(at)
	return slices.DeleteFunc(slices.Compact(at), func(n int64) bool { return n < 0 || n >= total })
}

// The connection is cut after N bytes and does not come back, for N in every step of an Ensure
// and of a Destroy. Each time the error says so, and the next run ends what was begun and
// leaves nothing of the one before.
func TestCutAnywhere(t *testing.T) {
	t.Parallel()
	type scene struct {
		m                 *machine
		r                 *sshdtest.Relay
		through, straight Config
		c                 platform.Cluster
		hash              string
	}
	begin := func(t *testing.T) *scene {
		t.Helper()
		var s scene
		s.m, s.r, s.through, s.straight = behind(t)
		var bin string
		bin, s.hash = build(t, "1")
		s.c = cluster(bin, "a")
		return &s
	}
	ensured := func(t *testing.T, s *scene) {
		t.Helper()
		p := open(t, s.straight)
		if machines, _ := ensure(t, p, s.c); len(machines) != 1 {
			t.Errorf("got %v", machines)
		}
		_ = p.Close()
	}
	destroyed := func(t *testing.T, s *scene) {
		t.Helper()
		p := open(t, s.straight)
		if err := p.Destroy(within(t), s.c.ID, nil); err != nil {
			t.Fatal(err)
		}
		_ = p.Close()
	}
	type run func(p *Platform, told func(string)) error
	// points does all of a run, and says where to cut it.
	points := func(t *testing.T, s *scene, f run) []int64 {
		t.Helper()
		before := s.r.Up.Load()
		var told []int64
		p := open(t, s.through)
		if err := f(p, func(string) { told = append(told, s.r.Up.Load()-before) }); err != nil {
			t.Fatal(err)
		}
		_ = p.Close()
		return cuts(told, s.r.Up.Load()-before)
	}
	cut := func(t *testing.T, s *scene, n int64, f run) {
		t.Helper()
		s.r.DownAfterCut.Store(true)
		s.r.Budget.Store(n)
		p := open(t, s.through)
		err := f(p, nil)
		_ = p.Close()
		// Its end may be cut in what nobody waits for any more.
		if err != nil && (!lost(err) || !strings.Contains(err.Error(), "node a: ")) {
			t.Errorf("cut after %d bytes: %v", n, err)
		}
		s.r.Budget.Store(-1)
		s.r.Down.Store(false)
	}
	t.Run("an Ensure", func(t *testing.T) {
		t.Parallel()
		s := begin(t)
		f := func(p *Platform, told func(string)) error { _, err := p.Ensure(within(t), s.c, told); return err }
		at := points(t, s, f)
		for _, n := range at {
			destroyed(t, s)
			cut(t, s, n, f)
			if rec := s.m.record(t); rec == nil && s.m.has(t, binaryPath) {
				t.Errorf("cut after %d bytes: installed without a record", n)
			}
			ensured(t, s)
			if rec := s.m.record(t); rec == nil || rec.Binary != s.hash {
				t.Errorf("cut after %d bytes: %+v", n, rec)
			}
			if diff := cmp.Diff(installed, s.m.files(t)); diff != "" {
				t.Errorf("cut after %d bytes: %s", n, diff)
			}
		}
		t.Logf("cut after %d bytes", at)
	})
	t.Run("a Destroy", func(t *testing.T) {
		t.Parallel()
		s := begin(t)
		f := func(p *Platform, told func(string)) error { return p.Destroy(within(t), s.c.ID, told) }
		ensured(t, s)
		at := points(t, s, f)
		for _, n := range at {
			ensured(t, s)
			cut(t, s, n, f)
			if len(s.m.files(t)) > 1 && s.m.record(t) == nil { // an empty directory may be left
				t.Errorf("cut after %d bytes: the record went before %v", n, s.m.files(t))
			}
			destroyed(t, s)
			wantFiles(t, s.m)
		}
		t.Logf("cut after %d bytes", at)
	})
}

// A cut in the middle is told as one, with what to do.
func TestCutSays(t *testing.T) {
	t.Parallel()
	_, r, through, _ := behind(t)
	bin, _ := build(t, "1")
	r.Budget.Store(4 << 20) // in the upload
	r.DownAfterCut.Store(true)
	_, err := open(t, through).Ensure(within(t), cluster(bin, "a"), nil)
	if !lost(err) {
		t.Errorf("got %v", err)
	}
	for _, w := range []string{"node a: ", "127.0.0.1"} {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("it does not say %q: %v", w, err)
		}
	}
}

// A connection that breaks while the agent is asked says nothing of the agent.
func TestCutInAnswer(t *testing.T) {
	t.Parallel()
	_, r, through, straight := behind(t)
	bin, _ := build(t, "1")
	ensure(t, open(t, straight), cluster(bin, "a"))
	before := r.Up.Load()
	node := open(t, through).nodes["a"]
	if err := node.wait(within(t)); err != nil {
		t.Fatal(err)
	}
	first := r.Up.Load() - before
	if _, err := node.status(within(t)); err != nil {
		t.Fatal(err)
	}
	last := r.Up.Load() - before
	for _, back := range []bool{false, true} {
		for n := first + 50; n < last; n += (last - first) / 5 {
			r.DownAfterCut.Store(!back)
			r.Budget.Store(n) // of the connection that comes
			node := open(t, through).nodes["a"]
			if err := node.wait(within(t)); err != nil {
				t.Fatal(err)
			}
			r.Budget.Store(-1)
			st, err := node.status(within(t))
			if back && (err != nil || st.Node != "a") || !back && err != nil && !lost(err) {
				t.Errorf("cut after %d of %d to %d bytes, back %t: %q, %v", n, first, last, back, st.Node, err)
			}
			r.Down.Store(false)
		}
	}
}

// A connection that comes back is gone on with in the same run.
func TestReconnect(t *testing.T) {
	t.Parallel()
	m, r, through, _ := behind(t)
	bin, hash := build(t, "1")
	p := open(t, through)
	r.Budget.Store(4 << 20)
	ensure(t, p, cluster(bin, "a"))
	if got := m.record(t); got == nil || got.Binary != hash {
		t.Errorf("%+v", got)
	}
	r.Cut()
	if st, err := p.Node("a").Agent().Status(within(t)); err != nil || st.Node != "a" {
		t.Errorf("%q, %v", st.Node, err)
	}
}

func TestGoBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	m := w.machines[0]
	bin, hash := build(t, "1")
	broken, brokenHash := build(t, brokenMark)
	c := cluster(broken, "a")
	version := func() string {
		t.Helper()
		st, err := w.p.Node("a").Agent().Status(within(t))
		if err != nil {
			t.Fatal(err)
		}
		return st.Agent.Version
	}
	// The first one has nothing to go back to.
	_, err := w.p.Ensure(within(t), c, nil)
	wantError(t, err, err, "node a: the agent of 127.0.0.1 does not come up", "holdfast-agent.service failed", "journalctl")
	if m.has(t, binaryPath+".previous") {
		t.Error("there is a previous one")
	}
	c.Binary = bin
	ensure(t, w.p, c)

	c.Binary = broken
	for range 2 { // the next apply tries it again
		m.calls(t)
		_, err = w.p.Ensure(within(t), c, nil)
		wantError(t, err, errFailed, brokenHash[:12], "holdfast-agent.service failed", "The previous one ("+hash[:12]+") was put back, and its agent answers")
		if got := m.record(t).Binary; got != hash || version() != hash {
			t.Errorf("on record is %.12s, %.12s runs", got, version())
		}
		if diff := cmp.Diff([]string{"agent install -node a", "agent install -node a"}, m.calls(t)); diff != "" {
			t.Error(diff)
		}
	}

	t.Run("uploaded by a run that was cut", func(t *testing.T) {
		c := c
		c.Binary = bin
		ensure(t, w.p, c)
		n := w.p.nodes["a"]
		b, err := openBinary(broken)
		if err != nil {
			t.Fatal(err)
		}
		defer b.close()
		if _, err := b.upload(within(t), n); err != nil {
			t.Fatal(err)
		}
		c.Binary = broken
		_, err = w.p.Ensure(within(t), c, nil)
		wantError(t, err, errFailed, "its agent answers")
		if version() != hash {
			t.Error("the broken one is still there")
		}
	})
	t.Run("the previous one is not the one that ran", func(t *testing.T) {
		c := c
		c.Binary = bin
		ensure(t, w.p, c)
		c.Binary = broken
		other, _ := build(t, brokenMark+"2")
		b, err := openBinary(other)
		if err != nil {
			t.Fatal(err)
		}
		defer b.close()
		if _, err := b.upload(within(t), w.p.nodes["a"]); err != nil {
			t.Fatal(err)
		}
		_, err = w.p.Ensure(within(t), c, nil)
		if errors.Is(err, errFailed) || err == nil || !strings.Contains(err.Error(), "does not come up") {
			t.Errorf("got %v", err)
		}
		c.Binary = bin // the apply of a binary that works mends it
		ensure(t, w.p, c)
		if version() != hash {
			t.Error("another one runs")
		}
	})
}

func TestFullDisk(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	m := w.machines[0]
	size := func(s string) {
		t.Helper()
		if out, err := exec.Command("nsenter", "--mount", "--target", fmt.Sprint(m.pid), "mount", "-o", "remount,size="+s, binaryDir).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	bin, hash := build(t, "1")
	c := cluster(bin, "a")
	size("1M")
	wantError(t, w.p.Preflight(within(t), c), sshhost.ErrDiskFull, "node a: ", "needed are 1024 MiB")
	wantFiles(t, m)
	_, err := w.p.Ensure(within(t), c, nil)
	wantError(t, err, sshhost.ErrDiskFull, "node a: ", "Free some space")
	size("1G")
	ensure(t, w.p, c)
	if r := m.record(t); r.Binary != hash {
		t.Errorf("%+v", r)
	}
}
