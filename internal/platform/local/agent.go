// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

//go:build linux

package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
)

// Bounds of what is waited for.
const (
	answerBound = 5 * time.Second  // a running agent's answer
	readyBound  = 15 * time.Second // a new agent's first answer
	agentGentle = 5 * time.Second  // an agent's end, before it is killed
	killBound   = 5 * time.Second  // the end of what was killed
)

var (
	errAgentEnded  = errors.New("the agent ended")
	errAgentSilent = errors.New("the agent does not answer")
)

// ensureAgent sees to it that an agent of the binary answers on the node. One
// that runs another binary is replaced: its successor adopts the engine.
func (l *Local) ensureAgent(ctx context.Context, node, binary string, say say) error {
	running, err := l.agents(node)
	if err != nil {
		return err
	}
	if len(running) == 1 && running[0].exe == binary && l.answers(ctx, node, answerBound) {
		return nil
	}
	for _, p := range running {
		say("node %s: replacing the agent (pid %d)", node, p.PID)
		if err := end(ctx, p, agentGentle, killBound); err != nil {
			return &platform.Error{What: fmt.Sprintf("the agent of node %s (pid %d) cannot be replaced", node, p.PID), Err: err, Next: "End that process and apply again; the engine goes on."}
		}
	}
	return l.startAgent(ctx, node, binary, say)
}

func (l *Local) agents(node string) ([]process, error) {
	all, err := l.processes()
	var found []process
	for _, p := range all {
		if p.role == roleAgent && p.node == node {
			found = append(found, p)
		}
	}
	return found, err
}

func (l *Local) answers(ctx context.Context, node string, bound time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	_, err := l.Node(node).Agent().Status(ctx)
	return err == nil
}

// startAgent starts an agent in a session of its own, so that it outlives this
// process and its terminal, and waits until it answers.
func (l *Local) startAgent(ctx context.Context, node, binary string, say say) error {
	dir := l.nodeDir(node)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	logPath := filepath.Join(dir, "agent.log")
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // the agent has its own descriptor
	start, err := log.Stat()
	if err != nil {
		return err
	}
	cmd := exec.Command(binary, roleAgent, "-dir", dir)
	cmd.Dir = "/"
	cmd.Env = environment(os.Environ())
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return &platform.Error{What: "the agent of node " + node + " cannot be started", Err: err, Next: "Check that " + binary + " can be executed: its file system may be mounted noexec."}
	}
	say("node %s: started the agent (pid %d)", node, cmd.Process.Pid)
	ended := make(chan error, 1)        // one result
	go func() { ended <- cmd.Wait() }() // owned by the agent: it ends when that does
	bound := time.NewTimer(readyBound)
	defer bound.Stop()
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for !l.answers(ctx, node, time.Second) {
		select {
		case err := <-ended:
			return &platform.Error{What: "the agent of node " + node + " cannot be started",
				Err: fmt.Errorf("%w: %w; it wrote:\n%s", errAgentEnded, exitReason(err), logFrom(logPath, start.Size())), Next: "See " + logPath + "."}
		case <-bound.C:
			return &platform.Error{What: "the agent of node " + node + " cannot be used",
				Err: fmt.Errorf("%w in %s; it wrote:\n%s", errAgentSilent, readyBound, logFrom(logPath, start.Size())), Next: "See " + logPath + ", and apply again."}
		case <-ctx.Done():
			return ctx.Err()
		case <-poll.C:
		}
	}
	say("node %s: the agent answers", node)
	return nil
}

var errExitedWell = errors.New("exit status 0")

func exitReason(err error) error {
	if err == nil {
		return errExitedWell
	}
	return err
}

// logFrom returns the end of a log that begins at offset.
func logFrom(path string, offset int64) string {
	b, err := os.ReadFile(path)
	if err != nil || int64(len(b)) < offset {
		return ""
	}
	b = b[offset:]
	return strings.TrimSpace(string(b[max(0, len(b)-2000):]))
}

// environment is what an agent and its engine inherit: what a process needs of its
// machine and Holdfast's own variables, and no secret of Terraform's.
func environment(all []string) []string {
	var env []string
	for _, v := range all {
		switch name, _, _ := strings.Cut(v, "="); name {
		case "PATH", "HOME", "LANG", "TZ", "TMPDIR", "GODEBUG", "GOMAXPROCS", "GOMEMLIMIT", "GOTRACEBACK", "GOCOVERDIR":
			env = append(env, v)
		case "HOLDFAST_PROGRESS", "HOLDFAST_BINARY": // the provider's
		default:
			if strings.HasPrefix(name, "HOLDFAST_") {
				env = append(env, v)
			}
		}
	}
	return env
}
