// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package drill

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/api"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
)

// agentBound is how long an agent may take to answer.
const agentBound = 5 * time.Second

// Cluster is a local cluster as its agents describe it.
type Cluster struct {
	Name      string
	Directory string // absolute, without links
	Nodes     []Node // by name
}

// Node is one node.
type Node struct {
	Name    string
	Address string // of the engine's HTTP API
	Disks   []Disk // its stores' in their order, then the side disk
	Mode    string // of failover: side-disk | among-stores | disabled
	pids    []int  // its agent and its engine
	state   string // of the default partition
	term    uint64
}

// Disk is a disk of a node.
type Disk struct {
	Name       string `json:"name"` // data1, data2 …, side
	Path       string `json:"path"` // the directory on it that the node uses
	Mountpoint string `json:"mountpoint"`
	Device     string `json:"device"`
	MajMin     string `json:"maj_min"`
}

const sideDisk = "side"

// record is what a drill reads of a local cluster's cluster.json.
type record struct {
	Format string `json:"format"`
	Name   string `json:"name"`
	Mode   string `json:"mode"`
}

const (
	recordFormat = "holdfast-local-cluster"
	modePlain    = "plain directories"
)

// Find asks the agents of the cluster in dir.
func Find(ctx context.Context, dir string) (*Cluster, error) {
	full, rec, err := readRecord(dir)
	if err != nil {
		return nil, err
	}
	if rec.Mode == modePlain {
		return nil, &agentapi.Error{
			What: "no disk of cluster " + rec.Name + " can be made to hang",
			Why:  "it was made without root: its nodes have plain directories in " + full + ", and share one disk with everything else on this machine",
			Next: "Make it with disks of its own: destroy it (`make stop`), and apply as root (`sudo make run`). Then drill as root.",
		}
	}
	if os.Getuid() != 0 {
		return nil, &agentapi.Error{What: "the drill cannot begin", Why: "freezing a file system needs root, as do the agents of a cluster that root made", Next: "Run it again with sudo."}
	}
	sockets, err := filepath.Glob(filepath.Join(quote(full), "nodes", "*", "agent.sock"))
	if err != nil {
		return nil, err
	}
	c := &Cluster{Name: rec.Name, Directory: full, Nodes: make([]Node, len(sockets))}
	errs := make([]error, len(sockets))
	var wg sync.WaitGroup
	for i, socket := range sockets {
		wg.Go(func() { c.Nodes[i], errs[i] = askNode(ctx, socket) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil || len(c.Nodes) == 0 {
		return nil, &agentapi.Error{
			What: "cluster " + rec.Name + " in " + full + " is not whole",
			Why:  cmp.Or(err, errors.New("no agent has a socket there")).Error(),
			Next: "A drill begins with every node well: apply again (`make apply`), and see `holdfast status`.",
		}
	}
	slices.SortFunc(c.Nodes, func(a, b Node) int { return cmp.Compare(a.Name, b.Name) })
	return c, nil
}

func readRecord(dir string) (full string, rec record, err error) {
	none := func(err error) error {
		return &agentapi.Error{
			What: "there is no local cluster in " + dir, Why: err.Error(),
			Next: "Name the directory of one with -directory: local.directory of its holdfast_cluster. `make run` makes one in examples/local/.holdfast.",
		}
	}
	if full, err = filepath.Abs(dir); err != nil {
		return "", rec, none(err)
	}
	if full, err = filepath.EvalSymlinks(full); err != nil {
		return "", rec, none(err)
	}
	b, err := os.ReadFile(filepath.Join(full, "cluster.json"))
	if err != nil {
		return "", rec, none(err)
	}
	if err := json.Unmarshal(b, &rec); err != nil {
		return "", rec, none(fmt.Errorf("cluster.json: %w", err))
	}
	if rec.Format != recordFormat {
		return "", rec, none(fmt.Errorf("cluster.json has format %q, not %q", rec.Format, recordFormat))
	}
	return full, rec, nil
}

// quote takes the meaning from the characters that Glob knows.
func quote(path string) string {
	var out []rune
	for _, c := range path {
		if slices.Contains([]rune(`\*?[`), c) {
			out = append(out, '\\')
		}
		out = append(out, c)
	}
	return string(out)
}

func askNode(ctx context.Context, socket string) (Node, error) {
	ctx, cancel := context.WithTimeout(ctx, agentBound)
	defer cancel()
	name := filepath.Base(filepath.Dir(socket))
	st, err := agentapi.NewClient(socket).Status(ctx)
	switch {
	case err != nil:
		return Node{}, fmt.Errorf("node %s: %w", name, err)
	case st.Spec == nil:
		return Node{}, fmt.Errorf("node %s has no spec", name)
	case st.Engine.State != agentapi.EngineRunning || st.Engine.Stores == nil:
		return Node{}, fmt.Errorf("node %s: its engine is %s", name, st.Engine.State)
	}
	return describe(st), nil
}

// describe takes from an agent's status what a drill needs.
func describe(st agentapi.Status) Node {
	n := Node{Name: st.Node, Address: st.Engine.HTTPAddress, Mode: st.Spec.WALFailover.Mode, pids: []int{st.Agent.PID, st.Engine.PID}}
	for i, s := range st.Stores {
		n.Disks = append(n.Disks, disk(fmt.Sprintf("data%d", i+1), s))
	}
	if st.Side != nil {
		n.Disks = append(n.Disks, disk(sideDisk, *st.Side))
	}
	if p := defaultPartition(st.Engine.Stores); p != nil {
		n.state, n.term = p.State, p.Term
	}
	return n
}

func disk(name string, s agentapi.StoreStatus) Disk {
	return Disk{Name: name, Path: s.Path, Mountpoint: s.Mountpoint, Device: s.Device, MajMin: s.MajMin}
}

// defaultPartition is the partition that a drill writes to; nil where the node
// does not say.
func defaultPartition(n *api.NodeStores) *api.Partition {
	if n == nil {
		return nil
	}
	for i := range n.Stores {
		for j := range n.Stores[i].Partitions {
			if p := &n.Stores[i].Partitions[j]; p.Name == "default" {
				return p
			}
		}
	}
	return nil
}

// Choose returns the node and the disks that are asked for: node is a name,
// leader or follower; disk is data, data1 …, side or both (the first store's
// and the side disk). An error names the flag.
func (c *Cluster) Choose(node, disk string) (Node, []Disk, error) {
	n, err := c.node(node)
	if err != nil {
		return Node{}, nil, err
	}
	var wanted []string
	switch disk {
	case "data":
		wanted = []string{"data1"}
	case "both":
		wanted = []string{"data1", sideDisk}
	default:
		wanted = []string{disk}
	}
	var disks []Disk
	for _, w := range wanted {
		i := slices.IndexFunc(n.Disks, func(d Disk) bool { return d.Name == w })
		if i < 0 {
			var names []string
			for _, d := range n.Disks {
				names = append(names, d.Name)
			}
			return Node{}, nil, &agentapi.Error{What: fmt.Sprintf("-disk %s", disk), Why: fmt.Sprintf("node %s has no disk %s; it has %v", n.Name, w, names), Next: "Name one of them, data or both."}
		}
		disks = append(disks, n.Disks[i])
	}
	return n, disks, nil
}

func (c *Cluster) node(want string) (Node, error) {
	leader := -1
	for i, n := range c.Nodes {
		if n.Name == want {
			return n, nil
		}
		if n.state == "Leader" && (leader < 0 || n.term > c.Nodes[leader].term) {
			leader = i
		}
	}
	switch {
	case want != "leader" && want != "follower":
		return Node{}, &agentapi.Error{What: "-node " + want, Why: fmt.Sprintf("cluster %s has no such node; it has %v", c.Name, c.names()), Next: "Name one of them, leader or follower."}
	case leader < 0:
		return Node{}, &agentapi.Error{What: "-node " + want, Why: "cluster " + c.Name + " has no leader now", Next: "See `holdfast status`, and drill when it has one."}
	case want == "leader":
		return c.Nodes[leader], nil
	}
	for i, n := range c.Nodes {
		if i != leader {
			return n, nil
		}
	}
	return Node{}, &agentapi.Error{What: "-node follower", Why: "cluster " + c.Name + " has one node only", Next: "Use -node leader."}
}

func (c *Cluster) names() (names []string) {
	for _, n := range c.Nodes {
		names = append(names, n.Name)
	}
	return names
}
