// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/layout/disk"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/units"
)

// host is the machine of a spec as package units sees it. mounts are those of the
// spec's disks.
func (a *Agent) host(spec *agentapi.Spec, mounts []disk.Mount, systemd int) units.Host {
	of := func(field, path string, d *agentapi.Disk) units.Disk {
		if d == nil {
			return units.Disk{Path: path}
		}
		for _, m := range mounts {
			if m.Field == field+".disk" {
				return units.Disk{Path: m.Where, UUID: m.UUID, FSType: m.FSType}
			}
		}
		return units.Disk{Path: d.Mount}
	}
	h := units.Host{
		Node: spec.Node, Binary: a.opts.Binary, Dir: a.opts.Dir, Buffering: spec.Log.Buffering, AgentLog: a.opts.LogFile,
		EngineWanted: a.sup == nil || a.sup.State().Wanted, Systemd: systemd,
	}
	a.mu.Lock()
	h.Previous = a.mu.stores.previous(spec)
	a.mu.Unlock()
	for i, st := range spec.Stores {
		h.Stores = append(h.Stores, of(fmt.Sprintf("stores.%d", i), st.Path, st.Disk))
	}
	if spec.SideDisk != nil {
		side := of(sideField, spec.SideDisk.Path, spec.SideDisk.Disk)
		h.Side = &side
	}
	return h
}

// servicePlan compares the machine's units and the files around them with those of a spec.
func (a *Agent) servicePlan(ctx context.Context, spec *agentapi.Spec, mounts []disk.Mount) (servicePlan, error) {
	var sys units.Local
	version, err := units.Version(ctx, sys)
	if err != nil {
		return servicePlan{}, err
	}
	set, err := units.Make(a.host(spec, mounts, version))
	if err != nil {
		return servicePlan{}, err
	}
	is, err := sys.Observe(ctx, set)
	if err != nil {
		return servicePlan{}, err
	}
	actions, err := units.MakePlan(set, is)
	if err != nil {
		return servicePlan{}, err
	}
	return servicePlan{slices.DeleteFunc(actions, elsewhere), set.Text(units.EngineUnit), is.Text(units.EngineUnit), is.Units[units.EngineUnit].NeedDaemonReload}, nil
}

// servicePlan is what brings the services to a spec, and the engine's unit: as it shall be,
// as it is in its file, and whether systemd has read another one than that.
type servicePlan struct {
	actions    []units.Action
	unit, file string
	unread     bool
}

// elsewhere tells what the services leave to others: the engine starts and stops, now
// and at boot, by its supervisor; and the agent runs, this is it.
func elsewhere(act units.Action) bool {
	switch act.Target {
	case units.EngineUnit:
		return act.Kind == units.Enable || act.Kind == units.Disable || act.Kind == units.Start
	case units.AgentUnit:
		return act.Kind == units.Start
	}
	return false
}

// userLocked makes the user that the engine runs as.
func (a *Agent) userLocked(ctx context.Context) []agentapi.Problem {
	if !a.opts.Systemd {
		return nil
	}
	var sys units.Local
	set := units.MakeUser(units.Host{})
	is, err := sys.Observe(ctx, set)
	var actions []units.Action
	if err == nil {
		actions, err = units.MakePlan(set, is)
	}
	if err == nil {
		err = units.Do(ctx, sys, actions, nil)
	}
	if err != nil {
		return []agentapi.Problem{problem("the engine's user is not there", err, "See the error; the agent goes on trying.")}
	}
	return nil
}

// servicesLocked writes the units and the files around them, and has them take effect. What
// would need a restart is only said: of the engine in the status, of others in the log.
func (a *Agent) servicesLocked(ctx context.Context, c *convergence, spec *agentapi.Spec, mounts []disk.Mount) []agentapi.Problem {
	if !a.opts.Systemd {
		return nil
	}
	c.looking(agentapi.PartServices, "compare the units with those of the spec")
	plan, err := a.servicePlan(ctx, spec, mounts)
	if err == nil {
		err = a.keepUnit(plan)
	}
	if err == nil {
		err = units.Do(ctx, units.Local{}, plan.actions, func(act units.Action) {
			switch {
			case act.Kind != units.NeedRestart:
				a.log.Info("services", "action", act.String())
				c.doing(serviceOperation(act))
			case act.Target != units.EngineUnit: // that one is told by its record
				a.log.Info("a restart is needed for a changed file to take effect", "unit", act.Target, "why", act.Why)
			}
		})
	}
	if err != nil {
		return []agentapi.Problem{problem("the services are not in place", err, "See the error; the agent goes on trying.")}
	}
	return nil
}

func serviceOperation(act units.Action) agentapi.Operation {
	return agentapi.Operation{Part: agentapi.PartServices, Text: act.String()}
}

// serviceOperations are what would be done; what would only be said is none.
func serviceOperations(actions []units.Action) []agentapi.Operation {
	var all []agentapi.Operation
	for _, act := range actions {
		if act.Kind != units.NeedRestart {
			all = append(all, serviceOperation(act))
		}
	}
	return all
}

// operations are what would be done on the machine for a spec, in order and after its
// provisioning steps, and what would keep it from being done: the refusals among it are *agentapi.Errors, in err.
func (a *Agent) operations(ctx context.Context, spec *agentapi.Spec, stores storesRecord) (ops []agentapi.Operation, problems []agentapi.Problem, err error) {
	var mounts []disk.Mount
	if a.opts.Systemd {
		at, err := a.place()
		if err != nil {
			return nil, nil, err
		}
		// Whoever the user will be: its directories are made in any case then.
		s := diskSpec(spec, stores, max(at.uid, 0), max(at.gid, 0))
		if len(s.Disks) > 0 {
			plan, err := a.lookAtDisks(ctx, s)
			sure := slices.DeleteFunc(disk.Refusals(err), func(r *disk.Refusal) bool { return r.Unsure })
			if len(sure) > 0 {
				return ops, diskProblems(err), refusalOf(sure...)
			}
			if err != nil {
				return ops, diskProblems(err), nil
			}
			ops, mounts = append(ops, diskOperations(plan.Steps)...), plan.Mounts
		}
	}
	ops = append(ops, a.pendingCertificates(spec)...)
	if a.opts.Systemd {
		plan, err := a.servicePlan(ctx, spec, mounts)
		if e, ok := errors.AsType[*agentapi.Error](err); ok {
			return ops, []agentapi.Problem{problem("", e, "")}, e
		}
		if err != nil {
			return ops, []agentapi.Problem{problem("the services cannot be looked at", err, "See the error.")}, nil
		}
		ops = append(ops, serviceOperations(plan.actions)...)
	}
	return ops, problems, nil
}
