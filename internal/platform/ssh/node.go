// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package ssh

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform/sshhost"
)

// node is one machine and the connection to it. Safe for concurrent use.
type node struct {
	name    string
	cfg     Node
	address string // of the cluster
	host    *sshhost.Host

	// memory is for how long a machine that did not answer is not tried again.
	memory time.Duration

	wg sync.WaitGroup // the trial
	mu struct {
		sync.Mutex
		trial  *trial // under way, or failed until then; nil: none
		until  time.Time
		closed bool
	}
}

// trialMemory is node.memory. One look at a cluster asks each machine several times, and one that
// is switched off takes all of an attempt's time to show that.
const trialMemory = 5 * time.Second

// trial is one attempt to connect, for all who wait for it.
type trial struct {
	done chan struct{} // closed by the attempt's goroutine once err is set; nothing is sent
	err  error
}

// try connects, unless that was done, in one attempt. The attempt goes on where ctx ends
// before it does: a machine that takes longer to log in to than somebody has time for
// is reached by the next call. It ends by itself, at the latest with close. That no server
// answered is remembered for a moment.
func (n *node) try(ctx context.Context) error {
	n.mu.Lock()
	t := n.mu.trial
	if !n.mu.until.IsZero() && time.Now().After(n.mu.until) {
		t, n.mu.until = nil, time.Time{}
	}
	if n.mu.closed {
		t = nil
	} else if t == nil {
		t = &trial{done: make(chan struct{})}
		n.mu.trial = t
		n.wg.Go(func() {
			t.err = n.host.Try(context.Background())
			n.mu.Lock()
			if errors.Is(t.err, sshhost.ErrUnreachable) {
				n.mu.until = time.Now().Add(n.memory)
			} else {
				n.mu.trial = nil
			}
			n.mu.Unlock()
			close(t.done)
		})
	}
	n.mu.Unlock()
	if t == nil {
		return sshhost.ErrClosed
	}
	select {
	case <-t.done:
		return t.err
	case <-ctx.Done():
		return fmt.Errorf("logging in to %s takes long: %w", n.cfg.Address, context.Cause(ctx))
	}
}

// wait connects, and waits for a machine that may be starting.
func (n *node) wait(ctx context.Context) error {
	err := n.host.Connect(ctx)
	if err == nil {
		n.mu.Lock()
		defer n.mu.Unlock()
		if !n.mu.until.IsZero() {
			n.mu.trial, n.mu.until = nil, time.Time{} // it answers by now
		}
	}
	return err
}

// close ends the connection, and waits for the trial.
func (n *node) close() error {
	n.mu.Lock()
	n.mu.closed = true
	n.mu.Unlock()
	err := n.host.Close()
	n.wg.Wait()
	return err
}

// Agent implements platform.Communicator.
func (n *node) Agent() *agentapi.Client {
	return agentapi.NewClientWithDialer(n.DialAgent)
}

// DialAgent connects to the agent's socket: for platforms that find their machines otherwise.
func (n *node) DialAgent(ctx context.Context) (net.Conn, error) {
	if err := n.try(ctx); err != nil {
		return nil, err
	}
	return n.host.DialUnix(ctx, socketPath)
}

// DialContext implements platform.Communicator.
func (n *node) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	if err := n.try(ctx); err != nil {
		return nil, nodeError{n.name, err}
	}
	conn, err := n.host.DialContext(ctx, network, address)
	if err != nil {
		return nil, nodeError{n.name, err}
	}
	return conn, nil
}

// nowhere is the way to a node that has no machine.
type nowhere struct{ name string }

func (n nowhere) Agent() *agentapi.Client {
	return agentapi.NewClientWithDialer(func(context.Context) (net.Conn, error) { return nil, nodeError{n.name, errNoMachine} })
}

func (n nowhere) DialContext(context.Context, string, string) (net.Conn, error) {
	return nil, nodeError{n.name, errNoMachine}
}
