// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package observe

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/api"
	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
)

// sameAddress is a platform whose engines all have one address, each on its machine.
type sameAddress struct {
	platform.Platform // what no test asks for
	engines           map[string]*httptest.Server
	t                 *testing.T
}

const plain = "127.0.0.1:8500"

func (p *sameAddress) Node(name string) platform.Communicator { return way{p, name} }

type way struct {
	p    *sameAddress
	name string
}

func (w way) Agent() *agentapi.Client { return nil }

func (w way) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	if address != plain {
		w.p.t.Errorf("node %s is dialled at %s", w.name, address)
	}
	return new(net.Dialer).DialContext(ctx, network, w.p.engines[w.name].Listener.Addr().String())
}

// TestOneAddressOnEveryNode: engines with certificates have their plain API at the same
// address each, on their own loopback. The client reaches each of them through its node,
// the leader first, by a name that every engine takes, and through no proxy.
func TestOneAddressOnEveryNode(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	p := &sameAddress{t: t, engines: map[string]*httptest.Server{}}
	nodes := Nodes{}
	for _, name := range []string{"a", "b", "c"} {
		p.engines[name] = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if host, _, _ := strings.Cut(r.Host, ":"); host != "localhost" {
				http.Error(w, "this node is not called "+host, http.StatusForbidden)
				return
			}
			_, _ = fmt.Fprintf(w, `{"settings": {"node": %q}, "set": ["node"]}`, name) // the test sees what comes
		}))
		t.Cleanup(p.engines[name].Close)
		state := "Follower"
		if name == "b" {
			state = "Leader"
		}
		nodes[name] = Node{Name: name, Status: agentapi.Status{Engine: agentapi.Engine{State: agentapi.EngineRunning, HTTPAddress: plain,
			Stores: &api.NodeStores{Stores: []api.Store{{Partitions: []api.Partition{{Name: DefaultPartition, State: state, Term: 2}}}}}}}}
	}
	for _, first := range []string{"b", "a", "c"} { // once the leader's engine ends, any other
		set, err := nodes.Settings(t.Context(), p)
		if err != nil || set["node"] != first {
			t.Errorf("%v answers, want %s: %v", set, first, err)
		}
		p.engines[first].Close()
	}
	if _, err := nodes.Settings(t.Context(), p); err == nil || !strings.Contains(err.Error(), api.ErrNotReached.Error()) {
		t.Errorf("where no engine runs: %v", err)
	}
}
