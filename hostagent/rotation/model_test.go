// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package rotation

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
)

var cluster = agentapi.Cluster{Name: "orders", ID: "5f1d3c52-0000-4000-8000-000000000001"}

// model is a cluster of agents and engines as package agentapi says they are. After
// each call it is looked whether every two engines trust each other.
type model struct {
	nodes  map[string]*modelNode
	made   int // CAs and certificates, for their names
	calls  int
	broken []string // who did not trust whom, after which call

	// cut ends the caller at a call; lost: the call has its effect before.
	cut  int
	lost bool
	end  context.CancelFunc
}

// modelNode is one agent with its engine.
type modelNode struct {
	m      *model
	name   string
	pki    agentapi.PKI
	silent bool
	// The engine's: what it uses, until so many questions were asked.
	cas   []agentapi.Certificate
	cert  *agentapi.Certificate
	until int
}

// ca is the CA of a name: the higher its number, the younger.
func ca(name string) agentapi.Certificate {
	var n int64
	_, _ = fmt.Sscanf(name, "ca%d", &n)
	return agentapi.Certificate{Fingerprint: name, NotBefore: time.Unix(n, 0)}
}

// lag is how many questions an engine takes to use what is new: a few on the first node,
// many on the last.
func (n *modelNode) lag() int { return 1 + 6*int(n.name[0]-'a') }

func (n *modelNode) state() agentapi.PKI {
	p := n.pki
	p.Recipient = "age1" + n.name
	if n.until > 0 {
		p.Behind = "the engine has not taken it over"
	}
	return p
}

func (n *modelNode) changed() {
	if n.pki.Certificate != nil {
		n.until = n.lag()
	}
}

func (n *modelNode) use() { n.cas, n.cert, n.until = n.pki.CAs, n.pki.Certificate, 0 }

// call is one request: do has its effect.
func (n *modelNode) call(ctx context.Context, do func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m := n.m
	m.calls++
	if m.calls == m.cut {
		if m.lost {
			_ = do() // nobody hears of it
			m.look(n.name)
		}
		m.end()
		return ctx.Err()
	}
	if n.silent {
		return fmt.Errorf("%w: no route", agentapi.ErrUnreachable)
	}
	err := do()
	m.look(n.name)
	return err
}

// look checks the one thing that must never be.
func (m *model) look(at string) {
	for _, a := range m.nodes {
		for _, b := range m.nodes {
			if a.cert != nil && b.cert != nil && !slices.ContainsFunc(b.cas, func(c agentapi.Certificate) bool { return c.Fingerprint == a.cert.Issuer }) {
				m.broken = append(m.broken, fmt.Sprintf("%s does not trust %s, after call %d, at %s", b.name, a.name, m.calls, at))
			}
		}
	}
}

func (n *modelNode) PKI(ctx context.Context) (p agentapi.PKI, err error) {
	err = n.call(ctx, func() error {
		if n.until > 0 {
			if n.until--; n.until == 0 {
				n.use()
			}
		}
		p = n.state()
		return nil
	})
	return p, err
}

func (n *modelNode) MakeCA(ctx context.Context, want agentapi.NewCA) (p agentapi.PKI, err error) {
	err = n.call(ctx, func() error {
		switch {
		case len(n.pki.CAs) > 0 && n.pki.CARotation == want.Rotation:
			return nil
		case len(n.pki.CAs) > 0 && !n.pki.CAKey:
			return errors.New("it has no key")
		}
		n.m.made++
		n.pki.CAs = append([]agentapi.Certificate{ca(fmt.Sprintf("ca%d", n.m.made))}, n.pki.CAs...)
		n.pki.CAKey, n.pki.CARotation, n.pki.Cluster, n.pki.Node = true, want.Rotation, want.Cluster, want.Node
		n.changed()
		return nil
	})
	return n.state(), err
}

func (n *modelNode) ExportPKI(ctx context.Context, to ...string) (b agentapi.PKIBundle, err error) {
	err = n.call(ctx, func() error {
		if !n.pki.CAKey {
			return errors.New("it has no key")
		}
		var names []string
		for _, c := range n.pki.CAs {
			names = append(names, c.Fingerprint)
		}
		b = agentapi.PKIBundle{Cluster: n.pki.Cluster, Rotation: n.pki.CARotation, CAs: []byte(strings.Join(names, ",")),
			Sealed: map[string][]byte{agentapi.SealedCAKey: []byte(strings.Join(to, ","))}}
		return nil
	})
	return b, err
}

func (n *modelNode) ImportPKI(ctx context.Context, b agentapi.PKIBundle) (p agentapi.PKI, err error) {
	err = n.call(ctx, func() error {
		if string(b.Sealed[agentapi.SealedCAKey]) != "age1"+n.name || b.Node != n.name {
			return errors.New("it is for another node")
		}
		known := func(f string) bool {
			return slices.ContainsFunc(n.pki.CAs, func(c agentapi.Certificate) bool { return c.Fingerprint == f })
		}
		names := strings.Split(string(b.CAs), ",")
		if !known(names[0]) {
			var cas []agentapi.Certificate
			for _, f := range names {
				cas = append(cas, ca(f))
			}
			for _, c := range n.pki.CAs {
				if !slices.Contains(names, c.Fingerprint) {
					cas = append(cas, c)
				}
			}
			n.pki.CAs = cas
			n.changed()
		}
		n.pki.CAKey, n.pki.CARotation, n.pki.Cluster, n.pki.Node = true, b.Rotation, b.Cluster, b.Node
		return nil
	})
	return n.state(), err
}

func (n *modelNode) IssueCertificate(ctx context.Context) (p agentapi.PKI, err error) {
	err = n.call(ctx, func() error { return n.issue() })
	return n.state(), err
}

func (n *modelNode) issue() error {
	if !n.pki.CAKey {
		return errors.New("it has no key")
	}
	n.m.made++
	n.pki.Certificate = &agentapi.Certificate{Fingerprint: fmt.Sprintf("%s%d", n.name, n.m.made), Issuer: n.pki.CAs[0].Fingerprint}
	n.changed()
	return nil
}

func (n *modelNode) ForgetCAs(ctx context.Context) (p agentapi.PKI, err error) {
	err = n.call(ctx, func() error {
		if c := n.pki.Certificate; c != nil && c.Issuer != n.pki.CAs[0].Fingerprint {
			return errors.New("its certificate is of an older one")
		}
		n.pki.CAs = n.pki.CAs[:1]
		n.changed()
		return nil
	})
	return n.state(), err
}

func (m *model) agents() map[string]Agent {
	agents := map[string]Agent{}
	for name, n := range m.nodes {
		agents[name] = n
	}
	return agents
}

// specs is what the agents do when a spec is sent: a node without a certificate makes it.
func (m *model) specs() {
	for _, name := range slices.Sorted(maps.Keys(m.nodes)) {
		if n := m.nodes[name]; n.pki.Certificate == nil && n.pki.CAKey {
			_ = n.issue() // it has the key
			n.use()
		}
	}
	m.look("specs")
}

func (m *model) String() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(m.nodes)) {
		p := m.nodes[name].pki
		var cas []string
		for _, c := range p.CAs {
			cas = append(cas, c.Fingerprint)
		}
		fmt.Fprintf(&b, "%s: trusts %s", name, strings.Join(cas, ", "))
		if len(cas) == 0 {
			b.WriteString("none")
		}
		if p.CAKey {
			fmt.Fprintf(&b, ", has the key, rotation %q", p.CARotation)
		}
		if c := p.Certificate; c != nil {
			fmt.Fprintf(&b, ", certificate %s by %s", c.Fingerprint, c.Issuer)
		}
		b.WriteString("\n")
	}
	return b.String()
}
