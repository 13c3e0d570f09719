// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agent"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/units"
)

var provisionCommand = command{
	synopsis: "Make this machine what a node spec says",
	usage:    "[options] SPEC.json",
	help: `Installs the host agent where it is not there, sends it the spec, tells what it does, and
waits until the engine runs. Again, it does what is left: nothing, where the machine is what
the spec says. With - the spec is read from standard input.

With -dry-run nothing is changed: it prints what would be done. A disk with a foreign file
system, a partition table, another mount or a holder, one that is too small, missing,
read-only or another node's is refused with the field and both values, with -dry-run and
without, before anything is done.

  $ sudo holdfast provision -dry-run node.json
  $ sudo holdfast provision node.json

where node.json is, for example, a node of its own with a side disk:

  {"version": 1, "cluster": {"name": "orders", "id": "6f2d1c9e-7a53-4c1e-9a55-0f5b3d1c2e4f"},
   "node": "a", "bind_address": "127.0.0.1",
   "servers": [{"name": "a", "address": "127.0.0.1:8300", "voter": true}],
   "stores": [{"path": "/srv/holdfast/data1/store",
               "disk": {"match": {"serial": "S4EWNX0R"}, "filesystem": "xfs", "mount": "/srv/holdfast/data1"}}],
   "side_disk": {"path": "/srv/holdfast/side/store",
                 "disk": {"match": {}, "filesystem": "ext4", "mount": "/srv/holdfast/side", "min_size_bytes": 26843545600}},
   "wal_failover": {"mode": "side-disk"}}

An empty match is the only blank disk.`,
	make: func(env *Env, flags *flag.FlagSet) func(context.Context, []string) error {
		p := provisioning{env: env}
		flags.BoolVar(&p.dry, "dry-run", false, "only print what would be done")
		flags.BoolVar(&p.json, "json", false, "print JSON: the answer of the agent, or its status in the end; the rest goes to standard error")
		flags.DurationVar(&p.wait, "wait", 15*time.Minute, "how long to wait until the engine runs")
		return func(ctx context.Context, args []string) error {
			if len(args) != 1 {
				return usage("one SPEC.json is needed, %d given", len(args))
			}
			spec, err := p.read(args[0])
			if err != nil {
				return err
			}
			if p.dry {
				return p.preview(ctx, spec)
			}
			return p.run(ctx, spec)
		}
	},
}

// provisioning makes this machine what a spec says.
type provisioning struct {
	env       *Env
	dry, json bool
	wait      time.Duration
}

func (p *provisioning) read(file string) (*agentapi.Spec, error) {
	in := p.env.Stdin
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer func() { _ = f.Close() }() // read only
		in = f
	}
	spec, err := agentapi.DecodeSpec(in)
	if err != nil {
		return nil, err
	}
	spec = spec.WithDefaults()
	if err := spec.Validate(); err != nil {
		return nil, err
	}
	return spec, nil
}

// progress is where a person reads what is done.
func (p *provisioning) progress() io.Writer {
	if p.json {
		return p.env.Stderr
	}
	return p.env.Stdout
}

func (p *provisioning) print(v any) error {
	out := json.NewEncoder(p.env.Stdout)
	out.SetIndent("", "  ")
	return out.Encode(v)
}

// preview asks the agent what it would do; where none answers, it looks itself.
func (p *provisioning) preview(ctx context.Context, spec *agentapi.Spec) error {
	res, err := agentapi.NewClient(units.DefaultSocket).DryRun(ctx, spec, nil)
	absent := errors.Is(err, agentapi.ErrUnreachable)
	if absent {
		if err := needRoot("looking into disks"); err != nil {
			return err
		}
		binary, err := os.Executable()
		if err != nil {
			return err
		}
		res, err = agent.Preview(ctx, agent.Options{Dir: defaultDir, Binary: binary, Systemd: true, Logger: hclog.NewNullLogger()}, spec)
		if err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	if p.json {
		return p.print(res)
	}
	out := p.env.Stdout
	if absent {
		fmt.Fprintln(out, "install the host agent")
	}
	for _, o := range res.Operations {
		fmt.Fprintln(out, o)
	}
	for _, c := range res.Changes {
		if absent {
			break // all of the spec is new
		}
		fmt.Fprintf(out, "change %s from %q to %q%s\n", c.Attribute, c.From, c.To, map[bool]string{true: " (needs a restart of the engine)"}[c.Restart])
	}
	for _, pr := range res.Problems {
		fmt.Fprintf(out, "problem: %s: %s\n  %s\n", pr.What, pr.Why, pr.Next)
	}
	if !absent && len(res.Operations)+len(res.Changes)+len(res.Problems) == 0 {
		fmt.Fprintln(out, "Nothing to do: the machine is what the spec says.")
	}
	return nil
}

func (p *provisioning) run(ctx context.Context, spec *agentapi.Spec) error {
	ctx, cancel := context.WithTimeout(ctx, p.wait)
	defer cancel()
	say := func(text string) { fmt.Fprintln(p.progress(), text) }
	i, err := newInstallation(ctx, spec.Node)
	if err != nil {
		return err
	}
	// What the agent would refuse, it refuses before it is installed, too.
	client := agentapi.NewClient(units.DefaultSocket)
	if _, err := client.Status(ctx); errors.Is(err, agentapi.ErrUnreachable) {
		if _, err := agent.Preview(ctx, agent.Options{Dir: defaultDir, Binary: i.host.Binary, Systemd: true, Logger: hclog.NewNullLogger()}, spec); err != nil {
			return err
		}
	}
	if err := i.do(ctx, say); err != nil {
		return err
	}
	res, err := client.PutSpec(ctx, spec, nil)
	if err != nil {
		return err
	}
	for _, o := range res.Operations {
		say(o.String())
	}
	st, err := p.follow(ctx, client, say)
	if err != nil {
		return err
	}
	if p.json {
		return p.print(st)
	}
	if len(res.Changes) == 0 {
		say("The spec is the one that was in force.")
	}
	p.reached(st)
	return nil
}

// settleBound is how long the engine may run with problems before they count: one that has
// just started arms its sides.
const settleBound = 30 * time.Second

// follow tells what the agent does until the engine runs with the spec.
func (p *provisioning) follow(ctx context.Context, client *agentapi.Client, say func(string)) (agentapi.Status, error) {
	tick := time.NewTicker(300 * time.Millisecond)
	defer tick.Stop()
	f := following{say: say, problems: map[string]bool{}}
	for {
		st, err := client.Status(ctx)
		switch {
		case err == nil:
			if done, err := f.see(st, time.Now()); done {
				return st, err
			}
		case ctx.Err() == nil && !errors.Is(err, agentapi.ErrUnreachable): // it may be starting again
			return st, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return st, unfinished(f.last, fmt.Sprintf("the machine is not what the spec says after %v", p.wait))
		}
	}
}

// following is what was seen of a convergence, and told.
type following struct {
	say      func(string)
	since    time.Time // of the convergence
	told     int       // operations of it that were done
	doing    string    // the one that was under way
	problems map[string]bool
	running  time.Time // since when the engine runs and the agent is at rest
	last     agentapi.Status
}

// see tells what is new, and whether it is over.
func (f *following) see(st agentapi.Status, now time.Time) (done bool, err error) {
	f.last = st
	if c := st.Converging; c != nil {
		if !c.Since.Equal(f.since) {
			f.since, f.told = c.Since, 0
		}
		for ; f.told < len(c.Done); f.told++ {
			f.say(c.Done[f.told].String())
		}
		if doing := c.Doing.String(); c.Doing.Text != "" && doing != f.doing {
			f.doing = doing
			f.say("… " + doing)
		}
		f.running = time.Time{}
		return false, nil
	}
	for _, pr := range st.Problems {
		if text := "problem: " + pr.What + ": " + pr.Why; !f.problems[text] {
			f.problems[text] = true
			f.say(text)
		}
	}
	switch st.Engine.State {
	case agentapi.EngineStopped:
		return true, &agentapi.Error{What: "the engine does not run", Why: "somebody stopped it, and that is remembered",
			Next: "Start it: curl --unix-socket " + units.DefaultSocket + " -X POST http://agent/v1/engine/start"}
	case agentapi.EngineRunning:
		if f.running.IsZero() {
			f.running = now
		}
		if len(st.Problems) == 0 {
			return true, nil
		}
		if now.Sub(f.running) > settleBound {
			return true, unfinished(st, "the engine runs, but the machine is not what the spec says")
		}
	default:
		f.running = time.Time{}
	}
	return false, nil
}

// unfinished says what is missing.
func unfinished(st agentapi.Status, what string) error {
	e := &agentapi.Error{What: what, Why: "the engine is " + st.Engine.State, Next: "The agent goes on; run this again to follow it."}
	if st.Engine.LastExit != "" && st.Engine.State != agentapi.EngineRunning {
		e.Why += "; " + st.Engine.LastExit
	}
	for _, pr := range st.Problems {
		e.Why += fmt.Sprintf("; %s: %s", pr.What, pr.Why)
		e.Next = pr.Next
	}
	return e
}

// reached says how to go on.
func (p *provisioning) reached(st agentapi.Status) {
	out := p.env.Stdout
	for _, c := range st.Engine.RestartRequired {
		fmt.Fprintf(out, "needs a restart of the engine: %s %q → %q\n", c.Attribute, c.From, c.To)
	}
	fmt.Fprintf(out, "\nThe engine of node %s runs, process %d of %s. Its HTTP API is at %s.\n", st.Node, st.Engine.PID, units.EngineUnit, st.Engine.HTTPAddress)
	if st.Engine.HTTPAddress != defaultHTTPAddr {
		fmt.Fprintf(out, "  $ export HOLDFAST_HTTP_ADDR=%s\n", st.Engine.HTTPAddress)
	}
	fmt.Fprintf(out, "  $ holdfast kv put greeting hello\n  $ holdfast status\n")
}
