// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/rotation"
)

const tlsHelp = `Looks at and replaces the certificates of a cluster whose nodes have agents. By hand,
without agents, it is holdfast cert.

` + agentsHelp

var tlsRotateCommand = command{
	synopsis: "Replace the certificates of a cluster, or its CA",
	usage:    "[-ca] [options]",
	help: `Makes key and certificate of every node anew, one node after the other, or with -ca the CA
and then those. Nothing pauses: engines take them over while they run. A CA is first trusted
by every node, then every certificate is made anew by it, then the old one is forgotten; no
step is taken before every engine uses what the step before brought. Interrupted, the same
command goes on. Every server of the cluster has to be named.

Clients have certificates of their own, made on any server: sudo holdfast cert create-client
root --certs-dir=/var/lib/holdfast/pki. They end with the CA that made them. So that no client
is refused: rotate -ca -hold, bring ca.crt to clients and make their certificates anew with
--overwrite, then rotate -ca. A rotate without -hold, or an apply, ends what was held.

` + agentsHelp + `

  $ sudo holdfast tls rotate
  $ holdfast tls rotate -ssh admin@10.0.0.1,admin@10.0.0.2,admin@10.0.0.3 -dry-run
  $ holdfast tls rotate -ca -ssh a=db1 -ssh b=db2 -ssh c=db3
  $ holdfast tls rotate -connect 'docker exec -i db1 holdfast agent connect /run/holdfast/agent.sock'`,
	make: func(env *Env, flags *flag.FlagSet) func(context.Context, []string) error {
		var f agentFlags
		f.define(flags)
		ca := flags.Bool("ca", false, "replace the CA, too")
		hold := flags.Bool("hold", false, "with -ca: stop once every node trusts the new CA")
		dry := flags.Bool("dry-run", false, "print the steps and take none")
		asJSON := flags.Bool("json", false, "print JSON, at the end")
		return func(ctx context.Context, args []string) error {
			if err := noArgs(args); err != nil {
				return err
			}
			if *hold && !*ca {
				return usage("-hold is for -ca")
			}
			list, err := f.list()
			if err != nil {
				return err
			}
			c, err := meet(ctx, list)
			if err != nil {
				return err
			}
			if err := c.whole(); err != nil {
				return err
			}
			r := rotateRun{env: env, nodes: c, ca: *ca, hold: *hold, json: *asJSON}
			return r.run(ctx, *dry)
		}
	},
}

// whole refuses what is not all of a cluster with certificates.
func (c *clusterNodes) whole() error {
	switch {
	case len(c.missing) > 0:
		return refuseNodes("servers are not named: "+strings.Join(c.missing, ", "), "Name every server: one that is left out could be cut off.")
	case len(c.plain) > 0:
		return refuseNodes("the spec has no tls: "+strings.Join(c.plain, ", "), "Send specs with tls first.")
	}
	return nil
}

type rotateRun struct {
	env      *Env
	nodes    *clusterNodes
	ca, hold bool
	json     bool
}

// rotateResult is what -json prints.
type rotateResult struct {
	Cluster agentapi.Cluster `json:"cluster"`
	DryRun  bool             `json:"dry_run"`
	Steps   []rotation.Step  `json:"steps"` // that were taken, or would be
	Error   string           `json:"error,omitempty"`
}

func (r *rotateRun) run(ctx context.Context, dry bool) error {
	said, silent, err := rotation.Ask(ctx, r.nodes.agents)
	if err != nil {
		return err
	}
	want := r.want(said, silent)
	res := rotateResult{Cluster: r.nodes.cluster, DryRun: dry, Steps: []rotation.Step{}}
	took := func(s rotation.Step) {
		res.Steps = append(res.Steps, s)
		if !r.json {
			fmt.Fprintln(r.env.Stdout, s)
		}
	}
	if dry {
		var steps []rotation.Step
		steps, err = rotation.Plan(said, want)
		for _, s := range steps {
			took(s)
		}
	} else {
		err = rotation.Run(ctx, r.nodes.agents, want, func(_ string, args ...any) {
			if s, ok := args[0].(rotation.Step); ok {
				took(s)
			}
		})
	}
	if err != nil {
		res.Error = err.Error()
	}
	if r.json {
		if perr := printJSON(r.env.Stdout, res); perr != nil {
			return perr
		}
	} else if len(res.Steps) == 0 && err == nil {
		fmt.Fprintln(r.env.Stdout, "nothing to do")
	}
	if err != nil {
		return &agentapi.Error{What: "the rotation is not at its end", Why: err.Error(), Next: "Nobody is cut off. Mend the cause, and give the same command again: it goes on."}
	}
	if !dry && r.ca {
		fmt.Fprintln(r.env.Stderr, r.clients())
	}
	return nil
}

// clients says what is left to do for clients.
func (r *rotateRun) clients() string {
	next := "Clients need the new ca.crt and new certificates: sudo holdfast cert create-client NAME --overwrite --certs-dir=/var/lib/holdfast/pki, on any server."
	if r.hold {
		next += " Then rotate -ca without -hold."
	}
	return next
}

// want is what the flags come to. A rotation of the CA that is under way is gone on with,
// and no other one is begun.
func (r *rotateRun) want(said map[string]agentapi.PKI, silent []string) rotation.Want {
	want := rotation.Want{Cluster: r.nodes.cluster, Silent: silent, Hold: r.hold}
	if !r.ca {
		for _, p := range said {
			if p.Certificate != nil {
				want.Replace = append(want.Replace, p.Certificate.Fingerprint)
			}
		}
		return want
	}
	rest := want
	rest.Hold = false
	steps, err := rotation.Plan(said, rest)
	steps = slices.DeleteFunc(steps, func(s rotation.Step) bool { return s.Do == rotation.Await })
	switch {
	case err != nil, len(steps) > 0 && steps[0].Do == rotation.Make: // the first
		return want
	case len(steps) > 0:
		fmt.Fprintln(r.env.Stderr, "A rotation of the CA is under way: this goes on with it.")
		return want
	}
	for _, p := range said {
		want.CARotation = rotation.Continue(p.CARotation, time.Now().UTC().Format("20060102T150405.000000Z"))
	}
	return want
}
