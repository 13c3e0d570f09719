// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package agent

import (
	"context"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/api"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/status"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/supervise"
)

// engineRun is what is known of the configuration that an engine runs with. Of one that
// the agent started itself that is on record; one of systemd's says it when it is asked.
type engineRun struct {
	id      supervise.Identity
	pid     int
	started time.Time
	hash    string         // empty where it is not known
	spec    *agentapi.Spec // nil where it is not known
}

// runs is what is known of a process.
func (a *Agent) runs(p *supervise.Info) engineRun {
	if !a.opts.Systemd {
		return engineRun{pid: p.PID, started: p.StartedAt, hash: p.ConfigHash, spec: p.Spec}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.mu.ran.pid == p.PID && a.mu.ran.started.Equal(p.StartedAt) {
		return a.mu.ran // what it said the last time: it may hang now
	}
	return engineRun{id: p.Identity, pid: p.PID, started: p.StartedAt}
}

// learn takes down what an engine says that it runs with.
func (a *Agent) learn(run engineRun, hash string) engineRun {
	if !a.opts.Systemd {
		return run
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	run.hash, run.spec = hash, a.mu.configs.spec(hash)
	a.mu.ran = run
	return run
}

// ask asks the engine. It listens where the configuration says that it was started with.
func (a *Agent) ask(ctx context.Context, run engineRun, spec *agentapi.Spec) (stores *api.NodeStores, address string, err error) {
	addresses := []string{httpAddress(spec)}
	if run.spec != nil {
		addresses = []string{httpAddress(run.spec)}
	} else if a.opts.Systemd {
		a.mu.Lock()
		addresses = a.mu.configs.addresses(spec)
		a.mu.Unlock()
	}
	for _, address = range addresses {
		if stores, err = status.Ask(ctx, address, askBound); err == nil {
			return stores, address, nil
		}
	}
	return nil, "", err
}

// restartRequired are the differences between what an engine runs with and what is in force.
func (a *Agent) restartRequired(run engineRun, spec *agentapi.Spec, hash string) []agentapi.Change {
	var all []agentapi.Change
	if run.spec == nil && run.hash != "" && run.hash != hash {
		all = append(all, agentapi.Change{Attribute: "configuration", From: run.hash, To: hash, Restart: true})
	}
	all = append(all, agentapi.RestartRequired(run.spec, spec)...)
	if !a.opts.Systemd {
		return all
	}
	all = append(all, binaryChange(run.pid, a.opts.Binary)...)
	a.mu.Lock()
	defer a.mu.Unlock()
	return append(all, a.mu.unit.change(run.id)...)
}
