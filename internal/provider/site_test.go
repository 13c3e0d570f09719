// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package provider_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/providerserver"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"golang.org/x/sys/unix"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/api"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/observe"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform/local"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/provider"
)

// places is where the clusters of acceptance tests live: a directory per run below
// it, whose lock is held for as long as that run lives. A run that was killed leaves
// its clusters there, and the next one destroys them.
var places = filepath.Join(os.TempDir(), fmt.Sprintf("holdfast-acc-%d", os.Geteuid()))

// run is the directory of this run.
var run = filepath.Join(places, strconv.Itoa(os.Getpid()))

func TestMain(m *testing.M) {
	if os.Getenv("TF_ACC") == "" {
		os.Exit(m.Run())
	}
	code, err := accept(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "acceptance tests:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

func accept(m *testing.M) (int, error) {
	if os.Getenv("HOLDFAST_BINARY") == "" {
		return 1, errors.New("HOLDFAST_BINARY is not set: run them by `make testacc`, which builds what they need")
	}
	if err := sweep(places); err != nil {
		return 1, fmt.Errorf("clear what a killed run left in %s: %w", places, err)
	}
	lock, err := lockRun(run)
	if err != nil {
		return 1, err
	}
	code := m.Run()
	return code, errors.Join(lock.Close(), os.RemoveAll(run))
}

// lockRun makes the directory of a run and locks it; nil where somebody holds it.
func lockRun(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		return f, nil
	}
	_ = f.Close() // nothing was written
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, nil
	}
	return nil, err
}

// sweep destroys what runs left that did not live to do it.
func sweep(places string) error {
	runs, err := filepath.Glob(filepath.Join(places, "*"))
	if err != nil {
		return err
	}
	for _, dir := range runs {
		lock, err := lockRun(dir)
		if err != nil {
			return err
		}
		if lock == nil {
			continue // it is alive
		}
		records, err := filepath.Glob(filepath.Join(dir, "*", "cluster.json"))
		for _, record := range records {
			err = errors.Join(err, destroy(filepath.Dir(record)))
		}
		if err == nil {
			err = os.RemoveAll(dir)
		}
		if err = errors.Join(err, lock.Close()); err != nil {
			return err
		}
	}
	return nil
}

// destroy destroys whatever cluster is in a directory.
func destroy(directory string) error {
	p, err := local.New(local.Config{Directory: directory})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_, id, _, err := p.Adopt(ctx)
	if err != nil || id == "" {
		return err
	}
	return p.Destroy(ctx, id, nil)
}

// site is the directory of one test's cluster, and the way around Terraform to it.
type site struct {
	t     *testing.T
	dir   string
	plain bool
	pids  map[string]int // of the engines, by node, as remember found them
	platform.Platform
}

// newSite gives a test a place for a cluster, and clears it when the test ends. plain
// asks for directories where root would get loop devices.
func newSite(t *testing.T, plain bool) *site {
	t.Helper()
	if os.Getenv("TF_ACC") == "" {
		t.Skip("TF_ACC is not set: `make testacc` runs this")
	}
	dir, err := os.MkdirTemp(run, "") //nolint:usetesting // what a killed run left is found below places
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, plain: plain, dir: dir}
	if s.Platform, err = s.open(dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			s.tellLogs()
		}
		if err := destroy(dir); err != nil {
			t.Errorf("clear %s: %v", dir, err)
		}
		s.nothingLeft()
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return s
}

// open is the platform of the site's kind in a directory.
func (s *site) open(directory string) (platform.Platform, error) {
	cfg := local.Config{Directory: directory}
	if s.plain {
		cfg.Root = new(bool)
	}
	return local.New(cfg)
}

// providers serve the provider from this process.
func (s *site) providers() map[string]func() (tfprotov6.ProviderServer, error) {
	return map[string]func() (tfprotov6.ProviderServer, error){
		"holdfast": providerserver.NewProtocol6WithError(provider.NewOn("test", s.open, nil)()),
	}
}

// tellLogs shows the end of every log of the cluster.
func (s *site) tellLogs() {
	logs, _ := filepath.Glob(filepath.Join(s.dir, "nodes", "*", "*.log")) // the pattern is right
	for _, path := range logs {
		b, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		s.t.Logf("%s:\n%s", path, b[max(0, len(b)-2000):])
	}
}

// nothingLeft reports every process, loop device, mount and file of the cluster.
func (s *site) nothingLeft() {
	s.t.Helper()
	for _, left := range leftovers(s.dir) {
		s.t.Error("left behind: " + left)
	}
}

func leftovers(dir string) []string {
	var left []string
	mentions := func(pattern string) {
		paths, _ := filepath.Glob(pattern) // the patterns are right
		for _, path := range paths {
			b, err := os.ReadFile(path)
			if err != nil || path == fmt.Sprintf("/proc/%d/cmdline", os.Getpid()) {
				continue // it ended meanwhile
			}
			for line := range strings.Lines(string(b)) {
				if line = strings.ReplaceAll(strings.TrimSpace(line), "\x00", " "); strings.Contains(line, dir+"/") {
					left = append(left, path+": "+line)
				}
			}
		}
	}
	mentions("/proc/[0-9]*/cmdline")
	mentions("/proc/self/mountinfo")
	mentions("/sys/block/loop*/loop/backing_file")
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		left = append(left, err.Error())
	}
	for _, e := range entries {
		left = append(left, filepath.Join(dir, e.Name()))
	}
	return left
}

// nodes asks every agent; those that are not there are shown as such.
func (s *site) nodes() observe.Nodes {
	s.t.Helper()
	machines, err := s.Observe(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	var names []string
	for name := range machines {
		names = append(names, name)
	}
	slices.Sort(names)
	return observe.Agents(s.t.Context(), s, names)
}

// status is one agent's answer.
func (s *site) status(node string) agentapi.Status {
	s.t.Helper()
	st, err := s.Node(node).Agent().Status(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	return st
}

// client speaks to the engines.
func (s *site) client() *api.Client {
	s.t.Helper()
	c, err := s.nodes().Client(s)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(c.Close)
	return c
}

// putSpec changes a node's spec through its agent's socket, as a person could.
func (s *site) putSpec(node string, change func(*agentapi.Spec)) {
	s.t.Helper()
	spec := s.status(node).Spec
	change(spec)
	res, err := s.Node(node).Agent().PutSpec(s.t.Context(), spec, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	if len(res.Changes) == 0 {
		s.t.Fatal("the spec was like that already")
	}
}

// setSetting sets a cluster setting by the engines' API; nil is its default.
func (s *site) setSetting(name string, value *string) {
	s.t.Helper()
	if err := s.client().SetSettings(s.t.Context(), map[string]*string{name: value}); err != nil {
		s.t.Fatal(err)
	}
}

// kill kills a process of the cluster and waits until it is gone.
func (s *site) kill(pid int) {
	s.t.Helper()
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || !strings.Contains(string(cmdline), s.dir+"/") {
		s.t.Fatalf("pid %d is not of this cluster: %q, %v", pid, cmdline, err)
	}
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		s.t.Fatal(err)
	}
	s.eventually(10*time.Second, func() error {
		if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil && len(b) > 0 {
			return fmt.Errorf("pid %d is still there", pid)
		}
		return nil
	})
}

// serves waits until every engine of the cluster runs and one leads.
func (s *site) serves(bound time.Duration) {
	s.t.Helper()
	s.eventually(bound, func() error {
		nodes := s.nodes()
		for _, name := range nodes.Names() {
			n := nodes[name]
			if n.Err != nil {
				return fmt.Errorf("node %s: %w", name, n.Err)
			}
			if !n.EngineRunning() {
				return fmt.Errorf("node %s: the engine is %q", name, n.Status.Engine.State)
			}
		}
		return nodes.Linearizable(s.t.Context(), s)
	})
}

// eventually asks again until there is no error.
func (s *site) eventually(bound time.Duration, ask func() error) {
	s.t.Helper()
	end := time.After(bound)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ask()
		if err == nil {
			return
		}
		select {
		case <-end:
			s.t.Fatalf("not in %v: %v", bound, err)
		case <-tick.C:
		}
	}
}
