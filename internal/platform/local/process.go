// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

//go:build linux

package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/supervise"
)

// Roles of the processes of a node.
const (
	roleAgent  = "agent"
	roleEngine = "engine"
)

// errHeld is returned for a process that was killed and does not end.
var errHeld = errors.New("it was killed but is held in the kernel, by a disk that does not answer or a frozen file system")

// process is an agent or an engine of this cluster.
type process struct {
	supervise.Identity
	role, node string
	exe        string // what it runs, empty where the kernel does not say any more
}

func (p process) String() string {
	return fmt.Sprintf("the %s of node %s (pid %d)", p.role, p.node, p.PID)
}

// processes returns the agents and engines that run a binary of this directory
// on one of its nodes, and those that the agents recorded. The first knows one
// that died before it was recorded, the second one that was killed and is held:
// it has no command line any more.
func (l *Local) processes() ([]process, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var found []process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if p, ok := l.inspect(pid); ok {
			found = append(found, p)
		}
	}
	for _, role := range []string{roleAgent, roleEngine} {
		recorded, err := filepath.Glob(filepath.Join(globQuote(l.nodesDir()), "*", role+"-process.json"))
		if err != nil {
			return nil, err
		}
		for _, path := range recorded {
			p := process{role: role, node: filepath.Base(filepath.Dir(path))}
			b, err := os.ReadFile(path)
			if err != nil || json.Unmarshal(b, &p.Identity) != nil || p.PID <= 1 {
				continue // what it does not say, the process table does
			}
			if !slices.ContainsFunc(found, func(f process) bool { return f.Identity == p.Identity }) && alive(p.Identity) {
				found = append(found, p)
			}
		}
	}
	return found, nil
}

// inspect says what a pid is, if it is ours.
func (l *Local) inspect(pid int) (process, bool) {
	if _, ok := l.observe(pid); !ok {
		return process{}, false
	}
	// What is observed after the identity was taken is of that process or of a
	// later one, and a later one is not signalled under this identity.
	id, err := supervise.Identify(pid)
	if err != nil {
		return process{}, false
	}
	p, ok := l.observe(pid)
	p.Identity = id
	return p, ok
}

// observe reads the command line and the binary that a pid has now.
func (l *Local) observe(pid int) (p process, ok bool) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return process{}, false
	}
	p.role, p.node, ok = l.parseCommand(strings.Split(strings.TrimSuffix(string(b), "\x00"), "\x00"))
	if !ok {
		return process{}, false
	}
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	p.exe = strings.TrimSuffix(exe, " (deleted)")
	return p, err == nil && strings.HasPrefix(p.exe, filepath.Join(l.binDir(), binaryPrefix))
}

// parseCommand reads the command line of an agent or engine of this directory.
func (l *Local) parseCommand(args []string) (role, node string, ok bool) {
	if len(args) < 4 {
		return "", "", false
	}
	flag := map[string]string{roleAgent: "-dir", roleEngine: "-config-file"}[args[1]]
	i := slices.Index(args, flag)
	if flag == "" || i < 0 || i+1 >= len(args) {
		return "", "", false
	}
	rest, ok := strings.CutPrefix(args[i+1], l.nodesDir()+"/")
	node, _, _ = strings.Cut(rest, "/")
	return args[1], node, ok && validName(node)
}

// alive reports whether the process that id names is there, be it held.
func alive(id supervise.Identity) bool {
	p, err := supervise.Open(id)
	if err != nil {
		return !errors.Is(err, supervise.ErrGone)
	}
	_ = p.Close() // it was only looked at
	return true
}

// end terminates a process and kills it after gentle; errHeld if it is there after that still.
func end(ctx context.Context, p process, gentle, hard time.Duration) error {
	fd, err := supervise.Open(p.Identity)
	if errors.Is(err, supervise.ErrGone) {
		return nil
	}
	if err != nil {
		return err
	}
	ended := make(chan struct{}) // closed by the watcher
	go func() {                  // owned by this call: Close ends it
		defer close(ended)
		_ = fd.Wait() // an error is our own Close
	}()
	defer func() { _ = fd.Close(); <-ended }()
	for _, step := range []struct {
		signal syscall.Signal
		bound  time.Duration
	}{{syscall.SIGTERM, gentle}, {syscall.SIGKILL, hard}} {
		if err := fd.Signal(step.signal); err != nil {
			return err
		}
		select {
		case <-ended:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(step.bound):
		}
	}
	return errHeld
}
