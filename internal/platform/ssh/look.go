// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package ssh

import (
	"context"
	_ "embed" // the script
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform/sshhost"
)

//go:embed script/look.sh
var lookScript string

// Bounds of a look, and of what it brings along.
const (
	lookBound = 30 * time.Second
	lookLimit = 2 * agentapi.MaxBody // a spec, in base64
)

// found is what a machine says of itself.
type found struct {
	address string // at which it was asked
	// machine and boot together are of one machine: clones may share the first,
	// containers of one host the second.
	machine, boot string
	record        *record // nil: there is none
	// spec is whose the agent's spec is, nil: it has none. It outlives a record that somebody
	// lost, and is older than none.
	spec *claim
	// servers are all nodes of the spec's cluster.
	servers []string
	// pki, binary and unit tell whether they are there.
	pki, binary, unit bool
	addresses         []netip.Addr // none where the machine cannot say
}

// claim is whose the machine is, by its record, or else by its agent's spec; nil: nobody's.
func (f found) claim() *claim {
	if f.record != nil {
		return &claim{f.record.Cluster, f.record.Node}
	}
	return f.spec
}

// claim is a node of a cluster.
type claim struct {
	Cluster agentapi.Cluster `json:"cluster"`
	Node    string           `json:"node"`
}

// look asks the machine whose it is, changing nothing.
func (n *node) look(ctx context.Context) (found, error) {
	result, err := n.host.Run(ctx, sshhost.Command{What: "looking at " + stateDir, Script: lookScript, Root: true, Idempotent: true,
		Env:     map[string]string{"DIR": stateDir, "BINARY": binaryPath, "UNIT": unitPath, "LC_ALL": "C"},
		Timeout: lookBound, OutputLimit: lookLimit})
	if err != nil {
		return found{}, err
	}
	return parseLook(n.cfg.Address, result.Stdout)
}

func parseLook(address string, out []byte) (found, error) {
	a := sshhost.Answer(out)
	if a["complete"] != "yes" {
		return found{}, fmt.Errorf("%w: looking at %s gave half of it", sshhost.ErrAnswer, stateDir)
	}
	f := found{address: address, machine: a["machine"], boot: a["boot"], pki: a["pki"] == "yes", binary: a["binary"] == "yes", unit: a["unit"] == "yes", addresses: parseAddresses(a["addresses"])}
	if text, ok := a["record"]; ok {
		b, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return found{}, fmt.Errorf("%w: node.json: %w", sshhost.ErrAnswer, err)
		}
		if f.record, err = decodeRecord(b); err != nil {
			return found{}, unreadable(address, err)
		}
	}
	if text, ok := a["spec"]; ok {
		b, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return found{}, fmt.Errorf("%w: spec.json: %w", sshhost.ErrAnswer, err)
		}
		var spec struct {
			Spec struct {
				claim
				Servers []agentapi.Server `json:"servers"`
			} `json:"spec"`
		}
		if err := json.Unmarshal(b, &spec); err != nil {
			return found{}, &platform.Error{What: "whose the agent of " + address + " is cannot be told", Err: fmt.Errorf("%s/spec.json: %w", stateDir, err),
				Next: "Restore the file from a copy, or, if the machine holds nothing that is needed, remove " + stateDir + " there."}
		}
		f.spec = &spec.Spec.claim
		for _, s := range spec.Spec.Servers {
			f.servers = append(f.servers, s.Name)
		}
	}
	return f, nil
}

// parseAddresses reads what ip -o addr says: after each "inet" or "inet6" there is one, with
// the length of its prefix.
func parseAddresses(text string) []netip.Addr {
	var all []netip.Addr
	words := strings.Fields(text)
	for i := range len(words) - 1 {
		if words[i] != "inet" && words[i] != "inet6" {
			continue
		}
		ip, _, _ := strings.Cut(words[i+1], "/")
		if a, err := netip.ParseAddr(ip); err == nil {
			all = append(all, a.Unmap())
		}
	}
	return all
}

// has tells whether the machine has an address; yes where it cannot say.
func (f found) has(address string) bool {
	ip, err := netip.ParseAddr(address)
	return err != nil || len(f.addresses) == 0 || ip.IsLoopback() || slices.Contains(f.addresses, ip)
}

// mayBe decides whether a machine may be the node of the cluster. ending are ids of clusters
// whose destruction goes before.
func (f found) mayBe(cluster agentapi.Cluster, node platform.Node, ending []string) error {
	const elsewhere = "Use another machine, or destroy that cluster first; nothing was changed."
	refuse := func(err error, has claim, next string) error {
		return &platform.Error{What: f.address + " is not used",
			Err: fmt.Errorf("%w: it is node %s of cluster %s (%s), asked for is node %s of %s (%s)",
				err, has.Node, has.Cluster.Name, has.Cluster.ID, node.Name, cluster.Name, cluster.ID), Next: next}
	}
	r := f.record
	if r != nil && r.Destroying && r.Cluster.ID == cluster.ID {
		return refuse(errDestroying, claim{r.Cluster, r.Node}, "Run terraform destroy again, which ends it, and apply then.")
	}
	has := f.claim()
	if has != nil && r != nil && slices.Contains(ending, r.Cluster.ID) {
		has = nil // it will be nobody's
	}
	switch {
	case has == nil && node.Known:
		return &platform.Error{What: f.address + " is not used",
			Err: fmt.Errorf("%w: node %s holds data, and whoever is a node with an empty log votes as if nothing had ever been written", errBlank, node.Name),
			Next: "Correct the address. Where the machine was set up anew, put back its " + stateDir + "; the replacement of a node comes with changes of membership, " +
				"which are not built yet. Nothing was changed."}
	case has == nil:
		return nil
	case has.Cluster != cluster:
		return refuse(errOther, *has, elsewhere)
	case has.Node != node.Name:
		return refuse(errOtherNode, *has, "Give every node the machine that it had; nothing was changed.")
	}
	return nil
}

// answer is what a node's machine said, or why it did not.
type answer struct {
	found
	err   error
	known bool // the node was made before, as the caller says
}

// answers are those of all machines, by node.
type answers map[string]answer

// servers are the nodes of the cluster by the specs of its agents: where one has a spec,
// all of them had a machine.
func (as answers) servers(cluster agentapi.Cluster) []string {
	var names []string
	for _, a := range as {
		if a.spec != nil && a.spec.Cluster == cluster {
			names = append(names, a.servers...)
		}
	}
	return names
}

// ending are the ids of clusters whose destruction was begun.
func (as answers) ending() []string {
	var ids []string
	for _, a := range as {
		if r := a.record; r != nil && r.Destroying && !slices.Contains(ids, r.Cluster.ID) {
			ids = append(ids, r.Cluster.ID)
		}
	}
	slices.Sort(ids)
	return ids
}

// silent are the failures.
func (as answers) silent() errs {
	var all errs
	for name, a := range as {
		all.add(name, a.err)
	}
	return all
}

// waitFor are the nodes whose machines may only be starting.
func (as answers) waitFor() []string {
	var names []string
	for name, a := range as {
		if errors.Is(a.err, sshhost.ErrUnreachable) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// errNobody says that no machine is anybody's, and that not all were asked.
var errNobody = errors.New("no machine that answers belongs to a cluster, and not all answer")

// whose decides which cluster the machines hold: the one that all records name. ok is false
// where there is none, or one whose destruction was begun. A machine that is nobody's is one that an
// interrupted apply did not come to. One that does not answer says nothing: the
// others are believed, but not where they say that there is no cluster, as it may be the
// only one that an apply came to (errNobody).
func (as answers) whose() (cluster agentapi.Cluster, ok bool, err error) {
	var first, dying *claim
	for _, name := range as.names() {
		has := as[name].claim()
		switch {
		case has == nil:
			continue
		case as[name].record != nil && as[name].record.Destroying:
			// What an interrupted destroy left on a machine says nothing of the others, where
			// these are of another cluster by now.
			dying = has
			continue
		case first != nil && has.Cluster != first.Cluster:
			return agentapi.Cluster{}, false, &platform.Error{What: "the machines hold no one cluster",
				Err: fmt.Errorf("%w: the one of node %s to %s (%s), the one of node %s to %s (%s)", errDisagree,
					first.Node, first.Cluster.Name, first.Cluster.ID, name, has.Cluster.Name, has.Cluster.ID),
				Next: "Name the machines of one cluster, or destroy the one that is not wanted any more; nothing was changed."}
		case has.Node != name:
			return agentapi.Cluster{}, false, nodeError{name, as[name].mayBe(has.Cluster, platform.Node{Name: name}, nil)}
		}
		first = has
	}
	silent := as.silent()
	switch {
	case first != nil:
		return first.Cluster, !slices.Contains(as.ending(), first.Cluster.ID), nil
	case dying != nil:
		return dying.Cluster, false, nil
	case len(silent) == 0:
		return agentapi.Cluster{}, false, nil
	}
	return agentapi.Cluster{}, false, fmt.Errorf("%w: %w", errNobody, silent.join(len(as)))
}

func (as answers) names() []string {
	var names []string
	for name := range as {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
