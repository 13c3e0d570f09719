// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/api"
)

var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

// answered is a node that answers: of cluster orders, a voter's row.
func answered(name, state, leader string, change ...func(*nodeStatus)) nodeStatus {
	contact := int64(12)
	if state == "Leader" {
		contact = 0
	}
	n := nodeStatus{Name: name, Address: name + ":8500", cluster: "c1", NodeStores: &api.NodeStores{
		Node: name, Cluster: "orders", ClusterID: "c1", Version: "1.0", StartedAt: noon.Add(-3 * time.Hour),
		Stores: []api.Store{{Path: "/data", Failover: api.Failover{Active: "primary", SwitchCount: 2},
			Partitions: []api.Partition{{Name: "default", State: state, Leader: leader, Term: 7, LastContactMS: contact}}}},
	}}
	for _, f := range change {
		f(&n)
	}
	return n
}

// silent is a node that was asked and did not answer.
func silent(name string, err error) nodeStatus {
	n := nodeStatus{Name: name, Address: name + ":8500", cluster: "c1"}
	n.fail(err)
	return n
}

// knows gives a node a raft configuration of voters, "a=100 b=90"; leader is one of them.
func knows(leader, servers string) func(*nodeStatus) {
	return func(n *nodeStatus) {
		for word := range strings.FieldsSeq(servers) {
			name, last, _ := strings.Cut(word, "=")
			s := api.RaftServer{ID: name, Node: name, Address: name + ":8300", Leader: name == leader, Voter: !strings.HasPrefix(name, "nv")}
			_, _ = fmt.Sscan(last, &s.LastIndex) // absent is 0
			n.conf.Servers = append(n.conf.Servers, s)
		}
	}
}

// TestNodeStatus shows what a person sees of clusters in trouble. Seen to fail
// with the comparison of clusters, the look at failures, and the row of a
// server that was not found, taken out one by one.
func TestNodeStatus(t *testing.T) {
	refused := fmt.Errorf("dial: %w", syscall.ECONNREFUSED)
	for _, tc := range []struct {
		name  string
		asked string
		nodes []nodeStatus
		// want are the columns from LIVE on without STARTED and VERSION, and
		// what stands below the table.
		want string
	}{
		{"all is well", "a:8500", []nodeStatus{
			answered("a", "Leader", "a", knows("a", "a=100 b=100 nv1=98")), answered("b", "Follower", "a"), answered("nv1", "Follower", "a"),
		}, `
a    yes  leader    a  yes  0  primary  2  -
b    yes  follower  a  yes  0  primary  2  12ms
nv1  yes  follower  a  no   2  primary  2  12ms
`},
		{"a voter is gone", "a:8500", []nodeStatus{
			answered("a", "Leader", "a", knows("a", "a=100 b=60")), silent("b", refused),
		}, `
a  yes          leader  a  yes  0   primary  2  -
b  no: refused  -       -  yes  40  -        -  -

b is not live: nothing listens at b:8500, so no engine runs there. See its log for how it ended, and start it again. The address is a guess, its server's with the port of the node that was asked: name another with -http-addr. The leader, a, counts it as a voter, 40 entries behind.
`},
		{"the leader is gone, and nobody leads", "a:8500,b:8500", []nodeStatus{
			silent("a", context.DeadlineExceeded), answered("b", "Candidate", "", knows("", "a b=60")),
		}, `
a  no: no answer within 2s  -          -  yes  -  -        -  -
b  yes                      candidate  -  yes  -  primary  2  12ms

a is not live: a:8500 does not answer: its machine or the network is down, or the process is stopped or held by the kernel. No leader answers; b counts it as a voter.
`},
		{"an engine that has failed still answers", "a:8500,b:8500", []nodeStatus{
			answered("a", "Leader", "a", knows("a", "a=100 b")),
			answered("b", "Follower", "a", func(n *nodeStatus) { n.Stores[0].Partitions[0].Error = "write /data: no space left" }),
		}, `
a  yes                leader    a  yes  0  primary  2  -
b  no: engine failed  follower  a  yes  -  primary  2  12ms

b is not live: partition default: write /data: no space left. Its log says more. Start it again once the cause is mended. The leader, a, counts it as a voter; it has taken no entry in this term.
`},
		{"raft has shut down", "a:8500", []nodeStatus{answered("a", "Shutdown", "")}, `
a  no: engine failed  shutdown  -  -  -  primary  2  12ms

a is not live: partition default has shut down. Its log says more. Start it again once the cause is mended.
`},
		{"two servers at one host: the port of one is not known", "a:8500", []nodeStatus{
			answered("a", "Leader", "a", knows("a", "a=100 b=100")),
		}, `
a  yes            leader  a  yes  0  primary  2  -
b  no: not found  -       -  yes  0  -        -  -

b is not live: the raft configuration has this server, and the address of its HTTP API is not known. Name it with -http-addr. The leader, a, counts it as a voter, 0 entries behind.
`},
		{"a node that was removed, and one of another cluster with a name of ours", "a:8500,x:8500,b:8500", []nodeStatus{
			answered("a", "Leader", "a", knows("a", "a=100")),
			answered("a", "Leader", "a", knows("a", "a=7 y=7"), func(n *nodeStatus) {
				n.Address, n.cluster, n.ClusterID, n.Cluster = "x:8500", "c2", "c2", "other"
				n.Stores[0].Partitions[0].Term = 99
			}),
			answered("b", "Follower", ""),
			{Name: "y", Address: "y:8500", cluster: "c2"},
		}, `
a  yes                  leader    a  yes      0  primary  2  -
a  no: another cluster  leader    a  -        -  primary  2  -
b  yes                  follower  -  removed  -  primary  2  12ms

a is not live: x:8500 belongs to cluster other (c2), and a:8500 to orders (c1). Ask each cluster by itself.
`},
		{"two stores: the disk of one hangs", "a:8500", []nodeStatus{
			answered("a", "Leader", "a", func(n *nodeStatus) {
				n.Stores = append(n.Stores, api.Store{Path: "/data2", Failover: api.Failover{Active: "secondary", SwitchCount: 3, HungNS: 4.2e9},
					Partitions: []api.Partition{{Name: "p2", State: "Follower", Leader: "b", LastContactMS: 30}}})
			}),
		}, `
a  yes  default=leader p2=follower  default=a p2=b  -  -  /data=primary /data2=secondary (hung 4s)  5  30ms
`},
		{"a follower that never heard a leader", "a:8500", []nodeStatus{
			answered("a", "Follower", "", func(n *nodeStatus) { n.Stores[0].Partitions[0].LastContactMS = -1 }),
		}, `
a  yes  follower  -  -  -  primary  2  never
`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var out bytes.Buffer
			if err := printNodes(&out, judge(strings.Split(tc.asked, ","), tc.nodes), noon); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(squeeze(strings.TrimSpace(tc.want)), columns(out.String())); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// columns drops the header and the columns that are alike in all cases.
func columns(table string) string {
	head, below, _ := strings.Cut(table, "\n\n")
	lines := strings.Split(strings.TrimSpace(head), "\n")
	at := func(line, name string) (string, string) {
		i := strings.Index(lines[0], name)
		return line[:i], line[i:]
	}
	var out []string
	for _, line := range lines[1:] {
		front, back := at(line, "ROLE")
		live, _ := at(front, "STARTED")
		name, _ := at(live, "ADDRESS")
		_, live = at(live, "LIVE")
		out = append(out, name+"  "+live+"  "+back)
	}
	text := strings.Join(out, "\n")
	if below != "" {
		text += "\n\n" + strings.TrimSpace(below)
	}
	return squeeze(text)
}

// squeeze makes every run of blanks between columns two.
func squeeze(text string) string {
	var out []string
	for line := range strings.SplitSeq(text, "\n") {
		var fields []string
		for f := range strings.SplitSeq(line, "  ") {
			if f = strings.TrimSpace(f); f != "" {
				fields = append(fields, f)
			}
		}
		out = append(out, strings.Join(fields, "  "))
	}
	return strings.Join(out, "\n")
}

// TestWhyNoAnswer meets the failures themselves, so that a change of the
// client or of the library that makes one another kind of error shows.
func TestWhyNoAnswer(t *testing.T) {
	serve := func(h http.HandlerFunc) string {
		s := httptest.NewServer(h)
		t.Cleanup(s.Close)
		return s.Listener.Addr().String()
	}
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close() // its port refuses from now on
	for _, tc := range []struct{ name, address, want string }{
		{"closed port", closed.Addr().String(), "refused"},
		{"another program", serve(http.NotFound), "answers 404"},
		{"no JSON", serve(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") }), "not an engine"},
		{"connection broken", serve(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }), "unreachable"},
		{"no address", "http://", "unreachable"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n := nodeStatus{Address: tc.address}
			ask(t.Context(), &n, nil)
			if n.err == nil {
				t.Fatal("it answered")
			}
			if got, detail := whyNoAnswer(n.err, n.Address, false); got != tc.want {
				t.Errorf("%q, want %q: %s", got, tc.want, detail)
			}
		})
	}
}
