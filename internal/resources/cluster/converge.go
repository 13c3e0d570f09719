// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/rotation"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/observe"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/rollout"
)

const (
	// every is the time between two looks at a cluster that is waited for; everySSH is
	// where a look is a command on every machine.
	every    = 50 * time.Millisecond
	everySSH = 500 * time.Millisecond
	// patience is how long an engine may fail, an agent be silent or a node have
	// a problem before the wait ends with its words instead of a timeout.
	patience = 3 * time.Second
	// patienceSSH is how long an agent may be silent that is reached over SSH: that a machine
	// did not answer is remembered for seconds, and the next attempt may take many more.
	patienceSSH = time.Minute
	// patienceSystemd is how long an engine may fail that systemd starts again, and an agent be
	// at something that it tries again: that is done every 5 s, and a machine that is busy
	// with its first start takes as long.
	patienceSystemd = 30 * time.Second
)

// work is one cluster being made what the configuration means. Every step may be
// repeated: after an interruption at any point, another work goes on.
type work struct {
	platform platform.Platform
	id       string
	binary   string
	want     desired
	secrets  agentapi.Secrets // of the provisioning steps
	// effective is what was known of the nodes before; nil: nothing.
	effective map[string]effectiveNode
	// adopted says that the cluster is there, and that nothing is known of it.
	adopted bool
	step    func(format string, args ...any)
	told    told
}

// every is the time between two looks at the cluster.
func (w *work) every() time.Duration {
	if w.want.location.Remote() {
		return everySSH
	}
	return every
}

// patience is how long a node may be in trouble, or be silent.
func (w *work) patience(err error) time.Duration {
	_, engine := errors.AsType[*observe.EngineError](err)
	_, passes := errors.AsType[passingError](err)
	switch {
	case !w.want.location.Remote():
		return patience
	case errors.Is(err, agentapi.ErrUnreachable):
		return patienceSSH
	case engine, passes:
		return patienceSystemd
	}
	return patience
}

// reach asks an agent, and asks again while it is silent, until patience has an end. What is asked for
// may be asked for twice.
func (w *work) reach(ctx context.Context, ask func() error) error {
	start := time.Now()
	for {
		err := ask()
		if !errors.Is(err, agentapi.ErrUnreachable) || ctx.Err() != nil || time.Since(start) >= w.patience(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(w.every()):
		}
	}
}

// converge makes machines and agents, certifies them, hands out the specs, starts engines, waits
// for a leader, restarts what needs it and sets the settings.
func (w *work) converge(ctx context.Context) error {
	w.step("make machines, disks and agents: %d nodes", len(w.want.nodes))
	machines, err := w.platform.Ensure(ctx, w.want.platform(w.id, w.binary, w.effective), func(line string) { w.step("%s", line) })
	if err != nil {
		return err
	}
	if err := w.rest(ctx); err != nil { // what agents are at may be certificates
		return err
	}
	if w.adopted {
		if err := w.sameAgain(ctx); err != nil { // now all agents answer
			return err
		}
	}
	if err := w.certify(ctx); err != nil { // no engine gets a certificate before its CA is on every node
		return err
	}
	if err := w.putSpecs(ctx, machines); err != nil {
		return err
	}
	if err := w.waitReady(ctx); err != nil {
		return err
	}
	if err := w.certify(ctx); err != nil { // what waited for engines to run
		return err
	}
	if err := w.restart(ctx); err != nil {
		return err
	}
	return w.settle(ctx)
}

// certify gives every node the cluster's CA, and replaces it where another one is wanted.
func (w *work) certify(ctx context.Context) error {
	if w.want.tls == nil {
		return nil
	}
	agents := map[string]rotation.Agent{}
	for _, name := range w.want.names() {
		agents[name] = w.platform.Node(name).Agent()
	}
	want := rotation.Want{Cluster: agentapi.Cluster{Name: w.want.name, ID: w.id}, CARotation: w.want.caRotation}
	err := rotation.Run(ctx, agents, want, func(format string, args ...any) { w.step("certificates: "+format, args...) })
	if err != nil {
		return fmt.Errorf("certificates: %w", err)
	}
	return nil
}

// putSpecs hands every node its spec and starts engines that somebody stopped, on
// all nodes at once: a node that fails does not keep the others back.
func (w *work) putSpecs(ctx context.Context, machines map[string]platform.Machine) error {
	names := w.want.names()
	errs := make([]error, len(names))
	var wg sync.WaitGroup
	for i, name := range names {
		wg.Go(func() { errs[i] = w.putSpec(ctx, name, machines) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (w *work) putSpec(ctx context.Context, name string, machines map[string]platform.Machine) error {
	spec, ok := w.want.spec(w.id, name, machines)
	if !ok {
		return fmt.Errorf("node %s: the platform gave no machine with %d stores for it", name, len(w.want.stores))
	}
	agent := w.platform.Node(name).Agent()
	if err := w.atRest(ctx, name, agent); err != nil {
		return err
	}
	var res agentapi.SpecResult
	err := w.reach(ctx, func() (err error) {
		res, err = agent.PutSpec(ctx, spec, w.secrets)
		return err
	})
	if err != nil {
		return fmt.Errorf("node %s: %w", name, err)
	}
	if firstSpec(res.Changes) {
		w.step("node %s: spec: its first", name)
	} else {
		for _, line := range changes(res.Changes) {
			w.step("node %s: spec: %s", name, line)
		}
	}
	st, err := w.status(ctx, agent)
	if err != nil {
		return fmt.Errorf("node %s: %w", name, err)
	}
	// While the agent is at work an engine that is not there yet has not failed.
	if s := st.Engine.State; s == agentapi.EngineStopped || s == agentapi.EngineFailed && st.Converging == nil {
		w.step("node %s: start engine (it was %s)", name, s)
		if _, err := agent.Start(ctx); err != nil {
			return fmt.Errorf("node %s: start engine: %w", name, err)
		}
	}
	return nil
}

// rest waits until all agents are at rest.
func (w *work) rest(ctx context.Context) error {
	names := w.want.names()
	errs := make([]error, len(names))
	var wg sync.WaitGroup
	for i, name := range names {
		wg.Go(func() { errs[i] = w.atRest(ctx, name, w.platform.Node(name).Agent()) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// atRest waits until an agent has ended what an earlier apply had it do.
func (w *work) atRest(ctx context.Context, name string, agent *agentapi.Client) error {
	tick := time.NewTicker(w.every())
	defer tick.Stop()
	var last *agentapi.Converging
	for {
		st, err := w.status(ctx, agent)
		switch {
		case err != nil && ctx.Err() != nil && last != nil: // a look that was cut off says nothing of the agent
			return fmt.Errorf("node %s: %w: %w", name, busy(last), context.Cause(ctx))
		case err != nil:
			return fmt.Errorf("node %s: %w", name, err)
		}
		last = st.Converging
		if st.Converging == nil {
			return nil
		}
		w.tell(name, st.Converging)
		select {
		case <-ctx.Done():
			return fmt.Errorf("node %s: %w: %w", name, busy(st.Converging), context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// status asks an agent that may be silent for a while.
func (w *work) status(ctx context.Context, agent *agentapi.Client) (st agentapi.Status, err error) {
	err = w.reach(ctx, func() (err error) {
		st, err = agent.Status(ctx)
		return err
	})
	return st, err
}

// busy says what an agent is at.
func busy(c *agentapi.Converging) error {
	if c.Doing == (agentapi.Operation{}) {
		return errors.New("the agent is at work")
	}
	return fmt.Errorf("the agent is at work: %s", c.Doing)
}

// firstSpec tells the changes of a node that had no spec: its version is new, too.
func firstSpec(all []agentapi.Change) bool {
	return slices.ContainsFunc(all, func(c agentapi.Change) bool { return c.Attribute == "version" && c.From == "" })
}

// waitReady waits until every engine runs, a leader is known and a read through a
// majority succeeds. It ends early with the words of a node that does not get there.
func (w *work) waitReady(ctx context.Context) error {
	w.step("wait for a leader")
	since := map[string]time.Time{} // by node: since when it has been in trouble
	tick := time.NewTicker(w.every())
	defer tick.Stop()
	var last error // why it was not ready when it was last looked at
	for {
		nodes := observe.Agents(ctx, w.platform, w.want.names())
		why := notReady(nodes)
		if why == nil {
			if why = nodes.Linearizable(ctx, w.platform); why == nil {
				w.step("ready: node %s leads", nodes.Leader())
				return nil
			}
			why = fmt.Errorf("no read through a majority yet: %w", why)
		}
		if ctx.Err() != nil && last != nil { // a look that was cut off says nothing of the cluster
			why = last
		}
		last = why
		now := time.Now()
		for name, n := range nodes {
			if c := n.Status.Converging; n.Reachable() && c != nil {
				w.tell(name, c)
				continue // what was wrong before may be mended by it, or come again
			}
			err := trouble(n)
			if err == nil {
				delete(since, name)
				continue
			}
			if _, ok := since[name]; !ok {
				since[name] = now
			}
			if now.Sub(since[name]) >= w.patience(err) {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", why, context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// notReady is the first reason why the cluster cannot serve, by node name.
func notReady(nodes observe.Nodes) error {
	for _, name := range nodes.Names() {
		n := nodes[name]
		switch {
		case !n.Reachable():
			return fmt.Errorf("node %s: %w", name, n.Err)
		case n.Status.Converging != nil:
			return fmt.Errorf("node %s: %w", name, busy(n.Status.Converging))
		case !n.EngineRunning():
			return fmt.Errorf("node %s: the engine is %s", name, n.Status.Engine.State)
		}
	}
	for _, p := range nodes.Partitions() {
		switch {
		case nodes.LeaderOf(p) != "":
		case p == observe.DefaultPartition:
			return errors.New("the cluster has no leader yet")
		default:
			return fmt.Errorf("the partition %s has no leader yet", p)
		}
	}
	return nil
}

// trouble is what a person has to know of a node that is not on its way.
func trouble(n observe.Node) error {
	switch {
	case !n.Reachable():
		return fmt.Errorf("node %s: %w", n.Name, n.Err)
	case n.EngineRunning():
		return nil
	case n.Status.Engine.LastExit != "" && n.Status.Engine.State != agentapi.EngineHeld:
		return &observe.EngineError{Node: n.Name, LastExit: n.Status.Engine.LastExit}
	}
	var passes error                                       // told where nothing else hinders it
	for _, p := range slices.Backward(n.Status.Problems) { // the newest first
		err := fmt.Errorf("node %s: %w", n.Name, &agentapi.Error{What: p.What, Why: p.Why, Next: p.Next})
		switch {
		case p.Beside:
		case !p.Passing:
			return err
		case passes == nil:
			passes = passingError{err}
		}
	}
	return passes
}

// passingError is what an agent tries again by itself.
type passingError struct{ error }

func (e passingError) Unwrap() error { return e.error }

// restart restarts, one at a time, the engines whose configuration asks for it.
func (w *work) restart(ctx context.Context) error {
	steps := rollout.Plan(w.rolloutNodes(observe.Agents(ctx, w.platform, w.want.names())))
	return rollout.Run(ctx, w, steps, rollout.Options{
		Step: func(line string) { w.step("%s", line) }, Every: w.every(), GateTimeout: w.gateTimeout()})
}

// gateTimeout is how long an engine may take to be well after its restart, and the others before
// it: at least as long as a machine may be silent.
func (w *work) gateTimeout() time.Duration {
	if w.want.location.Remote() {
		return 2 * patienceSSH
	}
	return 0 // rollout's
}

// Observe implements rollout.Cluster.
func (w *work) Observe(ctx context.Context) ([]rollout.Node, error) {
	return w.rolloutNodes(observe.Agents(ctx, w.platform, w.want.names())), nil
}

// Restart implements rollout.Cluster.
func (w *work) Restart(ctx context.Context, node string) error {
	_, err := w.platform.Node(node).Agent().Restart(ctx)
	return err
}

func (w *work) rolloutNodes(nodes observe.Nodes) []rollout.Node {
	leaders := map[string]string{}
	for _, p := range nodes.Partitions() {
		leaders[p] = nodes.LeaderOf(p)
	}
	var all []rollout.Node
	for _, name := range nodes.Names() {
		n := nodes[name]
		node := rollout.Node{
			Name: name, Voter: w.want.nodes[name].voter, Running: n.EngineRunning(),
			Hung:    n.Hung(),
			Restart: changes(n.Status.Engine.RestartRequired),
		}
		for _, p := range n.Partitions() {
			node.Partitions = append(node.Partitions, rollout.Partition{
				Name: p.Name, Leader: name == leaders[p.Name], Applied: p.AppliedIndex, Commit: p.CommitIndex,
			})
		}
		all = append(all, node)
	}
	return all
}

// settle makes the settings what the map says: what is not in it goes back to its
// default.
func (w *work) settle(ctx context.Context) error {
	nodes := observe.Agents(ctx, w.platform, w.want.names())
	have, err := nodes.Settings(ctx, w.platform)
	if err != nil {
		return fmt.Errorf("read the settings: %w", err)
	}
	change := settingsChange(have, w.want.settings)
	if len(change) == 0 {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(change)) {
		if v := change[name]; v != nil {
			w.step("setting %s: %s → %s", name, orDefault(have, name), *v)
		} else {
			w.step("setting %s: %s → its default", name, have[name])
		}
	}
	c, err := nodes.Client(w.platform)
	if err != nil {
		return fmt.Errorf("set the settings: %w", err)
	}
	defer c.Close()
	if err := c.SetSettings(ctx, change); err != nil {
		return fmt.Errorf("set the settings: %w", err)
	}
	return nil
}

// settingsChange is what makes the settings that somebody set those of want.
func settingsChange(have, want map[string]string) map[string]*string {
	change := map[string]*string{}
	for name, v := range want {
		if old, ok := have[name]; !ok || old != v {
			change[name] = &v
		}
	}
	for name := range have {
		if _, ok := want[name]; !ok {
			change[name] = nil
		}
	}
	return change
}

func orDefault(set map[string]string, name string) string {
	if v, ok := set[name]; ok {
		return v
	}
	return "its default"
}
