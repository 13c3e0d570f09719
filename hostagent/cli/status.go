// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"cmp"
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/api"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
)

// nodeBound is how long one node may take to answer for the status.
const nodeBound = 2 * time.Second

var statusCommand = command{
	synopsis: "Show nodes, stores, leaders and indexes of a cluster",
	usage:    "[options]",
	help: `Asks every node that is named, and those that their raft configurations name beside
them, which are expected on the same HTTP port. One that does not answer is shown as such. The
command fails only where none answers.

Below the table stands what the disks of this machine's node were measured to take, where
its agent answers, which takes root, and the node has a side disk.

  $ holdfast status
  $ holdfast status -http-addr 127.0.0.2:8500 -json
  $ HOLDFAST_HTTP_ADDR=127.0.0.1:8500,127.0.0.2:8500 holdfast status`,
	make: func(env *Env, flags *flag.FlagSet) func(context.Context, []string) error {
		var t target
		t.define(env, flags)
		asJSON := flags.Bool("json", false, "print JSON")
		socket := flags.String("agent-socket", defaultSocket, "`path` of the socket of this machine's agent")
		return func(ctx context.Context, args []string) error {
			if err := noArgs(args); err != nil {
				return err
			}
			secure, err := t.certs.config()
			if err != nil {
				return err
			}
			nodes := lookAround(ctx, t.list(), secure)
			up := slices.ContainsFunc(nodes, func(n nodeStatus) bool { return n.Error == "" })
			if !up {
				return fmt.Errorf("%w: %s", api.ErrNotReached, firstError(nodes))
			}
			rates, err := askRates(ctx, *socket, nodes)
			if err != nil && *socket != defaultSocket { // without one there, there is nothing to say
				fmt.Fprintf(env.Stderr, "the agent at %s does not answer: %v\n", *socket, err)
			}
			if *asJSON {
				return printJSON(env.Stdout, clusterStatus{Leaders: leaders(nodes), Nodes: nodes, Rates: rates})
			}
			if err := printStatus(env.Stdout, nodes); err != nil {
				return err
			}
			return rates.print(env.Stdout)
		}
	},
}

// clusterStatus is what -json prints.
type clusterStatus struct {
	// Leaders maps each partition to its leader's node name, empty where none
	// of the nodes knows one.
	Leaders map[string]string `json:"leaders"`
	Nodes   []nodeStatus      `json:"nodes"`
	// Rates are those of this machine's node, where its agent tells them.
	Rates *nodeRates `json:"rates,omitempty"`
}

// nodeRates is what the disks of one node take.
type nodeRates struct {
	Node string `json:"node"`
	agentapi.Rates
}

type nodeStatus struct {
	Name    string `json:"name"`
	Address string `json:"address"` // of the HTTP API
	// Error says why the node is not known better.
	Error string `json:"error,omitempty"`
	*api.NodeStores

	cluster string                // its id, or that of whoever named the node
	err     error                 // what Error is the text of
	conf    api.RaftConfiguration // of the default partition as the node knows it
}

func (n *nodeStatus) fail(err error) { n.err, n.Error = err, err.Error() }

func firstError(nodes []nodeStatus) string {
	var errs []string
	for _, n := range nodes {
		errs = append(errs, n.Error)
	}
	return strings.Join(errs, "; ")
}

// lookAround asks the given nodes, and then the others that their raft
// configurations name.
func lookAround(ctx context.Context, addresses []string, secure *tls.Config) []nodeStatus {
	var given []nodeStatus
	for _, a := range addresses {
		given = append(given, nodeStatus{Address: a})
	}
	nodes, peers := askAll(ctx, given, secure)
	var more []nodeStatus
	for _, p := range peers {
		known := func(n nodeStatus) bool {
			return n.Name == p.Name && n.cluster == p.cluster || sameAddress(n.Address, p.Address)
		}
		if i := slices.IndexFunc(nodes, known); i >= 0 {
			nodes[i].Name, nodes[i].cluster = cmp.Or(nodes[i].Name, p.Name), cmp.Or(nodes[i].cluster, p.cluster)
		} else if !slices.ContainsFunc(more, known) {
			more = append(more, p)
		}
	}
	others, _ := askAll(ctx, more, secure)
	nodes = append(nodes, others...)
	slices.SortFunc(nodes, func(a, b nodeStatus) int { // of one node, what answered first
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.cluster, b.cluster), cmp.Compare(a.Error, b.Error), cmp.Compare(a.Address, b.Address))
	})
	return slices.CompactFunc(nodes, func(a, b nodeStatus) bool { return a.Name != "" && a.Name == b.Name && a.cluster == b.cluster })
}

// askAll asks the nodes at once and returns what they say, and the servers
// that they know with the address that their HTTP API is expected at.
func askAll(ctx context.Context, nodes []nodeStatus, secure *tls.Config) (answers, peers []nodeStatus) {
	answers = slices.Clone(nodes)
	found := make([][]nodeStatus, len(nodes))
	var wg sync.WaitGroup
	for i := range answers {
		wg.Go(func() { found[i] = ask(ctx, &answers[i], secure) })
	}
	wg.Wait()
	return answers, slices.Concat(found...)
}

func ask(ctx context.Context, n *nodeStatus, secure *tls.Config) (peers []nodeStatus) {
	ctx, cancel := context.WithTimeout(ctx, nodeBound)
	defer cancel()
	c, err := api.New(api.Config{Addresses: []string{n.Address}, TLS: secure})
	if err != nil {
		n.fail(err)
		return nil
	}
	defer c.Close()
	stores, err := c.Stores(ctx)
	if err != nil {
		n.fail(err)
		return nil
	}
	n.Name, n.cluster, n.NodeStores = stores.Node, stores.ClusterID, &stores
	conf, err := c.RaftConfiguration(ctx, "")
	if err != nil {
		return nil // the node itself is known
	}
	n.conf = conf
	for _, s := range conf.Servers {
		if host, _, err := net.SplitHostPort(s.Address); err == nil {
			peers = append(peers, nodeStatus{Name: s.Node, Address: withHost(n.Address, host), cluster: n.cluster})
		}
	}
	return peers
}

// withHost is the address with another host, its scheme and port kept.
func withHost(address, host string) string {
	scheme, hostPort := "", address
	if u, err := url.Parse(address); err == nil && u.Host != "" {
		scheme, hostPort = u.Scheme+"://", u.Host
	}
	_, port, err := net.SplitHostPort(hostPort)
	if err != nil {
		return scheme + host
	}
	return scheme + net.JoinHostPort(host, port)
}

func sameAddress(a, b string) bool {
	cut := func(s string) string { return strings.TrimPrefix(strings.TrimSuffix(s, "/"), "http://") }
	return cut(a) == cut(b)
}

// leaders are the leaders of the partitions by the latest term that any node knows.
func leaders(nodes []nodeStatus) map[string]string {
	terms, out := map[string]uint64{}, map[string]string{}
	for _, p := range partitions(nodes) {
		if _, ok := out[p.Name]; !ok || p.Term > terms[p.Name] || p.Term == terms[p.Name] && out[p.Name] == "" {
			terms[p.Name], out[p.Name] = p.Term, p.Leader
		}
	}
	return out
}

func partitions(nodes []nodeStatus) (all []api.Partition) {
	for _, n := range nodes {
		if n.NodeStores == nil {
			continue
		}
		for _, s := range n.Stores {
			all = append(all, s.Partitions...)
		}
	}
	return all
}

func printStatus(out io.Writer, nodes []nodeStatus) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NODE\tHTTP\tSTORE\tDEVICE\tBACKEND\tFAILOVER\tPARTITION\tSTATE\tLEADER\tTERM\tINDEX\tKEYS")
	for _, n := range nodes {
		if n.NodeStores == nil {
			fmt.Fprintf(w, "%s\t%s\t-\t-\t-\t-\t-\tunreachable\t-\t-\t-\t-\n", orDash(n.Name), n.Address)
			continue
		}
		for _, s := range n.Stores {
			backend := s.EffectiveBackend
			if s.ConfiguredBackend != s.EffectiveBackend {
				backend += " (configured " + s.ConfiguredBackend + ")"
			}
			for _, p := range s.Partitions {
				state := strings.ToLower(p.State)
				if p.Error != "" {
					state += " (" + p.Error + ")"
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%d\t%d\n", n.Name, n.Address, s.Path, orDash(s.Device),
					orDash(backend), orDash(failoverCell(s.Failover)), p.Name, state, orDash(p.Leader), p.Term, p.Index, p.Keys)
			}
		}
	}
	return w.Flush()
}

// askRates asks an agent for the rates of its disks. They are nil where its node is
// none of these, or its disks were not measured.
func askRates(ctx context.Context, socket string, nodes []nodeStatus) (*nodeRates, error) {
	ctx, cancel := context.WithTimeout(ctx, nodeBound)
	defer cancel()
	st, err := agentapi.NewClient(socket).Status(ctx)
	if err != nil || st.Rates == nil || st.Spec == nil {
		return nil, err
	}
	if !slices.ContainsFunc(nodes, func(n nodeStatus) bool { return n.Name == st.Node && n.cluster == st.Spec.Cluster.ID }) {
		return nil, nil
	}
	return &nodeRates{Node: st.Node, Rates: *st.Rates}, nil
}

// print writes a line.
func (r *nodeRates) print(out io.Writer) error {
	if r == nil {
		return nil
	}
	slow := ""
	if !r.Enough {
		slow = "too slow: "
	}
	_, err := fmt.Fprintf(out, "\nthe disks of %s: %s%s (measured %s)\n", r.Node, slow, r.Verdict, r.At.UTC().Format(time.RFC3339))
	return err
}

// failoverCell is a log's mode and where it writes, or what keeps it from failing
// over where something does.
func failoverCell(f api.Failover) string {
	if f.Mode == "" || f.Mode == agentapi.DisabledMode {
		return f.Mode
	}
	i := slices.IndexFunc(f.Sides, func(s api.Side) bool { return s.Armed })
	switch {
	case f.Active == agentapi.Secondary && i >= 0:
		return f.Mode + ": writes to " + f.Sides[i].Path
	case f.Active == agentapi.Secondary:
		return f.Mode + ": writes to its side"
	case f.Off != "":
		return f.Mode + ": off (" + f.Off + ")"
	case i < 0:
		return f.Mode + ": not armed"
	case !f.Sides[i].Healthy:
		return f.Mode + ": the side does not answer"
	}
	return f.Mode + ": on primary"
}
