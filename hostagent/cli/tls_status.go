// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
)

var tlsStatusCommand = command{
	synopsis: "Show which certificates the nodes of a cluster have",
	usage:    "[options]",
	help: `Shows for every node which CAs it trusts, the newest first, whether it has the newest
one's key, which CA its certificate is of, and how long that is valid. Certificates are
called by the first digits of their fingerprints. It fails only where no agent answers.

` + agentsHelp + `

  $ sudo holdfast tls status
  $ holdfast tls status -ssh db1,db2,db3 -json`,
	make: func(env *Env, flags *flag.FlagSet) func(context.Context, []string) error {
		var f agentFlags
		f.define(flags)
		asJSON := flags.Bool("json", false, "print JSON")
		return func(ctx context.Context, args []string) error {
			if err := noArgs(args); err != nil {
				return err
			}
			list, err := f.list()
			if err != nil {
				return err
			}
			c, err := meet(ctx, list)
			if err != nil {
				return err
			}
			nodes, err := c.tlsStatus(ctx)
			if err != nil {
				return err
			}
			if *asJSON {
				return printJSON(env.Stdout, tlsClusterStatus{c.cluster, nodes})
			}
			return printTLS(env.Stdout, nodes)
		}
	},
}

// tlsClusterStatus is what -json prints.
type tlsClusterStatus struct {
	Cluster agentapi.Cluster `json:"cluster"`
	Nodes   []nodeTLS        `json:"nodes"`
}

type nodeTLS struct {
	Name  string        `json:"name"`
	PKI   *agentapi.PKI `json:"pki,omitempty"`
	Error string        `json:"error,omitempty"` // why it is not known
}

func (c *clusterNodes) tlsStatus(ctx context.Context) ([]nodeTLS, error) {
	ctx, cancel := context.WithTimeout(ctx, callBound)
	defer cancel()
	var nodes []nodeTLS
	var errs error
	answered := false
	for _, name := range slices.Sorted(maps.Keys(c.agents)) {
		n := nodeTLS{Name: name}
		p, err := c.agents[name].PKI(ctx)
		if err != nil {
			n.Error, errs = err.Error(), errors.Join(errs, err)
		} else {
			n.PKI, answered = &p, true
		}
		nodes = append(nodes, n)
	}
	if !answered {
		return nil, errs
	}
	for _, name := range c.missing {
		nodes = append(nodes, nodeTLS{Name: name, Error: "it was not named"})
	}
	return nodes, nil
}

func printTLS(out io.Writer, nodes []nodeTLS) error {
	short := func(fingerprint string) string { return fingerprint[:min(len(fingerprint), 8)] }
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NODE\tCAS\tCA KEY\tCA EXPIRES\tCERTIFICATE\tBY\tEXPIRES\tPROBLEM")
	for _, n := range nodes {
		if n.PKI == nil {
			fmt.Fprintf(w, "%s\t-\t-\t-\t-\t-\t-\t%s\n", n.Name, n.Error)
			continue
		}
		var cas []string
		caEnd, key := "", "no"
		for _, c := range n.PKI.CAs {
			cas = append(cas, short(c.Fingerprint))
		}
		if len(cas) > 0 {
			caEnd = date(n.PKI.CAs[0].NotAfter)
		}
		if n.PKI.CAKey {
			key = "yes"
		}
		own, by, end := "", "", ""
		if c := n.PKI.Certificate; c != nil {
			own, by, end = short(c.Fingerprint), short(c.Issuer), date(c.NotAfter)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", n.Name, orDash(strings.Join(cas, ", ")), key, orDash(caEnd), orDash(own), orDash(by), orDash(end), orDash(n.PKI.Behind))
	}
	return w.Flush()
}
