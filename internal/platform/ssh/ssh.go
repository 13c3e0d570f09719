// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package ssh

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
)

// Where things are on a machine.
const (
	stateDir   = "/var/lib/holdfast" // node.json, and the agent's records
	recordPath = stateDir + "/node.json"
	binaryDir  = "/usr/local/bin"
	binaryName = "holdfast"
	binaryPath = binaryDir + "/" + binaryName
	socketPath = "/run/holdfast/agent.sock"
	mountsDir  = "/srv/holdfast"
	unitPath   = "/etc/systemd/system/holdfast-agent.service"
)

// jumping is how many machines are logged in to at once through jump hosts: OpenSSH's drops
// connections once ten are there that have not logged in.
const jumping = 8

// Platform is the platform of machines that somebody already has. Safe for
// concurrent use.
type Platform struct {
	nodes       map[string]*node
	replaceable bool
	mu          struct {
		sync.Mutex
		say say // of the Ensure or Destroy that runs; may be nil
	}
}

var _ platform.Platform = (*Platform)(nil)

// New returns the platform of the machines. It connects nowhere.
func New(cfg Config) (*Platform, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	var attempts chan struct{}
	if len(cfg.Access.Jump) > 0 {
		attempts = make(chan struct{}, jumping)
	}
	p := &Platform{nodes: map[string]*node{}, replaceable: cfg.Replaceable}
	var wrong errs
	for name, n := range cfg.Nodes {
		host, err := cfg.host(n, attempts, func(line string) { p.tell("node %s: %s", name, line) })
		if err != nil {
			wrong.add(name, err)
			continue
		}
		address, _ := n.clusterAddress() // validated
		p.nodes[name] = &node{name: name, cfg: n, address: address, host: host, memory: trialMemory}
	}
	return p, wrong.join(len(cfg.Nodes))
}

// Close ends all connections and every call. What runs on the machines runs on.
func (p *Platform) Close() error {
	var wg sync.WaitGroup
	all := make([]error, len(p.nodes))
	for i, name := range p.names() {
		wg.Go(func() { all[i] = p.nodes[name].close() })
	}
	wg.Wait()
	return errors.Join(all...)
}

// Node implements platform.Platform.
func (p *Platform) Node(name string) platform.Communicator {
	if n, ok := p.nodes[name]; ok {
		return n
	}
	return nowhere{name}
}

// Adopt implements platform.Platform. It asks every machine once; where those that answer
// cannot tell, it waits for the others as long as one may take to start.
func (p *Platform) Adopt(ctx context.Context) (name, id string, ok bool, err error) {
	all := p.lookAll(ctx, p.names(), (*node).try)
	cluster, ok, err := all.whose()
	if errors.Is(err, errNobody) && len(all.waitFor()) > 0 {
		maps.Copy(all, p.lookAll(ctx, all.waitFor(), (*node).wait))
		cluster, ok, err = all.whose()
	}
	return cluster.Name, cluster.ID, ok, err
}

// Observe implements platform.Platform. The disks of a machine are as they were asked for
// last. One that does not answer, or has lost its record, is listed without disks.
func (p *Platform) Observe(ctx context.Context) (map[string]platform.Machine, error) {
	all := p.lookAll(ctx, p.names(), (*node).try)
	_, ok, err := all.whose()
	machines := map[string]platform.Machine{}
	if err != nil || !ok {
		return machines, err
	}
	for name, a := range all {
		switch {
		case a.record != nil:
			machines[name] = a.record.machine(p.nodes[name].address)
		case a.err != nil, a.spec != nil:
			machines[name] = platform.Machine{Name: name, Address: p.nodes[name].address}
		}
	}
	return machines, nil
}

// Ensure implements platform.Platform. No machine is changed unless all may be.
func (p *Platform) Ensure(ctx context.Context, c platform.Cluster, progress func(string)) (map[string]platform.Machine, error) {
	defer p.telling(progress)()
	nodes, bin, err := p.asked(c)
	if err != nil {
		return nil, err
	}
	defer bin.close()
	requirements := bin.requirements()
	requirements.Free = 0 // the upload says so, where there is something to upload
	all, err := p.inspect(ctx, c, requirements)
	if err != nil {
		return nil, err
	}
	if ending := all.ending(); len(ending) > 0 {
		for _, id := range ending {
			p.tell("ending the destruction of cluster %s, which was interrupted", id)
			if err := p.dismantle(ctx, id); err != nil {
				return nil, err
			}
		}
		if all, err = p.inspect(ctx, c, requirements); err != nil {
			return nil, err
		}
	}
	machines := map[string]platform.Machine{}
	var mu sync.Mutex // guards machines
	failed := p.each(names(nodes), func(n *node) error {
		asked := nodes[n.name]
		asked.Known = all[n.name].known
		m, err := n.ensure(ctx, c, asked, bin, all[n.name].record, p.of(n))
		if err != nil {
			return n.broke(err)
		}
		mu.Lock()
		defer mu.Unlock()
		machines[n.name] = m
		return nil
	})
	if err := failed.join(len(nodes)); err != nil {
		return nil, err
	}
	return machines, nil
}

// asked are c's nodes by name, and its binary. Each node has to have a machine.
func (p *Platform) asked(c platform.Cluster) (map[string]platform.Node, *binary, error) {
	nodes := map[string]platform.Node{}
	var wrong errs
	for _, n := range c.Nodes {
		nodes[n.Name] = n
		if p.nodes[n.Name] == nil {
			wrong.add(n.Name, &platform.Error{What: "it cannot be made", Err: errNoMachine, Next: "Name its machine."})
		}
	}
	if err := wrong.join(len(c.Nodes)); err != nil {
		return nil, nil, err
	}
	bin, err := openBinary(c.Binary)
	return nodes, bin, err
}

// lookAll asks machines whose they are, all at once, after connecting as connect does.
func (p *Platform) lookAll(ctx context.Context, names []string, connect func(*node, context.Context) error) answers {
	all := answers{}
	var mu sync.Mutex // guards all
	_ = p.each(names, func(n *node) error {
		var a answer
		if a.err = connect(n, ctx); a.err == nil {
			a.found, a.err = n.look(ctx)
		}
		mu.Lock()
		defer mu.Unlock()
		all[n.name] = a
		return nil // it is in the answer
	})
	return all
}

// each runs f for nodes at once and returns the failures of all: one that fails does
// not keep the others back.
func (p *Platform) each(names []string, f func(*node) error) errs {
	results := make([]error, len(names))
	var wg sync.WaitGroup
	for i, name := range names {
		wg.Go(func() { results[i] = f(p.nodes[name]) })
	}
	wg.Wait()
	var failed errs
	for i, name := range names {
		failed.add(name, results[i])
	}
	return failed
}

func (p *Platform) names() []string { return names(p.nodes) }

func names[T any](m map[string]T) []string { return slices.Sorted(maps.Keys(m)) }

// say tells one step.
type say func(format string, args ...any)

// lines tells what a command on a machine said that it did.
func (s say) lines(out []byte) {
	for line := range strings.Lines(string(out)) {
		if line = strings.TrimSpace(line); line != "" {
			s("%s", line)
		}
	}
}

// telling has progress get the steps until the function it returns is called.
func (p *Platform) telling(progress func(string)) (stop func()) {
	set := func(s say) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.mu.say = s
	}
	if progress == nil {
		return func() {}
	}
	set(func(format string, args ...any) { progress(fmt.Sprintf(format, args...)) })
	return func() { set(nil) }
}

// tell tells one step, one at a time.
func (p *Platform) tell(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.say != nil {
		p.mu.say(format, args...)
	}
}

// of tells the steps of one node.
func (p *Platform) of(n *node) say {
	return func(format string, args ...any) { p.tell("node %s: %s", n.name, fmt.Sprintf(format, args...)) }
}
