// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cluster

import (
	"context"
	"net"
	"net/http"
	"sync"
	"testing"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
)

// fakePlatform holds a cluster whose agents are fakeAgents; nodes without one are
// those whose agent does not answer.
type fakePlatform struct {
	platform.Platform // what no test asks for
	name, id          string
	ok                bool
	agents            map[string]*fakeAgent
	clients           map[string]*agentapi.Client
	machines          map[string]platform.Machine
	asked             platform.Cluster // by Preflight and Ensure
}

func (p *fakePlatform) Observe(context.Context) (map[string]platform.Machine, error) {
	return p.machines, nil
}

func (p *fakePlatform) Preflight(_ context.Context, c platform.Cluster) error {
	p.asked = c
	return nil
}

func (p *fakePlatform) Ensure(_ context.Context, c platform.Cluster, _ func(string)) (map[string]platform.Machine, error) {
	p.asked = c
	return p.machines, nil
}

func (p *fakePlatform) Adopt(context.Context) (name, id string, ok bool, err error) {
	return p.name, p.id, p.ok, nil
}

// fakeAgent answers with a status that a test may change. What is not implemented is
// never asked for.
type fakeAgent struct {
	agentapi.Backend
	mu     sync.Mutex
	status agentapi.Status
	pki    int // how often it was asked for certificates
}

func (a *fakeAgent) PKI(context.Context) (agentapi.PKI, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.pki++
	return agentapi.PKI{}, &agentapi.Error{What: "no certificates here"}
}

func (a *fakeAgent) Status(context.Context) agentapi.Status {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.status
}

func (a *fakeAgent) set(change func(*agentapi.Status)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change(&a.status)
}

// serve makes the agents answer, over pipes of this process, until the test ends.
func (p *fakePlatform) serve(t *testing.T) {
	t.Helper()
	p.clients = map[string]*agentapi.Client{}
	for name, a := range p.agents {
		l := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
		server := &http.Server{Handler: agentapi.Handler(a)} //nolint:gosec // no stranger reaches a pipe
		var wg sync.WaitGroup
		wg.Go(func() { _ = server.Serve(l) }) // it ends when it is closed
		t.Cleanup(func() {
			_ = server.Close() // nothing is lost with it
			wg.Wait()
		})
		p.clients[name] = agentapi.NewClientWithDialer(l.dial)
	}
}

func (p *fakePlatform) Node(name string) platform.Communicator { return fakeNode{p.clients[name]} }

type fakeNode struct{ client *agentapi.Client }

func (n fakeNode) Agent() *agentapi.Client {
	if n.client != nil {
		return n.client
	}
	return agentapi.NewClientWithDialer(func(context.Context) (net.Conn, error) { return nil, net.ErrClosed })
}

func (fakeNode) DialContext(context.Context, string, string) (net.Conn, error) {
	return nil, net.ErrClosed
}

// pipeListener accepts pipes, so that a test's time may be synctest's.
type pipeListener struct {
	conns  chan net.Conn // from dial to Accept, unbuffered; never closed
	closed chan struct{} // closed by Close
	once   sync.Once
}

func (l *pipeListener) dial(ctx context.Context) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case l.conns <- there:
		return here, nil
	case <-l.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }
