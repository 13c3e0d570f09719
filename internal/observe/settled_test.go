// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package observe

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/holdfastdb/terraform-provider-holdfast/hostagent/agentapi"
	"github.com/holdfastdb/terraform-provider-holdfast/internal/platform"
)

// oneAgent is a platform whose nodes have one agent.
type oneAgent struct {
	platform.Platform // what no test asks for
	server            *httptest.Server
}

func (p oneAgent) Node(string) platform.Communicator { return p }

func (p oneAgent) Agent() *agentapi.Client {
	return agentapi.NewClientWithDialer(func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", p.server.Listener.Addr().String())
	})
}

func (p oneAgent) DialContext(context.Context, string, string) (net.Conn, error) {
	return nil, net.ErrClosed
}

// TestSettled: an engine that did not answer its agent once is not shown as one that starts, and
// one that the agent is at work for is not waited for.
func TestSettled(t *testing.T) {
	for _, tc := range []struct {
		name       string
		converging *agentapi.Converging
		want       string
		asked      int32
	}{
		{"slow", nil, agentapi.EngineRunning, 3},
		{"at work", &agentapi.Converging{}, agentapi.EngineStarting, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var asked atomic.Int32
			p := oneAgent{server: httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				st := agentapi.Status{Engine: agentapi.Engine{State: agentapi.EngineStarting}, Converging: tc.converging}
				if asked.Add(1) == 3 {
					st.Engine.State = agentapi.EngineRunning
				}
				_ = json.NewEncoder(w).Encode(st) // the test sees what comes
			}))}
			t.Cleanup(p.server.Close)
			n := Settled(t.Context(), p, []string{"a"})["a"]
			if n.Err != nil || n.Status.Engine.State != tc.want || asked.Load() != tc.asked {
				t.Errorf("%+v after %d answers", n, asked.Load())
			}
		})
	}
}
