// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package gce

import (
	"fmt"
	"slices"
	"strings"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
)

// firewall is a rule that lets TCP in.
type firewall struct {
	name, network string
	description   string
	tag, account  string // of the machines; one of them
	between       bool   // from the machines themselves, not from ranges
	ranges, ports []string
	disabled      bool
}

// rules are the firewall rules: between the nodes, and for SSH.
func (c Config) rules(id string, ports agentapi.Ports, network string) []firewall {
	rule := func(name, what string) firewall {
		f := firewall{name: tagOf(c.Cluster) + name, network: network, description: owner(id) + "\n" + what}
		if c.ByServiceAccount {
			f.account = c.ServiceAccount
		} else {
			f.tag = tagOf(c.Cluster)
		}
		return f
	}
	nodes := rule("-nodes", "The nodes of the cluster "+c.Cluster+" reach each other.")
	nodes.between = true
	for _, p := range []int{ports.Server, ports.HTTPS} {
		if p != 0 {
			nodes.ports = append(nodes.ports, fmt.Sprint(p))
		}
	}
	all := []firewall{nodes}
	if len(c.SSHRanges) > 0 {
		f := rule("-ssh", "The nodes of the cluster "+c.Cluster+" are reached by SSH.")
		f.ranges, f.ports = slices.Sorted(slices.Values(c.SSHRanges)), []string{"22"}
		all = append(all, f)
	}
	return all
}

// ruleNames are the names that the cluster's rules may have.
func (c Config) ruleNames() []string {
	return []string{tagOf(c.Cluster) + "-nodes", tagOf(c.Cluster) + "-ssh"}
}

// planFirewall decides for the rules. One that names the machines otherwise, which cannot be
// patched, is made anew.
func planFirewall(want, have []firewall) task {
	var t task
	var gone, made []action
	for _, w := range want {
		n := slices.IndexFunc(have, func(h firewall) bool { return h.name == w.name })
		if n < 0 {
			made = append(made, action{do: createFirewall, name: w.name, firewall: w})
			continue
		}
		switch h := have[n]; {
		case h.same(w):
		case h.network != w.network || h.tag != w.tag || h.account != w.account || h.between != w.between:
			gone = append(gone, action{do: deleteFirewall, name: w.name, why: "it is to be for other machines", firewall: h})
			made = append(made, action{do: createFirewall, name: w.name, firewall: w})
		default:
			made = append(made, action{do: changeFirewall, name: w.name, why: h.traffic() + " → " + w.traffic(), firewall: w})
		}
	}
	for _, h := range have {
		if !slices.ContainsFunc(want, func(w firewall) bool { return w.name == h.name }) {
			gone = append(gone, action{do: deleteFirewall, name: h.name, firewall: h})
		}
	}
	t.then(gone...)
	t.then(made...)
	return t
}

func (f firewall) same(o firewall) bool {
	return f.network == o.network && f.tag == o.tag && f.account == o.account && f.between == o.between && f.disabled == o.disabled &&
		slices.Equal(f.ports, o.ports) && slices.Equal(f.ranges, o.ranges)
}

// traffic is what a rule lets in.
func (f firewall) traffic() string {
	s := strings.Join(f.ports, ",")
	if len(f.ranges) > 0 {
		s += " from " + strings.Join(f.ranges, ",")
	}
	if f.disabled {
		s += ", disabled"
	}
	return s
}
