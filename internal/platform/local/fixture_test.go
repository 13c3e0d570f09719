// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

//go:build linux

package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/consul/sdk/freeport"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
)

// bound is how long a test waits for anything.
const bound = 30 * time.Second

// fixture is one cluster of a test.
type fixture struct {
	*Local
	cluster platform.Cluster
	said    *transcript
	user    *syscall.Credential // of the run in another process, nil for this one's
}

// transcript keeps what a run said.
type transcript struct {
	mu    sync.Mutex
	lines []string
}

func (s *transcript) say(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, line)
}

func (s *transcript) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	lines := s.lines
	s.lines = nil
	return lines
}

// eachMode runs a test with loop devices, where it may, and with plain directories.
func eachMode(t *testing.T, test func(t *testing.T, root bool)) {
	t.Run("loop devices", func(t *testing.T) {
		needRoot(t)
		test(t, true)
	})
	t.Run("plain directories", func(t *testing.T) { test(t, false) })
}

func needRoot(t *testing.T) {
	t.Helper()
	if !mayMount() {
		t.Skip("needs root and /dev/loop-control: loop devices are attached and mounted")
	}
}

// newFixture is a cluster that is not made yet, in a directory of its own. After the
// test nothing of it may be there that a destroy would not take away.
func newFixture(t *testing.T, root bool, nodes ...string) *fixture {
	t.Helper()
	place, err := os.MkdirTemp(scratch, "") //nolint:usetesting // what a killed run left is found below scratch
	if err != nil {
		t.Fatal(err)
	}
	f := fixtureIn(t, filepath.Join(place, "c"), root, nodes...)
	t.Cleanup(func() {
		if err := obliterate(place); err != nil {
			t.Error(err)
		}
	})
	return f
}

func fixtureIn(t *testing.T, dir string, root bool, nodes ...string) *fixture {
	t.Helper()
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p, err := New(Config{Directory: dir, Root: &root})
	if err != nil {
		t.Fatal(err)
	}
	disk := platform.Disk{SizeBytes: 64 << 20, FileSystem: "ext4"}
	f := &fixture{Local: p.(*Local), said: &transcript{}, cluster: platform.Cluster{
		Name: "orders", ID: uuid.NewString(), Ports: freePorts(t), Stores: []platform.Disk{disk}, SideDisk: disk, Binary: binary,
	}}
	for _, n := range nodes {
		f.cluster.Nodes = append(f.cluster.Nodes, platform.Node{Name: n})
	}
	return f
}

func freePorts(t *testing.T) agentapi.Ports {
	t.Helper()
	ports := freeport.GetN(t, 2)
	return agentapi.Ports{Server: ports[0], HTTP: ports[1]}
}

func (f *fixture) ensure(t *testing.T) map[string]platform.Machine {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bound)
	defer cancel()
	machines, err := f.Ensure(ctx, f.cluster, f.said.say)
	if err != nil {
		t.Fatalf("ensure: %v\nit said:\n%s", err, strings.Join(f.said.take(), "\n"))
	}
	return machines
}

// destroy destroys the cluster, after which nothing of it is there.
func (f *fixture) destroy(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bound)
	defer cancel()
	if err := f.Destroy(ctx, f.cluster.ID, f.said.say); err != nil {
		t.Fatalf("destroy: %v\nit said:\n%s", err, strings.Join(f.said.take(), "\n"))
	}
	f.nothingLeft(t)
}

func (f *fixture) nothingLeft(t *testing.T) {
	t.Helper()
	left := leftovers(f.dir)
	if _, err := os.Lstat(f.dir); !errors.Is(err, os.ErrNotExist) {
		left = append(left, fmt.Sprintf("files: %q", tree(t, f.dir)))
	}
	if len(left) > 0 {
		t.Fatalf("left behind:\n%s", strings.Join(left, "\n"))
	}
}

// start gives a node its spec and waits until its engine answers.
func (f *fixture) start(t *testing.T, machines map[string]platform.Machine, node string) agentapi.Status {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bound)
	defer cancel()
	m := machines[node]
	spec := &agentapi.Spec{
		Version: 1, Cluster: agentapi.Cluster{Name: f.cluster.Name, ID: f.cluster.ID},
		Node: node, BindAddress: m.Address, Ports: f.cluster.Ports, SideDisk: &agentapi.SideDisk{Path: m.SideDisk.Path},
	}
	for _, n := range f.cluster.Nodes {
		spec.Servers = append(spec.Servers, agentapi.Server{Name: n.Name, Address: net.JoinHostPort(machines[n.Name].Address, fmt.Sprint(f.cluster.Ports.Server)), Voter: true})
	}
	for _, s := range m.Stores {
		spec.Stores = append(spec.Stores, agentapi.StoreSpec{Path: s.Path, Device: s.Device})
	}
	agent := f.Node(node).Agent()
	if res, err := agent.PutSpec(ctx, spec, nil); err != nil || len(res.Problems) > 0 {
		t.Fatalf("put spec: %+v %v", res, err)
	}
	return f.running(t, node)
}

// running waits until a node's engine answers.
func (f *fixture) running(t *testing.T, node string) agentapi.Status {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bound)
	defer cancel()
	for {
		st, err := f.Node(node).Agent().Status(ctx)
		if err == nil && st.Engine.State == agentapi.EngineRunning {
			return st
		}
		if ctx.Err() != nil {
			t.Fatalf("the engine of %s does not run: %+v %v", node, st, err)
		}
	}
}

// runDoomed makes or destroys the cluster in another process, which is killed at
// a step, or never at 0. It returns what that said, and whether it was killed before its end.
func (f *fixture) runDoomed(t *testing.T, destroy bool, killAt int) (said string, killed bool) {
	t.Helper()
	c, err := json.Marshal(f.cluster)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(order{Config: f.cfg, Cluster: c, Destroy: destroy, KillAt: killAt})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), f.cluster.Binary)
	cmd.Env = append(os.Environ(), doomedVariable+"="+string(b))
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: f.user}
	out, err := cmd.CombinedOutput()
	if err == nil {
		return string(out), false
	}
	if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || ws.Signal() != syscall.SIGKILL {
		t.Fatalf("the run that was to be killed: %v\n%s", err, out)
	}
	return string(out), true
}

// doomed is the other process.
func doomed(text string) int {
	if text == bystander {
		time.Sleep(time.Hour) // until it is killed
	}
	var o order
	var c platform.Cluster
	err := json.Unmarshal([]byte(text), &o)
	if err == nil {
		err = json.Unmarshal(o.Cluster, &c)
	}
	var p platform.Platform
	if err == nil {
		p, err = New(o.Config)
	}
	if err == nil {
		step := 0
		progress := func(line string) {
			fmt.Println(line)
			if step++; step == o.KillAt {
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {} // until it comes
			}
		}
		if o.Destroy {
			err = p.Destroy(context.Background(), c.ID, progress)
		} else {
			_, err = p.Ensure(context.Background(), c, progress)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// failure fails the test unless err is for a person, its reason is one of want, and
// it says words.
func failure(t *testing.T, err, want error, words ...string) {
	t.Helper()
	e, ok := errors.AsType[*platform.Error](err)
	if !ok {
		t.Fatalf("%v (%T), want a *platform.Error", err, err)
	}
	if want != nil && !errors.Is(err, want) {
		t.Errorf("%v, want %v", err, want)
	}
	if e.What == "" || e.Err == nil || e.Next == "" {
		t.Errorf("what %q, why %v, next %q: each has to be said", e.What, e.Err, e.Next)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%q does not say %q", err, w)
		}
	}
}
