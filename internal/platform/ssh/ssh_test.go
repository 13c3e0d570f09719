// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

//go:build linux

package ssh

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform/sshhost"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform/sshhost/sshdtest"
)

const gib = 1 << 30

// build makes a version of the stand-in.
func build(t *testing.T, suffix string) (path, hash string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	b = append(b, suffix...)
	path = filepath.Join(t.TempDir(), binaryName)
	if err := os.WriteFile(path, b, 0o755); err != nil {
		t.Fatal(err)
	}
	return path, fmt.Sprintf("%x", sha256.Sum256(b))
}

// cluster is one of the nodes, running binary.
func cluster(binary string, nodes ...string) platform.Cluster {
	c := platform.Cluster{Name: "demo", ID: "11111111-2222-4333-8444-555555555555", Binary: binary,
		Ports:    agentapi.Ports{Server: 18300, HTTP: 18500, HTTPS: 18501},
		Stores:   []platform.Disk{{SizeBytes: 10 * gib, FileSystem: "xfs"}, {SizeBytes: 20 * gib, FileSystem: "ext4"}},
		SideDisk: platform.Disk{SizeBytes: 25 * gib, FileSystem: "ext4"}}
	for _, name := range nodes {
		c.Nodes = append(c.Nodes, platform.Node{Name: name, Stores: []platform.Device{{Match: agentapi.DiskMatch{Serial: "data-" + name}, Wipe: &agentapi.DiskContent{Type: "ext4", UUID: "u"}}}})
	}
	return c
}

func addressOf(i int) string { return fmt.Sprintf("127.0.77.%d", i+1) }

// configOf reaches machines as the nodes a, b, c …, waiting for none.
func configOf(machines ...*machine) Config {
	cfg := Config{Nodes: map[string]Node{}, Access: Access{BootTimeout: -1}}
	for i, m := range machines {
		cfg.Nodes[string(rune('a'+i))] = Node{User: m.User, Address: "127.0.0.1", Port: m.Port, HostKeys: []string{m.HostKeys[0].Line()}, ClusterAddress: addressOf(i)}
	}
	return cfg
}

// give lets the key of the configuration into all machines.
func give(t *testing.T, cfg *Config, machines ...*machine) {
	t.Helper()
	key := sshdtest.NewKey(t)
	cfg.Access.Key = sshhost.Key{PEM: key.PEM}
	for _, m := range machines {
		m.Write(t, "authorized_keys", key.Line()+"\n")
	}
}

func open(t *testing.T, cfg Config) *Platform {
	t.Helper()
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// world is three machines and the platform of them.
type world struct {
	machines []*machine
	cfg      Config
	p        *Platform
}

func newWorld(t *testing.T, n int, options ...sshdtest.Options) *world {
	t.Helper()
	w := &world{}
	for i := range n {
		var o sshdtest.Options
		if len(options) > 0 {
			o = options[i%len(options)]
		}
		w.machines = append(w.machines, startMachine(t, o))
	}
	w.cfg = configOf(w.machines...)
	give(t, &w.cfg, w.machines...)
	w.p = open(t, w.cfg)
	return w
}

// steps gathers progress.
type steps struct {
	sync.Mutex
	lines []string
}

func (s *steps) add(line string) {
	s.Lock()
	defer s.Unlock()
	s.lines = append(s.lines, line)
}

func ensure(t *testing.T, p *Platform, c platform.Cluster) (map[string]platform.Machine, []string) {
	t.Helper()
	var s steps
	machines, err := p.Ensure(within(t), c, s.add)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(s.lines)
	return machines, s.lines
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func wantError(t *testing.T, err error, class error, words ...string) {
	t.Helper()
	if !errors.Is(err, class) {
		t.Fatalf("got %v, want %v", err, class)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("it does not say %q: %v", w, err)
		}
	}
}

func adopt(t *testing.T, p *Platform) string {
	t.Helper()
	name, id, ok, err := p.Adopt(within(t))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(fmt.Sprint(name, " ", id, " ", ok))
}

func wantFiles(t *testing.T, m *machine, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, m.files(t)); diff != "" {
		t.Error(diff)
	}
}

var installed = []string{"/var/lib/holdfast", recordPath, binaryPath, unitPath, "/run/holdfast", pidPath, socketPath}

func TestStory(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3)
	bin, hash := build(t, "1")
	c := cluster(bin, "a", "b", "c")
	if got := adopt(t, w.p); got != "false" {
		t.Errorf("before anything: %s", got)
	}
	if machines, err := w.p.Observe(t.Context()); err != nil || len(machines) != 0 {
		t.Errorf("%v, %v", machines, err)
	}
	if err := w.p.Preflight(within(t), c); err != nil {
		t.Fatal(err)
	}
	for _, m := range w.machines {
		wantFiles(t, m)
	}

	machines, lines := ensure(t, w.p, c)
	side := &agentapi.Disk{FileSystem: "ext4", Mount: "/srv/holdfast/side", MinSizeBytes: 25 * gib}
	want := map[string]platform.Machine{}
	for i, name := range []string{"a", "b", "c"} {
		want[name] = platform.Machine{Name: name, Address: addressOf(i), Stores: []platform.Directory{
			{Path: "/srv/holdfast/data1/store", SizeBytes: 10 * gib, FileSystem: "xfs", Disk: &agentapi.Disk{Match: agentapi.DiskMatch{Serial: "data-" + name},
				FileSystem: "xfs", Mount: "/srv/holdfast/data1", MinSizeBytes: 10 * gib, Wipe: &agentapi.DiskContent{Type: "ext4", UUID: "u"}}},
			{Path: "/srv/holdfast/data2/store", SizeBytes: 20 * gib, FileSystem: "ext4", Disk: &agentapi.Disk{FileSystem: "ext4", Mount: "/srv/holdfast/data2", MinSizeBytes: 20 * gib}},
		}, SideDisk: platform.Directory{Path: "/srv/holdfast/side/store", SizeBytes: 25 * gib, FileSystem: "ext4", Disk: side}}
	}
	if diff := cmp.Diff(want, machines); diff != "" {
		t.Error(diff)
	}
	for _, step := range []string{"claimed 127.0.0.1 for cluster demo (" + c.ID + ")", "uploading holdfast", "installed /usr/local/bin/holdfast, " + hash[:12], "starting the agent", "start holdfast-agent.service", "the agent " + hash + " answers"} {
		for _, node := range []string{"a", "b", "c"} {
			if !slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, "node "+node+": "+step) }) {
				t.Errorf("no step %q of node %s in\n%s", step, node, strings.Join(lines, "\n"))
			}
		}
	}
	for i, m := range w.machines {
		wantFiles(t, m, installed...)
		fi, err := os.Stat(m.path(recordPath))
		if err != nil || fi.Mode().Perm() != 0o600 {
			t.Errorf("%v, %v", fi, err)
		}
		if fi, err = os.Stat(m.path(stateDir)); err != nil || fi.Mode().Perm() != 0o700 {
			t.Errorf("%v, %v", fi, err)
		}
		if fi, err = os.Stat(m.path(binaryPath)); err != nil || fi.Mode().Perm() != 0o755 {
			t.Errorf("%v, %v", fi, err)
		}
		r := m.record(t)
		if r.Node != string(rune('a'+i)) || r.Cluster.ID != c.ID || r.Cluster.Name != "demo" || r.Binary != hash {
			t.Errorf("%+v", r)
		}
		m.calls(t)
	}

	t.Run("again", func(t *testing.T) {
		was := w.state(t)
		again, lines := ensure(t, w.p, c)
		if diff := cmp.Diff(want, again); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]string{"node a: the agent " + hash + " answers", "node b: the agent " + hash + " answers", "node c: the agent " + hash + " answers"}, lines); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff(was, w.state(t)); diff != "" {
			t.Errorf("something was changed: %s", diff)
		}
	})
	t.Run("a look", func(t *testing.T) {
		p := open(t, w.cfg)
		if got, want := adopt(t, p), "demo "+c.ID+" true"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		seen, err := p.Observe(within(t))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, seen); diff != "" {
			t.Error(diff)
		}
		var before []int32
		for i, name := range []string{"a", "b", "c"} {
			before = append(before, w.machines[i].Accepted.Load())
			st, err := p.Node(name).Agent().Status(within(t))
			if err != nil || st.Node != name {
				t.Errorf("node %s: %q, %v", name, st.Node, err)
			}
			if w.machines[i].Accepted.Load() != before[i] {
				t.Error("it was connected to anew")
			}
		}
		if err := p.Preflight(within(t), c); err != nil {
			t.Error(err)
		}
	})
	t.Run("other disks", func(t *testing.T) {
		c := c
		c.SideDisk.SizeBytes = 30 * gib
		machines, _ := ensure(t, w.p, c)
		if got := machines["b"].SideDisk.Disk.MinSizeBytes; got != 30*gib {
			t.Errorf("got %d", got)
		}
		if seen, err := w.p.Observe(within(t)); err != nil || seen["b"].SideDisk.SizeBytes != 30*gib {
			t.Errorf("%+v, %v", seen["b"], err)
		}
	})
	t.Run("another binary", func(t *testing.T) {
		bin, next := build(t, "2")
		c := c
		c.Binary = bin
		ensure(t, w.p, c)
		for _, m := range w.machines {
			if r := m.record(t); r.Binary != next {
				t.Errorf("%+v", r)
			}
			wantFiles(t, m, append(slices.Clone(installed[:3]), append([]string{binaryPath + ".previous"}, installed[3:]...)...)...)
		}
	})
	t.Run("destroyed", func(t *testing.T) {
		for i := range 2 { // the second time there is nothing
			var s steps
			if err := w.p.Destroy(within(t), c.ID, s.add); err != nil {
				t.Fatal(err)
			}
			if said := slices.Contains(s.lines, "node b: stop holdfast-agent.service"); said != (i == 0) {
				t.Errorf("run %d: %q", i, s.lines)
			}
			for _, m := range w.machines {
				wantFiles(t, m)
			}
			if got := adopt(t, w.p); got != "false" {
				t.Errorf("after it: %s", got)
			}
		}
	})
}

// state is what of the machines must not change by itself: files by time of change, and agents.
func (w *world) state(t *testing.T) []string {
	t.Helper()
	var all []string
	for i, m := range w.machines {
		for _, f := range m.files(t) {
			fi, err := os.Lstat(m.path(f))
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, fmt.Sprint(i, f, fi.ModTime().UnixNano(), fi.Mode()))
		}
		all = append(all, m.read(t, pidPath))
	}
	return all
}

// A user that is not root gets everywhere by sudo, and to the agent by the bridge.
func TestSudo(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1, sshdtest.Options{Lines: []string{"AllowStreamLocalForwarding no"},
		Path: sshdtest.Stubs(t, programs(map[string]string{"id": notRoot, "sudo": `[ "$1 $2" = "-n --" ] || exit 9; shift 2; exec "$@"`}))})
	bin, _ := build(t, "1")
	c := cluster(bin, "a")
	if err := w.p.Preflight(within(t), c); err != nil {
		t.Fatal(err)
	}
	ensure(t, w.p, c)
	for range 12 { // more than a connection has sessions
		if st, err := w.p.Node("a").Agent().Status(within(t)); err != nil || st.Node != "a" {
			t.Fatalf("%q, %v", st.Node, err)
		}
	}
	if err := w.p.Destroy(within(t), c.ID, nil); err != nil {
		t.Fatal(err)
	}
	wantFiles(t, w.machines[0])
}
