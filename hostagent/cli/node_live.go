// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"syscall"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/api"
)

// nodeLive is a node, and whether it is live.
type nodeLive struct {
	nodeStatus
	// Server is the address of its server RPC, by the raft configuration.
	Server string `json:"server_address,omitempty"`
	Live   bool   `json:"live"`
	// Reason is why it is not live, in a word or two; Detail says it in full,
	// with what the leader knows and what to do.
	Reason string `json:"reason,omitempty"`
	Detail string `json:"detail,omitempty"`
	// Raft is what the partition default's raft group knows of it.
	Raft *raftView `json:"raft,omitempty"`
}

// raftView is one server as another knows it.
type raftView struct {
	// By is the node whose view this is: the leader where one answers.
	By       string `json:"by"`
	ByLeader bool   `json:"by_leader"`
	Member   bool   `json:"member"` // of the raft configuration
	Voter    bool   `json:"voter"`
	// LastIndex is how far its log is known to go, 0 where that is not known:
	// only a leader knows it, once the server has taken an entry in its term.
	LastIndex uint64 `json:"last_index"`
	// Behind is how many entries the leader has beyond it.
	Behind uint64 `json:"behind"`
}

func (v *raftView) voter() string {
	switch {
	case v == nil:
		return "-"
	case !v.Member:
		return "removed"
	case v.Voter:
		return "yes"
	}
	return "no"
}

func (v *raftView) behind() string {
	if v == nil || v.LastIndex == 0 {
		return "-"
	}
	return fmt.Sprint(v.Behind)
}

// judge tells which of the nodes are live, in their order; servers that none
// of them turned out to be come last. asked are the addresses of the command
// line: the first that answered says which cluster is meant.
func judge(asked []string, nodes []nodeStatus) []nodeLive {
	ours := reference(asked, nodes)
	foreign := func(n nodeStatus) bool { return ours != nil && n.cluster != "" && n.cluster != ours.cluster }
	view := newGroupView(slices.DeleteFunc(slices.Clone(nodes), foreign))
	var out []nodeLive
	found := map[string]bool{} // names of our servers that have a row
	for _, n := range nodes {
		l := nodeLive{nodeStatus: n}
		named := slices.ContainsFunc(asked, func(a string) bool { return sameAddress(a, n.Address) })
		switch {
		case foreign(n) && !named:
			continue // it is another cluster that knows of it
		case n.NodeStores == nil:
			l.Reason, l.Detail = whyNoAnswer(n.err, n.Address, !named)
		case foreign(n):
			l.Reason = "another cluster"
			l.Detail = fmt.Sprintf("%s belongs to cluster %s (%s), and %s to %s (%s). Ask each cluster by itself.",
				n.Address, n.Cluster, n.ClusterID, ours.Address, ours.Cluster, ours.ClusterID)
		default:
			l.Reason, l.Detail = whyFailed(n)
		}
		if !foreign(n) {
			view.describe(&l)
			found[n.Name] = true
		}
		l.Live = l.Reason == ""
		out = append(out, l)
	}
	for _, s := range view.servers {
		if found[s.Node] {
			continue
		}
		l := nodeLive{nodeStatus: nodeStatus{Name: s.Node}, Reason: "not found",
			Detail: "the raft configuration has this server, and the address of its HTTP API is not known. Name it with -http-addr."}
		view.describe(&l)
		out = append(out, l)
	}
	return out
}

// reference is the first of the asked nodes that answered.
func reference(asked []string, nodes []nodeStatus) *nodeStatus {
	for _, a := range asked {
		for i := range nodes {
			if nodes[i].NodeStores != nil && sameAddress(a, nodes[i].Address) {
				return &nodes[i]
			}
		}
	}
	return nil
}

// whyNoAnswer classes the failure of asking a node.
func whyNoAnswer(err error, address string, guessed bool) (reason, detail string) {
	var dns *net.DNSError
	var answer *api.Error
	var syntax *json.SyntaxError
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		reason = "refused"
		detail = fmt.Sprintf("nothing listens at %s, so no engine runs there. See its log for how it ended, and start it again.", address)
	case errors.Is(err, context.DeadlineExceeded):
		reason = fmt.Sprintf("no answer within %v", nodeBound)
		detail = fmt.Sprintf("%s does not answer: its machine or the network is down, or the process is stopped or held by the kernel.", address)
	case errors.As(err, &dns):
		reason = "unknown name"
		detail = fmt.Sprintf("%s: %v.", address, dns)
	case errors.As(err, &answer):
		reason = fmt.Sprintf("answers %d", answer.Status)
		detail = fmt.Sprintf("%v. Another program, or an engine of another version, listens there.", answer)
	case errors.As(err, &syntax):
		reason = "not an engine"
		detail = fmt.Sprintf("%s: %v. Another program listens there.", address, err)
	default:
		reason = "unreachable"
		detail = fmt.Sprintf("%s: %v.", address, err)
	}
	if guessed {
		detail += " The address is a guess, its server's with the port of the node that was asked: name another with -http-addr."
	}
	return reason, detail
}

// whyFailed says what of a node that answers has failed; empty where nothing has.
func whyFailed(n nodeStatus) (reason, detail string) {
	var failures []string
	for _, p := range partitions([]nodeStatus{n}) {
		switch {
		case p.Error != "":
			failures = append(failures, fmt.Sprintf("partition %s: %s", p.Name, p.Error))
		case p.State == "Shutdown":
			failures = append(failures, fmt.Sprintf("partition %s has shut down", p.Name))
		}
	}
	if len(failures) == 0 {
		return "", ""
	}
	return "engine failed", strings.Join(failures, "; ") + ". Its log says more. Start it again once the cause is mended."
}

// groupView is what one node knows of the raft group of the partition default.
type groupView struct {
	by      string
	leader  bool
	last    uint64 // the leader's own last index
	servers []api.RaftServer
}

// newGroupView is the leader's view where it answers, else that of the newest
// configuration that any node knows.
func newGroupView(nodes []nodeStatus) groupView {
	leader := leaders(nodes)["default"]
	var v groupView
	var newest uint64
	for _, n := range nodes {
		if len(n.conf.Servers) == 0 || v.leader || n.Name != leader && n.conf.Index < newest {
			continue
		}
		newest = n.conf.Index
		v = groupView{by: n.Name, leader: n.Name == leader, servers: n.conf.Servers}
	}
	for _, s := range v.servers {
		if s.Leader && v.leader {
			v.last = s.LastIndex
		}
	}
	return v
}

// describe adds to a node what the group knows of it.
func (v *groupView) describe(n *nodeLive) {
	if v.by == "" || n.Name == "" {
		return
	}
	n.Raft = &raftView{By: v.by, ByLeader: v.leader}
	for _, s := range v.servers {
		if s.Node != n.Name {
			continue
		}
		n.Server = s.Address
		n.Raft.Member, n.Raft.Voter = true, s.Voter
		if v.leader && s.LastIndex > 0 {
			n.Raft.LastIndex, n.Raft.Behind = s.LastIndex, v.last-min(v.last, s.LastIndex)
		}
	}
	if n.Reason != "" {
		n.Detail += " " + n.Raft.sentence()
	}
}

// sentence says of a node that is not live what it means to the group.
func (v *raftView) sentence() string {
	by := "No leader answers; " + v.By
	if v.ByLeader {
		by = "The leader, " + v.By + ","
	}
	switch {
	case !v.Member:
		return by + " has no such server in its raft configuration."
	case !v.Voter:
		by += " knows it as a server without a vote"
	default:
		by += " counts it as a voter"
	}
	switch {
	case v.LastIndex > 0:
		return fmt.Sprintf("%s, %d entries behind.", by, v.Behind)
	case v.ByLeader:
		return by + "; it has taken no entry in this term."
	}
	return by + "."
}
