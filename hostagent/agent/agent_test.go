// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package agent_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/consul/sdk/freeport"
	"github.com/hashicorp/go-hclog"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agent"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/cli"
	scratchdir "github.com/holdfastdb/terraform-provider-holdfast/test/scratch"
)

// The test binary is also the engine that the agents of these tests start, the
// real one. All of it lives below one directory of this process,
// holdfast-agent-test-* in TMPDIR, whose lock it holds: what a killed test process
// left is taken away by the next.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "engine" {
		os.Exit(cli.Run(context.Background(), os.Args[1:], cli.Env{
			Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv, Version: "test",
		}))
	}
	os.Exit(testMain(m))
}

// dirs are the directories of the processes of these tests.
var dirs = scratchdir.Kind{Prefix: "holdfast-agent-test-", Release: release}

var scratch string // the directory of this process

func testMain(m *testing.M) int {
	if err := dirs.Sweep(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	own, err := dirs.Make()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	scratch = own.Path
	code := m.Run()
	if err := own.Remove(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// obliterate removes dir and the engines that work in it.
func obliterate(dir string) error {
	if err := release(dir); err != nil {
		return err
	}
	return os.RemoveAll(dir)
}

// release ends the engines that work in dir.
func release(dir string) error {
	for give := time.Now().Add(bound); ; time.Sleep(time.Millisecond) {
		pids, err := enginesBelow(dir)
		if err != nil || len(pids) == 0 {
			return err
		}
		if time.Now().After(give) {
			return fmt.Errorf("%s: engines %v do not end", dir, pids)
		}
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may just have ended
		}
	}
}

// enginesBelow are the processes of the engines that work in dir. One that has ended has no command line.
func enginesBelow(dir string) (pids []int, err error) {
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range lines {
		b, rerr := os.ReadFile(path)
		args := bytes.Split(b, []byte{0})
		if rerr != nil || len(args) < 4 || string(args[1]) != "engine" || !strings.HasPrefix(string(args[3]), dir+"/") {
			continue
		}
		if pid, aerr := strconv.Atoi(filepath.Base(filepath.Dir(path))); aerr == nil {
			pids = append(pids, pid)
		}
	}
	return pids, err
}

const bound = 20 * time.Second

// node is a directory with an agent, or without one at the moment.
type node struct {
	t      *testing.T
	dir    string
	spec   *agentapi.Spec
	client *agentapi.Client
	stop   func() // the agent, not the engine
	logger hclog.Logger
	https  int // a port that is free
}

func newNode(t *testing.T) *node {
	t.Helper()
	dir, err := os.MkdirTemp(scratch, "") //nolint:usetesting // what a killed run left is found below scratch
	if err != nil {
		t.Fatal(err)
	}
	ports := freeport.GetN(t, 3)
	n := &node{t: t, dir: dir, stop: func() {}, logger: hclog.NewNullLogger(), https: ports[2], client: agentapi.NewClient(filepath.Join(dir, agent.SocketName))}
	n.spec = (&agentapi.Spec{
		Cluster: agentapi.Cluster{Name: "orders", ID: "6f2d1c9e-7a53-4c1e-9a55-0f5b3d1c2e4f"}, Node: "a",
		BindAddress: "127.0.0.1", Ports: agentapi.Ports{Server: ports[0], HTTP: ports[1]},
		Servers:  []agentapi.Server{{Name: "a", Address: net.JoinHostPort("127.0.0.1", strconv.Itoa(ports[0])), Voter: true}},
		Stores:   []agentapi.StoreSpec{{Path: filepath.Join(dir, "data")}},
		SideDisk: &agentapi.SideDisk{Path: filepath.Join(dir, "side")},
	}).WithDefaults()
	t.Cleanup(func() {
		n.stop()
		if err := obliterate(dir); err != nil {
			t.Error(err)
		}
	})
	return n
}

func (n *node) options() agent.Options {
	n.t.Helper()
	binary, err := os.Executable()
	if err != nil {
		n.t.Fatal(err)
	}
	return agent.Options{Dir: n.dir, Binary: binary, Version: "test", Logger: n.logger}
}

// start starts an agent and waits until it answers.
func (n *node) start() {
	n.t.Helper()
	ctx, cancel := context.WithCancel(context.Background()) // t.Context would end it before the cleanup
	ended := make(chan error, 1)                            // one result
	opts := n.options()
	go func() { ended <- agent.Run(ctx, opts) }() // ended by stop
	n.stop = func() {
		n.t.Helper()
		cancel()
		if err := <-ended; err != nil {
			n.t.Errorf("the agent ended: %v", err)
		}
		n.stop = func() {}
	}
	n.until("the agent answers", func(agentapi.Status) bool { return true })
}

func (n *node) status() agentapi.Status {
	n.t.Helper()
	return n.until("a status", func(agentapi.Status) bool { return true })
}

// until waits until the status is as it should be.
func (n *node) until(what string, ok func(agentapi.Status) bool) agentapi.Status {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), bound)
	defer cancel()
	var last agentapi.Status // that was answered
	for {
		st, err := n.client.Status(ctx)
		if err == nil {
			last = st
		}
		if err == nil && ok(st) {
			return st
		}
		if ctx.Err() != nil {
			n.t.Fatalf("%s: never; %+v %v", what, last, err)
		}
	}
}

func (n *node) running() agentapi.Status {
	n.t.Helper()
	return n.until("the engine runs", func(st agentapi.Status) bool { return st.Engine.State == agentapi.EngineRunning })
}

func (n *node) put(spec *agentapi.Spec) agentapi.SpecResult {
	n.t.Helper()
	res, err := n.client.PutSpec(n.t.Context(), spec, nil)
	if err != nil {
		n.t.Fatal(err)
	}
	return res
}

// changed returns a copy of the node's spec with a change.
func (n *node) changed(change func(*agentapi.Spec)) *agentapi.Spec {
	n.t.Helper()
	b, err := json.Marshal(n.spec)
	var s agentapi.Spec
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	if err != nil {
		n.t.Fatal(err)
	}
	change(&s)
	return &s
}

// records are the files that say what the node should be.
func (n *node) records() map[string]string {
	n.t.Helper()
	files := map[string]string{}
	for _, name := range []string{"spec.json", "stores.json", "engine.json", "wanted.json", "engine-process.json"} {
		b, err := os.ReadFile(filepath.Join(n.dir, name))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			n.t.Fatal(err)
		}
		files[name] = string(b)
	}
	return files
}

func (n *node) write(name, text string) {
	n.t.Helper()
	if err := os.WriteFile(filepath.Join(n.dir, name), []byte(text), 0o600); err != nil {
		n.t.Fatal(err)
	}
}

// A side disk that logs fail over to holds their journals and no store: that
// is no problem of the node. (It was, while status read it as it reads a store.)
func TestSideHoldsJournals(t *testing.T) {
	n := newNode(t)
	n.start()
	n.put(n.changed(func(s *agentapi.Spec) { s.WALFailover.Mode = "side-disk" }))
	st := n.until("an armed side", func(st agentapi.Status) bool {
		e := st.Engine.Stores
		return e != nil && len(e.Stores) == 1 && len(e.Stores[0].Failover.Sides) == 1 && e.Stores[0].Failover.Sides[0].Armed
	})
	if st.Side == nil || st.Side.Path != n.spec.SideDisk.Path || st.Side.FreeBytes == 0 {
		t.Errorf("the side: %+v", st.Side)
	}
	for _, p := range st.Problems {
		if strings.Contains(p.Why, "holdfast-store.json") {
			t.Errorf("%+v", p)
		}
	}
}

// What a change of the spec comes to: taken over, waiting for a restart, or
// refused. None of them touches the engine.
func TestSpecChanges(t *testing.T) {
	n := newNode(t)
	n.start()
	if res := n.put(n.spec); len(res.Problems) > 0 || len(res.Changes) == 0 {
		t.Fatalf("%+v", res)
	}
	engine := n.running().Engine
	if log := n.records()["spec.json"]; !strings.Contains(log, `"node": "a"`) {
		t.Errorf("spec.json: %s", log)
	}
	for _, tc := range []struct {
		name     string
		change   func(*agentapi.Spec)
		restarts []string // attributes that wait for a restart
		hot      []string // attributes that are taken over
		refused  string   // the field that is
	}{
		{name: "nothing", change: func(*agentapi.Spec) {}},
		{name: "log level", change: func(s *agentapi.Spec) { s.Log.Level = "debug" }, hot: []string{"log.level"}},
		{name: "buffering of the log", change: func(s *agentapi.Spec) { s.Log.Buffering = new(agentapi.DefaultBuffering) },
			hot: []string{"log.buffering.flush_trigger_size", "log.buffering.max_buffer_size", "log.buffering.max_staleness"}},
		{name: "rules of leaving", change: func(s *agentapi.Spec) { s.ServerRules.LeaveOnTerminate = true }, hot: []string{"server.leave_on_terminate"}},
		{name: "segment size", change: func(s *agentapi.Spec) { s.RaftLogStore.WAL.SegmentSizeMB = 32 }, restarts: []string{"raft_logstore.wal.segment_size_mb"}},
		{name: "backend", change: func(s *agentapi.Spec) { s.RaftLogStore.Backend = "boltdb" }, restarts: []string{"raft_logstore.backend"}},
		{name: "a port, and a log level", change: func(s *agentapi.Spec) { s.Ports.HTTP, s.Log.Level = s.Ports.HTTP+1, "warn" }, restarts: []string{"ports.http"}, hot: []string{"log.level"}},
		{name: "failover", change: func(s *agentapi.Spec) { s.WALFailover.Mode = "side-disk" }, restarts: []string{"wal_failover.mode"}},

		{name: "unknown backend", change: func(s *agentapi.Spec) { s.RaftLogStore.Backend = "rocks" }, refused: "raft_logstore.backend"},
		{name: "a size that is none", change: func(s *agentapi.Spec) { s.Log.Buffering = &agentapi.Buffering{MaxBufferSize: "much"} }, refused: "log.buffering.max_buffer_size"},
		{name: "another node", change: func(s *agentapi.Spec) { s.Node, s.Servers[0].Name = "b", "b" }, refused: "node"},
		{name: "another cluster", change: func(s *agentapi.Spec) { s.Cluster.ID = "00000000-7a53-4c1e-9a55-0f5b3d1c2e4f" }, refused: "cluster.id"},
		{name: "a store elsewhere", change: func(s *agentapi.Spec) { s.Stores[0].Path += "2" }, refused: "stores.0.path"},
		{name: "a store on a device that it is not on", change: func(s *agentapi.Spec) { s.Stores[0].Device = "/dev/null" }, refused: "stores.0.device"},
		{name: "a second store where somebody's files are", change: func(s *agentapi.Spec) {
			s.Stores = append(s.Stores, agentapi.StoreSpec{Path: filepath.Join(n.dir, "theirs")})
		}, refused: "stores.1.path"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if err := errors.Join(os.MkdirAll(filepath.Join(n.dir, "theirs"), 0o700), os.WriteFile(filepath.Join(n.dir, "theirs", "x"), nil, 0o600)); err != nil {
				t.Fatal(err)
			}
			spec, before := n.changed(tc.change), n.records()
			unchanged := func() {
				t.Helper()
				if d := cmp.Diff(before, n.records()); d != "" {
					t.Errorf("changed: %s", d)
				}
			}
			dry, err := n.client.DryRun(t.Context(), spec, nil)
			unchanged()
			if tc.refused != "" {
				_, perr := n.client.PutSpec(t.Context(), spec, nil)
				for _, err := range []error{err, perr} {
					if e, ok := errors.AsType[*agentapi.Error](err); !ok || e.Field != tc.refused || e.Next == "" {
						t.Errorf("%+v, want a refusal of %s", err, tc.refused)
					}
				}
				unchanged()
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			res := n.put(spec)
			if d := cmp.Diff(dry.Changes, res.Changes); d != "" || len(res.Problems) > 0 {
				t.Errorf("unlike the dry run: %s; problems %+v", d, res.Problems)
			}
			var restarts, hot []string
			for _, c := range res.Changes {
				if c.Restart {
					restarts = append(restarts, c.Attribute)
				} else {
					hot = append(hot, c.Attribute)
				}
			}
			if !cmp.Equal(tc.restarts, restarts) || !cmp.Equal(tc.hot, hot) {
				t.Errorf("restarts %q, hot %q; want %q and %q", restarts, hot, tc.restarts, tc.hot)
			}
			st := n.running() // also where its port is another one by now
			var waiting []string
			for _, c := range st.Engine.RestartRequired {
				waiting = append(waiting, c.Attribute)
			}
			if !cmp.Equal(tc.restarts, waiting) || st.Engine.PID != engine.PID {
				t.Errorf("pid %d (was %d) waits for a restart with %q, want %q", st.Engine.PID, engine.PID, waiting, tc.restarts)
			}
			if d := cmp.Diff(spec, st.Spec); d != "" {
				t.Errorf("in force (-want +got): %s", d)
			}
			n.put(n.spec)
			if st := n.running(); len(st.Engine.RestartRequired) > 0 || st.Engine.PID != engine.PID {
				t.Errorf("taken back: %+v", st.Engine)
			}
		})
	}
}

// What a new agent finds, it goes on with: the engine, what it still waits for,
// and a spec that the last one had accepted and not yet made.
func TestNextAgent(t *testing.T) {
	n := newNode(t)
	n.start()
	n.put(n.spec)
	first := n.running()
	n.put(n.changed(func(s *agentapi.Spec) { s.RaftLogStore.Verification.Interval = "30s" }))
	n.stop()
	if _, err := n.client.Status(t.Context()); !errors.Is(err, agentapi.ErrUnreachable) {
		t.Errorf("without an agent: %v", err)
	}

	n.start()
	st := n.running()
	if st.Engine.PID != first.Engine.PID || st.Stores[0].ID != first.Stores[0].ID || st.Stores[0].ID == "" {
		t.Errorf("engine %d and store %s were %d and %s", st.Engine.PID, st.Stores[0].ID, first.Engine.PID, first.Stores[0].ID)
	}
	want := []agentapi.Change{{Attribute: "raft_logstore.verification.interval", From: "60s", To: "30s", Restart: true}}
	if d := cmp.Diff(want, st.Engine.RestartRequired); d != "" {
		t.Errorf("it waits for (-want +got): %s", d)
	}
	n.stop()

	// It died after the spec was durable; another write had just begun.
	later := n.changed(func(s *agentapi.Spec) {
		s.RaftLogStore.Verification.Interval, s.RaftLogStore.WAL.SegmentSizeMB = "30s", 32
	})
	b, err := json.Marshal(map[string]any{"format": 1, "spec": later})
	if err != nil {
		t.Fatal(err)
	}
	n.write("spec.json", string(b))
	for _, name := range []string{"spec.json", "stores.json", "engine.json", "wanted.json", "engine-process.json"} {
		n.write(name+".new", "{")
	}
	if err := os.Remove(filepath.Join(n.dir, "engine.json")); err != nil {
		t.Fatal(err)
	}
	n.start()
	st = n.until("converged", func(agentapi.Status) bool { return n.records()["engine.json"] != "" })
	if d := cmp.Diff(later, st.Spec); d != "" || st.Engine.PID != first.Engine.PID {
		t.Errorf("engine %d, was %d; spec (-want +got): %s", st.Engine.PID, first.Engine.PID, d)
	}
	if got := len(n.running().Engine.RestartRequired); got != 2 {
		t.Errorf("it waits for %d changes, want 2", got)
	}
	again, err := n.client.Restart(t.Context())
	if err != nil || again.Engine.State != agentapi.EngineRunning || len(again.Engine.RestartRequired) > 0 || again.Engine.PID == first.Engine.PID {
		t.Errorf("restarted: %+v %v", again.Engine, err)
	}
}

// A record that cannot be read stops the agent, which says what to do, and never
// the engine; what an agent can make again, it does.
func TestDamagedRecords(t *testing.T) {
	n := newNode(t)
	n.start()
	n.put(n.spec)
	engine := n.running().Engine
	n.stop()
	whole := n.records()
	for _, tc := range []struct{ name, text, says string }{
		{"spec.json", whole["spec.json"][:len(whole["spec.json"])/2], "spec.json"},
		{"spec.json", "", "spec.json"},
		{"spec.json", `{"format": 7}`, "format 7"},
		{"spec.json", `{"format": 1, "spec": {"stores": [{"path": "relative"}]}}`, "spec.json"},
		{"stores.json", "\x00\x00\x00\x00", "stores.json"},
		{"wanted.json", "{", "wanted.json"},
		{"wanted.json", `{"format": 1, "wanted": "perhaps"}`, `"perhaps"`},
		{"engine-process.json", whole["engine-process.json"][:20], "engine-process.json"},
	} {
		n.write(tc.name, tc.text)
		err := agent.Run(t.Context(), n.options())
		e, ok := errors.AsType[*agentapi.Error](err)
		if !ok || !strings.Contains(e.Why, tc.says) || e.Next == "" {
			t.Errorf("%s of %q: %+v, want an error for a person that says %q", tc.name, tc.text, err, tc.says)
		}
		if err := os.Remove(filepath.Join(n.dir, tc.name)); err != nil {
			t.Fatal(err)
		}
		if whole[tc.name] != "" {
			n.write(tc.name, whole[tc.name])
		}
	}
	n.write("engine.json", "{")
	n.write("agent-process.json", "{")
	n.start()
	n.until("engine.json is there again", func(agentapi.Status) bool { return n.records()["engine.json"] == whole["engine.json"] })
	if st := n.running(); st.Engine.PID != engine.PID {
		t.Errorf("the engine is %d, was %d", st.Engine.PID, engine.PID)
	}
}

// An engine that does not answer is there all the same; the status does not wait for it.
func TestSilentEngine(t *testing.T) {
	n := newNode(t)
	n.start()
	n.put(n.spec)
	engine := n.running().Engine
	if err := syscall.Kill(engine.PID, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	n.until("the engine is silent", func(st agentapi.Status) bool { return st.Engine.State == agentapi.EngineStarting }) // it may answer once more
	began := time.Now()
	st := n.status()
	if d := time.Since(began); d > 3*time.Second {
		t.Errorf("the status took %v", d)
	}
	if st.Engine.State != agentapi.EngineStarting || st.Engine.PID != engine.PID || st.Engine.Stores != nil || st.Engine.Wanted != agentapi.EngineRunning {
		t.Errorf("%+v", st.Engine)
	}
	if st.Stores[0].Backend != "wal" || st.Stores[0].ID == "" {
		t.Errorf("its store is seen all the same: %+v", st.Stores[0])
	}
	if err := syscall.Kill(engine.PID, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	n.running()
}

// What cannot be made is a problem that stays with its time, and no engine is
// started before it has gone.
func TestProblem(t *testing.T) {
	n := newNode(t)
	n.start()
	n.write("in-the-way", "")
	n.spec.SideDisk.Path = filepath.Join(n.dir, "in-the-way", "side")
	first := n.put(n.spec)
	if len(first.Problems) == 0 || !strings.Contains(first.Problems[0].What, n.spec.SideDisk.Path) || first.Problems[0].Next == "" {
		t.Fatalf("%+v", first)
	}
	second := n.put(n.spec)
	if len(second.Changes) > 0 || !second.Problems[0].At.Equal(first.Problems[0].At) {
		t.Errorf("the same again: %+v, the problem began at %v", second, first.Problems[0].At)
	}
	if st := n.status(); st.Engine.State != agentapi.EngineFailed || st.Engine.PID != 0 || len(st.Problems) == 0 || n.records()["engine.json"] != "" {
		t.Errorf("%+v", st)
	}
	if err := os.Remove(filepath.Join(n.dir, "in-the-way")); err != nil {
		t.Fatal(err)
	}
	if res := n.put(n.spec); len(res.Problems) > 0 {
		t.Errorf("mended: %+v", res.Problems)
	}
	if st := n.running(); len(st.Problems) > 0 {
		t.Errorf("mended: %+v", st.Problems)
	}
}

// Another engine at our address is not taken for ours.
func TestStranger(t *testing.T) {
	n, other := newNode(t), newNode(t)
	other.spec.Node, other.spec.Servers[0].Name = "x", "x"
	other.start()
	other.put(other.spec)
	other.running()
	n.spec.Ports.HTTP = other.spec.Ports.HTTP
	n.start()
	n.put(n.spec)
	st := n.until("the stranger is told", func(st agentapi.Status) bool {
		for _, p := range st.Problems {
			if strings.Contains(p.What, "another engine answers") && strings.Contains(p.Why, `"x"`) {
				return true
			}
		}
		return strings.Contains(st.Engine.LastExit, "address already in use")
	})
	if st.Engine.State == agentapi.EngineRunning {
		t.Errorf("%+v", st.Engine)
	}
	if _, err := n.client.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if st := n.status(); st.Engine.State != agentapi.EngineStopped || st.Engine.Wanted != agentapi.EngineStopped {
		t.Errorf("%+v", st.Engine)
	}
}

// A second agent on the directory is refused and told of the first.
func TestSecondAgent(t *testing.T) {
	n := newNode(t)
	n.start()
	err := agent.Run(t.Context(), n.options())
	if e, ok := errors.AsType[*agentapi.Error](err); !ok || !strings.Contains(e.Why, fmt.Sprintf("pid %d", os.Getpid())) {
		t.Errorf("%v", err)
	}
	if _, err := n.client.Restart(t.Context()); err == nil {
		t.Error("an engine without a spec was restarted")
	}
}
