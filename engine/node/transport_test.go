// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package node

import (
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// localStream is a raft.StreamLayer over TCP.
type localStream struct{ net.Listener }

func (localStream) Dial(addr raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	return net.DialTimeout("tcp", string(addr), timeout)
}

func newLocalTransport(t *testing.T) *raft.NetworkTransport {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{Stream: localStream{ln}, MaxPool: 2, Timeout: 10 * time.Second})
}

// A request to stand for election is handed on at once or refused, and never
// kept: raft would heed it when its disk is back, and depose whoever leads by
// then. Seen to fail with the request queued like the others.
func TestStand(t *testing.T) {
	var stalled atomic.Bool
	heard := make(chan struct{}, 1) // one is enough
	peer := newLocalTransport(t)
	defer func() { _ = peer.Close() }()
	inner := newLocalTransport(t)
	tr := newTransport(inner, newLease("b"), stalled.Load, func() {
		select {
		case heard <- struct{}{}:
		default:
		}
	})
	defer func() { _ = tr.Close() }()
	stand := func() error {
		return peer.TimeoutNow("b", inner.LocalAddr(), &raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax}}, &raft.TimeoutNowResponse{})
	}
	refused := func(when string) {
		t.Helper()
		if err := stand(); err == nil || !strings.Contains(err.Error(), errStalledNode.Error()) {
			t.Errorf("%s: %v", when, err)
		}
	}

	refused("raft's loop does not take it")
	stalled.Store(true)
	refused("every disk hangs")
	stalled.Store(false)

	// Something waits for the loop already, and a newer leader is heard of.
	appended := make(chan error, 1) // one answer
	go func() {
		appended <- peer.AppendEntries("b", inner.LocalAddr(), &raft.AppendEntriesRequest{
			RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte("a"), Addr: []byte("127.0.0.1:1")}, Term: 7, PrevLogEntry: 1,
		}, &raft.AppendEntriesResponse{})
	}()
	<-heard
	if h := tr.heard(); h != (heardLeader{term: 7, id: "a", addr: "127.0.0.1:1"}) {
		t.Errorf("heard %+v", h)
	}
	refused("another request waits")

	// The loop is back: it gets what waited, and no request to stand.
	rpc := <-tr.Consumer()
	if _, ok := rpc.Command.(*raft.AppendEntriesRequest); !ok {
		t.Fatalf("the loop got %T", rpc.Command)
	}
	rpc.Respond(&raft.AppendEntriesResponse{Success: true}, nil)
	if err := <-appended; err != nil {
		t.Error(err)
	}
	taken := make(chan raft.RPC, 1) // one request
	go func() { taken <- <-tr.Consumer() }()
	go func() {
		rpc := <-taken
		if _, ok := rpc.Command.(*raft.TimeoutNowRequest); !ok {
			t.Errorf("the loop got %T", rpc.Command)
		}
		rpc.Respond(&raft.TimeoutNowResponse{}, nil)
	}()
	if err := stand(); err != nil {
		t.Errorf("a loop that takes it: %v", err)
	}
}
