// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package rotation

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
)

// Want is what the nodes shall come to.
type Want struct {
	Cluster agentapi.Cluster
	// CARotation is the word that the newest CA shall have been asked for with; with
	// another one the CA is replaced. Empty: the CA that there is. A word that was
	// continued, see Continue, is that word.
	CARotation string
	// Replace are fingerprints of nodes' certificates that shall be issued anew.
	Replace []string
	// Hold leaves certificates and older CAs as they are: a new CA is made and trusted,
	// and clients can be given it before a server's certificate is of it. Without Hold,
	// the next run goes on.
	Hold bool
	// Silent are nodes that did not answer. Run fills it in.
	Silent []string
}

// Do is what a step does.
type Do string

// What steps do.
const (
	Make   Do = "make"   // a CA on one node
	Import Do = "import" // the CA and its key, from another node
	Await  Do = "await"  // that the engine uses what the node holds
	Issue  Do = "issue"  // the node's certificate
	Forget Do = "forget" // older CAs
)

// Step is one thing to be done on one node.
type Step struct {
	Do       Do     `json:"do"`
	Node     string `json:"node"`
	From     string `json:"from,omitempty"` // of Import: who hands it over
	CA       string `json:"ca,omitempty"`   // fingerprint, Unmade where an earlier step makes it
	Rotation string `json:"rotation,omitempty"`
}

// Unmade stands for the fingerprint of a CA that is still to be made.
const Unmade = "new"

// String reads as "b: take the CA 3f2a9c81 and its key from a".
func (s Step) String() string {
	ca := "the CA " + short(s.CA)
	if s.CA == Unmade {
		ca = "the new CA"
	}
	switch s.Do {
	case Make:
		return fmt.Sprintf("%s: make a CA", s.Node)
	case Import:
		return fmt.Sprintf("%s: take %s and its key from %s", s.Node, ca, s.From)
	case Await:
		return fmt.Sprintf("%s: wait until the engine uses its certificates", s.Node)
	case Issue:
		return fmt.Sprintf("%s: make key and certificate anew, by %s", s.Node, ca)
	default:
		return fmt.Sprintf("%s: trust %s alone", s.Node, ca)
	}
}

func short(fingerprint string) string { return fingerprint[:min(len(fingerprint), 8)] }

// Errors that stop a plan.
var (
	// ErrSilent: a node that did not answer could be cut off by the next step.
	ErrSilent = errors.New("a node does not answer")
	// ErrForeign: a node is of another cluster or is another node.
	ErrForeign = errors.New("a node is not the one that was meant")
	// ErrNoKey: no node can sign with the newest CA.
	ErrNoKey = errors.New("no node has the CA's key")
	// ErrContradiction: the nodes do not agree on which CA is the newer one.
	ErrContradiction = errors.New("the nodes contradict each other")
)

// mark begins what Continue adds to a word.
const mark = "+"

// Continue is the word for a CA that replaces one of the word have, where nobody wants
// another word: whoever wants have has it in the new CA, too.
func Continue(have, again string) string {
	base, _, _ := strings.Cut(have, mark)
	return base + mark + again
}

// satisfies reports whether a CA that was asked for with the word have is what want means.
func satisfies(have, want string) bool {
	return want == "" || have == want || strings.HasPrefix(have, want+mark)
}

// Plan is what is to be done so that nodes, which are what each node says, come to
// want. Steps that are returned beside an error may be taken; it stops what follows them.
func Plan(nodes map[string]agentapi.PKI, want Want) (steps []Step, err error) {
	said := maps.Clone(nodes)
	for {
		s, err := next(said, want)
		if s == nil || err != nil {
			return steps, err
		}
		steps = append(steps, *s)
		said[s.Node] = after(said, want, *s)
	}
}

// next is the first step.
func next(nodes map[string]agentapi.PKI, want Want) (*Step, error) {
	names := slices.Sorted(maps.Keys(nodes))
	if err := foreign(names, nodes, want.Cluster); err != nil || len(names) == 0 {
		return nil, err
	}
	newest, err := newestCA(names, nodes)
	if err != nil {
		return nil, err
	}
	if newest == "" {
		return alone(want, &Step{Do: Make, Node: names[0], Rotation: want.CARotation})
	}
	isNewest := func(p agentapi.PKI) bool { return len(p.CAs) > 0 && p.CAs[0].Fingerprint == newest }
	at := slices.IndexFunc(names, func(n string) bool { return isNewest(nodes[n]) && nodes[n].CAKey })
	if at < 0 {
		return nil, fmt.Errorf("%w: it is that of %s", ErrNoKey, short(newest))
	}
	source := names[at]
	for _, n := range names {
		if !isNewest(nodes[n]) || !nodes[n].CAKey {
			return &Step{Do: Import, Node: n, From: source, CA: newest}, nil
		}
	}
	// From here on each step relies on all nodes.
	s := rely(names, nodes, want, newest, source)
	if s == nil || want.Hold && s.Do != Make {
		return nil, nil
	}
	for _, n := range names {
		if nodes[n].Behind != "" {
			return &Step{Do: Await, Node: n}, nil
		}
	}
	return alone(want, s)
}

// rely is the next step once every node trusts the newest CA.
func rely(names []string, nodes map[string]agentapi.PKI, want Want, newest, source string) *Step {
	for _, n := range names {
		if c := nodes[n].Certificate; c != nil && (c.Issuer != newest || slices.Contains(want.Replace, c.Fingerprint)) {
			return &Step{Do: Issue, Node: n, CA: newest}
		}
	}
	for _, n := range names {
		if len(nodes[n].CAs) > 1 {
			return &Step{Do: Forget, Node: n, CA: newest}
		}
	}
	if !satisfies(nodes[source].CARotation, want.CARotation) {
		return &Step{Do: Make, Node: source, Rotation: want.CARotation}
	}
	return nil
}

// alone lets a step through where every node answers.
func alone(want Want, s *Step) (*Step, error) {
	if len(want.Silent) == 0 {
		return s, nil
	}
	return nil, fmt.Errorf("%w: %s. Without it nothing is done that could cut it off; next would be: %v", ErrSilent, strings.Join(want.Silent, ", "), *s)
}

func foreign(names []string, nodes map[string]agentapi.PKI, c agentapi.Cluster) error {
	for _, n := range names {
		p := nodes[n]
		switch {
		case p.Cluster.ID != "" && p.Cluster.ID != c.ID:
			return fmt.Errorf("%w: %s has certificates of cluster %s %s, and %s %s was meant", ErrForeign, n, p.Cluster.Name, p.Cluster.ID, c.Name, c.ID)
		case p.Node != "" && p.Node != n:
			return fmt.Errorf("%w: the certificates are those of node %s, and %s was meant", ErrForeign, p.Node, n)
		}
	}
	return nil
}

// newestCA is the CA that no node has behind another one. Where two nodes made one at
// the same time, it is the one that more nodes trust, and then the younger one. Empty
// where there is no CA.
func newestCA(names []string, nodes map[string]agentapi.PKI) (string, error) {
	known, older, trusts := map[string]agentapi.Certificate{}, map[string]bool{}, map[string]int{}
	for _, n := range names {
		for i, c := range nodes[n].CAs {
			known[c.Fingerprint] = c
			trusts[c.Fingerprint]++
			older[c.Fingerprint] = older[c.Fingerprint] || i > 0
		}
	}
	if len(known) == 0 {
		return "", nil
	}
	var newest []agentapi.Certificate
	for f, c := range known {
		if !older[f] {
			newest = append(newest, c)
		}
	}
	if len(newest) == 0 {
		return "", fmt.Errorf("%w: each CA is older than another one somewhere", ErrContradiction)
	}
	return slices.MinFunc(newest, func(a, b agentapi.Certificate) int {
		return cmp.Or(trusts[b.Fingerprint]-trusts[a.Fingerprint], b.NotBefore.Compare(a.NotBefore), cmp.Compare(a.Fingerprint, b.Fingerprint))
	}).Fingerprint, nil
}

// after is what a node says once a step was taken.
func after(nodes map[string]agentapi.PKI, want Want, s Step) agentapi.PKI {
	p := nodes[s.Node]
	switch s.Do {
	case Make:
		p.CAs = append([]agentapi.Certificate{{Fingerprint: Unmade}}, p.CAs...)
		p.CAKey, p.CARotation, p.Cluster, p.Node = true, s.Rotation, want.Cluster, s.Node
	case Import:
		from := nodes[s.From]
		cas := slices.Clone(from.CAs)
		for _, c := range p.CAs {
			if !slices.ContainsFunc(cas, func(o agentapi.Certificate) bool { return o.Fingerprint == c.Fingerprint }) {
				cas = append(cas, c)
			}
		}
		if len(p.CAs) > 0 && p.CAs[0].Fingerprint == s.CA {
			cas = p.CAs // it lacked the key alone
		}
		p.CAs, p.CAKey, p.CARotation, p.Cluster, p.Node = cas, true, from.CARotation, want.Cluster, s.Node
	case Await:
		p.Behind = ""
	case Issue:
		p.Certificate = &agentapi.Certificate{Issuer: s.CA}
	case Forget:
		p.CAs = p.CAs[:1]
	}
	return p
}
