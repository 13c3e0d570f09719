// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package vm

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/api"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/test/terraform"
	"github.com/holdfastdb/terraform-provider-holdfast/test/traffic"
	"github.com/holdfastdb/terraform-provider-holdfast/test/wait"
)

// site is three machines on one network, each with a data disk of another kind and a
// side disk, and the working directory whose configuration makes them a cluster.
type site struct {
	network Network
	nodes   []*node // a, b, c
	tf      *terraform.Dir
}

// node is one machine, and the ways from the test to what runs on it.
type node struct {
	*Machine
	// tunnel carries requests: a command that is given up does not cut it.
	tunnel *Shell
	api    *api.Client
	agent  *agentapi.Client
}

// Of the disks of every machine.
const (
	dataSerial = "data"
	sideSerial = "side"
	dataSize   = 10 * GiB
	sideSize   = 25 * GiB
)

// newSite starts the machines. What they did last is shown where the test fails.
func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{}
	i := image(t)
	s.tf = terraform.New(t, "ssh")
	var configs []Config
	for name, kinds := range map[string][2]Kind{"a": {NVMe, SCSI}, "b": {SCSI, NVMe}, "c": {VirtIO, VirtIO}} {
		configs = append(configs, Config{Image: i, Name: name, Network: &s.network, CPUs: 1, MemoryMiB: 768, Disks: []Disk{
			{Kind: kinds[0], Serial: dataSerial, Size: dataSize},
			{Kind: kinds[1], Serial: sideSerial, Size: sideSize},
		}})
	}
	slices.SortFunc(configs, func(a, b Config) int { return strings.Compare(a.Name, b.Name) })
	for _, m := range start(t, configs...) {
		s.nodes = append(s.nodes, newNode(t, m))
	}
	t.Cleanup(func() {
		if t.Failed() {
			s.tell(t)
		}
	})
	return s
}

func newNode(t *testing.T, m *Machine) *node {
	t.Helper()
	n := &node{Machine: m, tunnel: newShell(m)}
	t.Cleanup(n.tunnel.Drop)
	var err error
	n.api, err = api.New(api.Config{Addresses: []string{"127.0.0.1:8500"}, DialContext: n.tunnel.Dial})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.api.Close)
	n.agent = agentapi.NewClientWithDialer(n.dialAgent)
	return n
}

// askMax is for one question.
const askMax = 15 * time.Second

// store is what the engine says of the node's one store.
func (n *node) store(ctx context.Context) (api.Store, error) {
	ctx, cancel := context.WithTimeout(ctx, askMax)
	defer cancel()
	s, err := n.api.Stores(ctx)
	if ctx.Err() != nil {
		n.tunnel.Drop()
	}
	if err != nil {
		return api.Store{}, err
	}
	if len(s.Stores) != 1 || len(s.Stores[0].Partitions) != 1 {
		return api.Store{}, fmt.Errorf("one store with one partition is expected: %+v", s.Stores)
	}
	return s.Stores[0], nil
}

// dialAgent connects to the agent's socket, which is root's, as the provider does.
func (n *node) dialAgent(ctx context.Context) (net.Conn, error) {
	session, err := n.tunnel.session(ctx)
	if err != nil {
		return nil, err
	}
	in, err := session.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := session.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := session.Start("sudo /usr/local/bin/holdfast agent connect /run/holdfast/agent.sock"); err != nil {
		return nil, err
	}
	return &pipe{Reader: out, WriteCloser: in, session: session}, nil
}

// pipe is a connection through the standard input and output of a command.
type pipe struct {
	io.Reader
	io.WriteCloser
	session *ssh.Session
}

func (p *pipe) Close() error                     { return p.session.Close() }
func (p *pipe) LocalAddr() net.Addr              { return &net.UnixAddr{Net: "unix"} }
func (p *pipe) RemoteAddr() net.Addr             { return &net.UnixAddr{Net: "unix"} }
func (p *pipe) SetDeadline(time.Time) error      { return nil } // each request has a context
func (p *pipe) SetReadDeadline(time.Time) error  { return nil }
func (p *pipe) SetWriteDeadline(time.Time) error { return nil }

// drive starts one writer through each node.
func drive(t *testing.T, s *site, prefix string) *traffic.Traffic {
	t.Helper()
	var nodes []traffic.Node
	for _, n := range s.nodes {
		nodes = append(nodes, traffic.Node{Name: n.Name, API: n.api, Unanswered: n.tunnel.Drop})
	}
	return traffic.Drive(t, nodes, prefix)
}

// leader waits until one node leads, and returns it.
func (s *site) leader(t *testing.T) *node {
	t.Helper()
	var found *node
	until(t, "one node leads", func() bool {
		found = nil
		for _, n := range s.nodes {
			st, err := n.store(t.Context())
			if err != nil || st.Partitions[0].State != "Leader" {
				continue
			}
			if found != nil {
				return false
			}
			found = n
		}
		return found != nil
	})
	return found
}

// follower is a node that does not lead.
func (s *site) follower(t *testing.T) *node {
	t.Helper()
	l := s.leader(t)
	for _, n := range s.nodes {
		if n != l {
			return n
		}
	}
	return nil
}

// node is the one of this name.
func (s *site) node(name string) *node {
	return s.nodes[slices.IndexFunc(s.nodes, func(n *node) bool { return n.Name == name })]
}

// well waits until one node leads, the others follow it, and every log is written to
// its data disk.
func (s *site) well(t *testing.T) {
	t.Helper()
	why := ""
	wait.Within(t, 3*time.Minute, "the cluster is well", func() bool {
		why = ""
		leaders := map[string]int{}
		for _, n := range s.nodes {
			st, err := n.store(t.Context())
			if err != nil {
				why = fmt.Sprintf("%s: %v", n.Name, err)
				return false
			}
			p, f := st.Partitions[0], st.Failover
			if p.State == "Leader" {
				leaders[n.Name]++
			}
			if p.Leader == "" || p.State != "Leader" && p.State != "Follower" || f.Active != "primary" || f.Off != "" {
				why = fmt.Sprintf("%s: partition %+v, failover %+v", n.Name, p, f)
				return false
			}
		}
		why = fmt.Sprintf("leaders: %v", leaders)
		return len(leaders) == 1
	}, &why)
}

// all does the same with every machine at once.
func (s *site) all(do func(n *node)) {
	var wg sync.WaitGroup
	for _, n := range s.nodes {
		wg.Go(func() { do(n) })
	}
	wg.Wait()
}

// boot gives a machine its power back.
func (n *node) boot(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bootMax)
	defer cancel()
	began := time.Now()
	if err := n.Boot(ctx); err != nil {
		t.Error(err)
		return
	}
	t.Logf("%s boots in %s", n.Name, time.Since(began).Round(time.Second))
}

// cutPower cuts it.
func (n *node) cutPower(t *testing.T) {
	t.Helper()
	if err := n.PowerOff(); err != nil {
		t.Error(err)
	}
	n.tunnel.Drop()
}

// property is one of systemd's of a unit.
func (n *node) property(t *testing.T, unit, name string) string {
	t.Helper()
	return sh(t, n.Machine, "systemctl show -P "+name+" "+unit)
}

// tell shows what the machines did last.
func (s *site) tell(t *testing.T) {
	const last = `sudo systemctl --no-pager --plain --no-legend list-units 'holdfast*' 'srv-*'
findmnt -rn -t ext4,xfs
for unit in holdfast-agent holdfast-engine; do sudo journalctl -b --no-pager -n 25 -u $unit; done`
	for _, n := range s.nodes {
		ctx, cancel := context.WithTimeout(context.Background(), waitMax)
		out, err := n.shell.run(ctx, last, nil)
		cancel()
		t.Logf("---- %s:\n%s\n%v\nconsole:\n%s", n.Name, out, err, tail(n.Console(), 5))
	}
	t.Logf("---- progress of the last terraform:\n%s", tail(s.tf.Told(), 60))
}
