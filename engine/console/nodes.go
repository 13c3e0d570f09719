// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package console

import (
	"fmt"
	"strings"
	"time"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/api"
)

// nodes are the cluster's servers, in the order of the first partition's
// configuration, as this node knows them.
func (s *state) nodes() []nodeView {
	var order []string
	seen := make(map[string]*serverView)
	parts := s.partitions()
	for _, p := range parts {
		for _, srv := range s.Raft[p.Name].Servers {
			v := seen[srv.ID]
			if v == nil {
				v = &serverView{name: srv.Node, address: srv.Address}
				seen[srv.ID], order = v, append(order, srv.ID)
			}
			v.voter = v.voter || srv.Voter
			if srv.ID == p.Leader {
				v.leads = append(v.leads, p.Name)
			}
			v.behind = append(v.behind, tagged{p.Name, s.behind(p, &srv)})
			v.contact = append(v.contact, tagged{p.Name, s.contact(p, &srv)})
		}
	}
	out := make([]nodeView, 0, len(order))
	for _, id := range order {
		v := seen[id]
		n := nodeView{Name: v.name, Address: v.address, Self: v.name == s.Stores.Node, Role: "non-voter", Leads: unknown,
			Behind: sameOrEach(v.behind), Contact: sameOrEach(v.contact)}
		if v.voter {
			n.Role = "voter"
		}
		if len(v.leads) > 0 {
			n.Leads = strings.Join(v.leads, ", ")
		}
		out = append(out, n)
	}
	return out
}

// serverView gathers one server over all partitions.
type serverView struct {
	name, address   string
	voter           bool
	leads           []string
	behind, contact []tagged
}

// tagged is what is said of one partition.
type tagged struct{ partition, text string }

// sameOrEach says once what holds for every partition.
func sameOrEach(all []tagged) string {
	same := true
	each := make([]string, len(all))
	for i, t := range all {
		same = same && t.text == all[0].text
		each[i] = t.partition + ": " + t.text
	}
	if same && len(all) > 0 {
		return all[0].text
	}
	return strings.Join(each, ", ")
}

func (s *state) partitions() []*api.Partition {
	var out []*api.Partition
	for i := range s.Stores.Stores {
		st := &s.Stores.Stores[i]
		for j := range st.Partitions {
			out = append(out, &st.Partitions[j])
		}
	}
	return out
}

// behind is how many log entries a server lacks. The leader knows it of all,
// another node only of itself.
func (s *state) behind(p *api.Partition, srv *api.RaftServer) string {
	var lag uint64
	switch self := srv.ID == s.Stores.Node; {
	case p.Leader == "":
		return unknown
	case p.Leader == s.Stores.Node && (self || srv.LastIndex > 0):
		lag = p.LastIndex - min(srv.LastIndex, p.LastIndex)
	case self:
		lag = p.CommitIndex - min(p.LastIndex, p.CommitIndex)
	default:
		return unknown
	}
	if lag == 0 {
		return "caught up"
	}
	if lag == 1 {
		return "1 entry behind"
	}
	return fmt.Sprintf("%s entries behind", countText(lag))
}

// contact is when this node and a server last heard of each other.
func (s *state) contact(p *api.Partition, srv *api.RaftServer) string {
	switch srv.ID {
	case s.Stores.Node:
		return "this node"
	case p.Leader:
		return contactText(p)
	}
	at := s.Contact[[2]string{p.Name, srv.ID}]
	if at.IsZero() {
		return unknown
	}
	return heardText(max(s.Now.Sub(at), time.Duration(0)))
}
