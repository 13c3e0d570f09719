// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/rotation"
)

// agentsHelp is how the commands of tls name nodes.
const agentsHelp = `Nodes are named by the way to their agents, each flag as often as there are nodes:
-agent SOCKET on this machine, -ssh [NAME=]DEST for what the ssh program reaches, where the
user may run sudo without a password, and -connect COMMAND for any other program whose input
and output are joined to the agent's socket. A node says its name itself once it has a spec.
Without any of them the agent of this machine is asked.`

// agentFlags are the flags that name agents.
type agentFlags struct{ sockets, ssh, commands words }

func (f *agentFlags) define(flags *flag.FlagSet) {
	flags.Var(&f.sockets, "agent", "`socket` of an agent on this machine (default "+defaultSocket+"); may be repeated")
	flags.Var(&f.ssh, "ssh", "`[NAME=]DEST` of a node, as ssh knows it; may be repeated, or a list with commas")
	flags.Var(&f.commands, "connect", "`command` that is joined to an agent's socket; may be repeated")
}

// reach is the way to one agent.
type reach struct {
	name   string // as the flag says; empty: as the agent says
	where  string // for messages
	client *agentapi.Client
}

func (f *agentFlags) list() ([]reach, error) {
	var list []reach
	sockets := f.sockets
	if len(f.sockets)+len(f.ssh)+len(f.commands) == 0 {
		sockets = words{defaultSocket}
	}
	for _, s := range sockets {
		list = append(list, reach{where: s, client: agentapi.NewClient(s)})
	}
	for _, given := range f.ssh {
		for d := range strings.SplitSeq(given, ",") {
			name, dest, ok := strings.Cut(strings.TrimSpace(d), "=")
			if !ok {
				name, dest = "", name
			}
			if dest == "" || strings.HasPrefix(dest, "-") || ok && (name == "" || strings.HasPrefix(name, "-")) { // ssh would take it for an option
				return nil, usage("-ssh %s: write NAME=user@host, or user@host", d)
			}
			list = append(list, through(name, dest, "ssh", "-o", "BatchMode=yes", dest, "sudo -n holdfast agent connect "+defaultSocket))
		}
	}
	for _, c := range f.commands {
		list = append(list, through("", c, "/bin/sh", "-c", c))
	}
	return list, nil
}

func through(name, where string, command ...string) reach {
	return reach{name: name, where: where, client: agentapi.NewClientWithDialer(func(context.Context) (net.Conn, error) {
		return joinCommand(command)
	})}
}

// clusterNodes are the agents that were reached, as one cluster.
type clusterNodes struct {
	cluster agentapi.Cluster
	agents  map[string]rotation.Agent
	silent  error    // of those that were named and do not answer
	missing []string // servers of the specs that nobody named
	plain   []string // nodes whose spec has no TLS
}

// meet asks the agents who they are.
func meet(ctx context.Context, list []reach) (*clusterNodes, error) {
	ctx, cancel := context.WithTimeout(ctx, callBound)
	defer cancel()
	answers, errs := make([]agentapi.Status, len(list)), make([]error, len(list))
	var wg sync.WaitGroup
	for i := range list {
		wg.Go(func() { answers[i], errs[i] = list[i].client.Status(ctx) })
	}
	wg.Wait()
	c := &clusterNodes{agents: map[string]rotation.Agent{}}
	where := map[string]string{}
	servers := map[string]bool{}
	for i, r := range list {
		st, err := answers[i], errs[i]
		if err != nil && (r.name == "" || !errors.Is(err, agentapi.ErrUnreachable)) {
			return nil, fmt.Errorf("%s: %w", r.where, err)
		}
		name := cmp.Or(r.name, st.Node)
		switch {
		case err != nil:
			c.silent = errors.Join(c.silent, fmt.Errorf("%s: %w", name, err))
		case st.Spec == nil:
			return nil, refuseNodes(fmt.Sprintf("the agent at %s has no spec", r.where), "Send it one first: terraform apply, or PUT /v1/spec.")
		case r.name != "" && r.name != st.Node:
			return nil, refuseNodes(fmt.Sprintf("%s was named %q, and is %q", r.where, r.name, st.Node), "Correct -ssh, or leave the name out.")
		case c.cluster.ID != "" && c.cluster.ID != st.Spec.Cluster.ID:
			return nil, refuseNodes(fmt.Sprintf("%s is of cluster %s, others are of %s", r.where, st.Spec.Cluster.ID, c.cluster.ID), "Name the nodes of one cluster.")
		}
		if was, ok := where[name]; ok {
			return nil, refuseNodes(fmt.Sprintf("node %q is named twice: %s and %s", name, was, r.where), "Name every node once.")
		}
		where[name], c.agents[name] = r.where, r.client
		if st.Spec == nil {
			continue
		}
		c.cluster = st.Spec.Cluster
		if st.Spec.TLS == nil {
			c.plain = append(c.plain, name)
		}
		for _, s := range st.Spec.Servers {
			servers[s.Name] = true
		}
	}
	for _, s := range slices.Sorted(maps.Keys(servers)) {
		if _, ok := c.agents[s]; !ok {
			c.missing = append(c.missing, s)
		}
	}
	if c.cluster.ID == "" {
		return nil, c.silent
	}
	return c, nil
}

func refuseNodes(why, next string) error {
	return &agentapi.Error{What: "nothing was changed", Why: why, Next: next}
}

// commandConn is a connection to what a program is joined to.
type commandConn struct {
	io.Reader
	io.Writer

	cmd    *exec.Cmd
	name   string
	stderr *tail
	got    atomic.Bool // something was read
	wait   sync.Once
	reaped chan struct{} // closed when it has ended: its pid may be another's
}

// lastWords is how long a program that has closed its output may take to end: what it says on
// its standard error is known whole only then.
const lastWords = 2 * time.Second

// joinCommand starts a program for one connection. Close ends it.
func joinCommand(command []string) (net.Conn, error) {
	cmd := exec.Command(command[0], command[1:]...) //nolint:gosec // it is what the user asked for
	c := &commandConn{cmd: cmd, name: command[0], stderr: &tail{}, reaped: make(chan struct{})}
	cmd.Stderr = c.stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // its children end with it
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	c.Writer, c.Reader = in, out
	return c, nil
}

// Read implements net.Conn. A program that ends without an answer says why on its
// standard error.
func (c *commandConn) Read(b []byte) (int, error) {
	n, err := c.Reader.Read(b)
	if n > 0 {
		c.got.Store(true)
	}
	if err != nil && !c.got.Load() {
		timer := time.AfterFunc(lastWords, c.kill)
		c.reap()
		timer.Stop()
		return n, c.silent(err)
	}
	return n, err
}

// Write implements net.Conn. Whoever writes may notice the end before who reads, and tells
// the same of it.
func (c *commandConn) Write(b []byte) (int, error) {
	n, err := c.Writer.Write(b)
	if err != nil && !c.got.Load() {
		timer := time.NewTimer(2 * lastWords)
		defer timer.Stop()
		select {
		case <-c.reaped:
			return n, c.silent(err)
		case <-timer.C: // nobody reads
		}
	}
	return n, err
}

func (c *commandConn) silent(err error) error {
	said := strings.TrimSpace(c.stderr.String())
	return fmt.Errorf("%s ended without an answer: %s", c.name, cmp.Or(said, err.Error()))
}

// Close implements net.Conn.
func (c *commandConn) Close() error {
	c.kill()
	c.reap()
	return nil
}

func (c *commandConn) kill() {
	select {
	case <-c.reaped:
	default:
		_ = syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL) // it may have ended by itself
	}
}

// reap waits until the program has ended and all that it said is read. It is called where nobody
// reads from it any more.
func (c *commandConn) reap() {
	c.wait.Do(func() {
		_ = c.cmd.Wait() // how it ended is nobody's matter any more
		close(c.reaped)
	})
}

// The rest of net.Conn: there are no addresses, and deadlines are those of requests, which
// end with Close.
func (c *commandConn) LocalAddr() net.Addr              { return &net.UnixAddr{Name: c.name, Net: "unix"} }
func (c *commandConn) RemoteAddr() net.Addr             { return c.LocalAddr() }
func (c *commandConn) SetDeadline(time.Time) error      { return os.ErrNoDeadline }
func (c *commandConn) SetReadDeadline(time.Time) error  { return os.ErrNoDeadline }
func (c *commandConn) SetWriteDeadline(time.Time) error { return os.ErrNoDeadline }

// tail keeps the end of what is written. Safe for concurrent use.
type tail struct {
	mu struct {
		sync.Mutex
		b bytes.Buffer
	}
}

// tailBound is how much of it is kept.
const tailBound = 2 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mu.b.Write(p)
	if over := t.mu.b.Len() - tailBound; over > 0 {
		t.mu.b.Next(over)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.mu.b.String()
}
