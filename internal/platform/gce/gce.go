// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package gce

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform/ssh"
)

// Platform is the platform of a cluster on Compute Engine. Safe for concurrent use.
type Platform struct {
	*site
	cfg  Config
	made bool // cfg says what the cluster is made of
	told progress
}

// site is what all platforms of one place share.
type site struct {
	client *client

	looking sync.Mutex // held while the machines are looked for: one look is enough for all who wait
	looked  time.Time  // when that was last done; guarded by looking

	mu struct {
		sync.Mutex
		closed bool
		keys   map[uint64][]string // host keys by the ID of an instance, which never changes them
		// way leads to the machines that address and key were known of, and is for those alone.
		way       Reached
		wayConfig map[string]ssh.Node
		old       []io.Closer // ways that were replaced; somebody may use them until Close
	}
}

var _ platform.Planner = (*Platform)(nil)

// New returns the platform. It asks nobody.
func New(cfg Config) (*Platform, error) {
	if err := cfg.withDefaults().validate(); err != nil {
		return nil, err
	}
	p, err := Open(cfg.Place)
	if err != nil {
		return nil, err
	}
	return p.For(cfg.Machines)
}

// Open returns the platform of a place, which can be observed and destroyed: what a cluster is made of
// there has to be known for anything else. It asks nobody.
func Open(at Place) (*Platform, error) {
	cfg := Config{Place: at}.withDefaults()
	if err := cfg.Place.validate(); err != nil {
		return nil, err
	}
	s := &site{client: newClient(cfg)}
	s.mu.keys = map[uint64][]string{}
	return &Platform{site: s, cfg: cfg}, nil
}

// For returns the platform of the same place that makes m there. The two share connections and what they
// know of machines, and Close of either ends both.
func (p *Platform) For(m Machines) (*Platform, error) {
	cfg := Config{Place: p.cfg.Place, Machines: m}.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	return &Platform{site: p.site, cfg: cfg, made: true}, nil
}

// Close ends connections. What runs on the machines runs on.
func (p *Platform) Close() error {
	p.mu.Lock()
	all := p.mu.old
	if p.mu.way != nil {
		all = append(all, p.mu.way)
	}
	p.mu.old, p.mu.way, p.mu.closed = nil, nil, true
	p.mu.Unlock()
	p.client.close()
	var errs []error
	for _, c := range all {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// Adopt implements platform.Platform. The place of a cluster is its name in the project.
func (p *Platform) Adopt(ctx context.Context) (name, id string, ok bool, err error) {
	have, err := p.client.observe(ctx, p.cfg)
	if err != nil {
		return "", "", false, advised("the project cannot be looked at", err)
	}
	id, err = whose(p.cfg.Cluster, have)
	if err != nil || id == "" {
		return "", "", false, err
	}
	return p.cfg.Cluster, id, !have.destroying(), nil
}

// whose is the ID of the cluster that is there by the name; "" for none.
func whose(cluster string, have observed) (string, error) {
	ids := have.ids()
	for _, f := range have.firewalls { // all that is left of one, or all that it has yet
		if id := ownerOf(f.description); id != "" && len(ids) == 0 {
			ids = []string{id}
		}
	}
	switch len(ids) {
	case 0:
		return "", nil
	case 1:
		return ids[0], nil
	}
	return "", &platform.Error{What: "it is not certain which cluster " + cluster + " is", Err: fmt.Errorf("%w: %v", errTwice, ids),
		Next: "Take the label " + labelName + " from what is not the cluster's. Nothing was changed."}
}

// Pending implements platform.Planner. What would be done on the machines, their agents say.
func (p *Platform) Pending(ctx context.Context, c platform.Cluster) (platform.Pending, error) {
	if err := p.asked(c); err != nil {
		return nil, err
	}
	network, err := p.network(ctx, c)
	if err != nil {
		return nil, advised("the network is not known", err)
	}
	have, err := p.client.observe(ctx, p.cfg)
	if err != nil {
		return nil, advised("the project cannot be looked at", err)
	}
	todo, err := planFor(p.cfg.want(c, network), have)
	if errors.Is(err, errDestroys) {
		return platform.Pending{"": {"end the destruction of cluster " + strings.Join(have.doomed(), ", ") + ", and make it anew"}}, nil
	}
	return todo.pending(), err
}

// Ensure implements platform.Platform: machines and disks first, then what belongs on them.
func (p *Platform) Ensure(ctx context.Context, c platform.Cluster, progress func(string)) (map[string]platform.Machine, error) {
	defer p.told.to(progress)()
	if err := p.asked(c); err != nil {
		return nil, err
	}
	have, err := p.ensure(ctx, c)
	if errors.Is(err, errDestroys) {
		if err := p.endDestruction(ctx); err != nil {
			return nil, err
		}
		have, err = p.ensure(ctx, c)
	}
	if err != nil {
		return nil, err
	}
	return p.onMachines(ctx, c, have, progress)
}

// endDestruction ends the destruction of a cluster by the name, where one was begun.
func (p *Platform) endDestruction(ctx context.Context) error {
	have, err := p.client.observe(ctx, p.cfg)
	if err != nil {
		return advised("the project cannot be looked at", err)
	}
	for _, id := range have.doomed() {
		p.told.step("ending the destruction of cluster %s, which was interrupted", id)
		if err := p.destroy(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

// asked refuses a cluster of another name, and nodes that no machine is configured for.
func (p *Platform) asked(c platform.Cluster) error {
	var all problems
	if !p.made {
		return &platform.Error{What: "cluster " + c.Name + " cannot be made", Err: errUnsaid, Next: "Open the place with its machines."}
	}
	if c.Name != p.cfg.Cluster {
		all.add(&platform.Error{What: "cluster " + c.Name + " cannot be made", Err: fmt.Errorf("%w: %s", errElsewhere, p.cfg.Cluster), Next: "Use the name that the platform was opened with."})
	}
	for _, n := range c.Nodes {
		if _, ok := p.cfg.Nodes[n.Name]; !ok {
			all.add(nodeError{n.Name, &platform.Error{What: "it cannot be made", Err: errNoMachine, Next: "Name its zone."}})
		}
	}
	return all.join("not all nodes can be made")
}

var (
	errNoMachine = errors.New("no machine is configured for it")
	errElsewhere = errors.New("the place is that of another cluster")
	errUnsaid    = errors.New("what it is made of was not said")
)

func named(c platform.Cluster, node string) bool {
	return slices.ContainsFunc(c.Nodes, func(n platform.Node) bool { return n.Name == node })
}

// onGCE says which devices the disks are: by the names that they were attached with.
func onGCE(c platform.Cluster) platform.Cluster {
	device := func(role string) platform.Device {
		return platform.Device{Match: agentapi.DiskMatch{ByID: "google-" + role}}
	}
	nodes := slices.Clone(c.Nodes)
	for i := range nodes {
		nodes[i].Stores = nil
		for s := range c.Stores {
			nodes[i].Stores = append(nodes[i].Stores, device(dataRole(s)))
		}
		nodes[i].SideDisk = device(sideRole)
	}
	c.Nodes = nodes
	return c
}

// Observe implements platform.Platform. A machine that does not run, or that cannot be reached, is
// listed without disks.
func (p *Platform) Observe(ctx context.Context) (map[string]platform.Machine, error) {
	machines := map[string]platform.Machine{}
	have, err := p.client.observe(ctx, p.cfg)
	if err != nil {
		return machines, advised("the project cannot be looked at", err)
	}
	id, err := whose(p.cfg.Cluster, have)
	if err != nil || id == "" || have.destroying() {
		return machines, err
	}
	have = have.of(id)
	for _, i := range have.instances {
		machines[i.node()] = platform.Machine{Name: i.node(), Address: i.address}
	}
	keys, err := p.hostKeys(ctx, have.instances, false)
	if err != nil {
		return machines, err
	}
	way, err := p.reach(have.instances, keys)
	if err != nil || way == nil {
		return machines, err
	}
	on, err := way.Observe(ctx)
	maps.Copy(machines, on)
	return machines, err
}

// reach is the way to the machines that run and whose keys are known; nil where there are none.
func (p *Platform) reach(instances []instance, keys map[string][]string) (Reached, error) {
	nodes := map[string]ssh.Node{}
	for _, i := range instances {
		n := ssh.Node{User: p.cfg.user(i), Address: i.address, HostKeys: keys[i.node()], ClusterAddress: i.address}
		if len(n.HostKeys) > 0 {
			n.MoreHostKeys = p.moreKeys(i)
		}
		if i.external != "" {
			n.Address = i.external
		}
		if i.status == "RUNNING" && (len(n.HostKeys) > 0 || p.cfg.Access.KnownHosts != "") {
			nodes[i.node()] = n
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.mu.closed:
		return nil, errClosed
	case len(nodes) == 0:
		return nil, nil
	case p.mu.way != nil && maps.EqualFunc(nodes, p.mu.wayConfig, sameWay):
		return p.mu.way, nil
	}
	way, err := p.cfg.Connect(ssh.Config{Nodes: nodes, Access: p.cfg.Access, Replaceable: true})
	if err != nil {
		return nil, err
	}
	if p.mu.way != nil {
		p.mu.old = append(p.mu.old, p.mu.way)
	}
	p.mu.way, p.mu.wayConfig = way, nodes
	return way, nil
}

var errClosed = errors.New("the platform is closed")

func sameWay(a, b ssh.Node) bool {
	return a.User == b.User && a.Address == b.Address && a.ClusterAddress == b.ClusterAddress && slices.Equal(a.HostKeys, b.HostKeys)
}

// Destroy implements platform.Platform. Engines and agents end with their machines.
func (p *Platform) Destroy(ctx context.Context, id string, progress func(string)) error {
	defer p.told.to(progress)()
	return p.destroy(ctx, id)
}
