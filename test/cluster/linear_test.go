// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package cluster

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/holdfastdb/terraform-provider-holdfast/engine/httpapi"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/kv"
	"github.com/holdfastdb/terraform-provider-holdfast/engine/node"
)

// register is one key: a write's input is its value, a read's is -1.
type register struct {
	key   string
	value int // -1: a read
}

var registers = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		byKey := make(map[string][]porcupine.Operation)
		for _, op := range history {
			k := op.Input.(register).key
			byKey[k] = append(byKey[k], op)
		}
		var parts [][]porcupine.Operation
		for _, p := range byKey {
			parts = append(parts, p)
		}
		return parts
	},
	Init: func() any { return 0 },
	Step: func(state, input, output any) (bool, any) {
		in := input.(register)
		if in.value >= 0 {
			return true, in.value
		}
		return output.(int) == state.(int), state
	},
}

// TestLinearizable: clients write and read two keys through every node while
// the leader is cut off again and again, and the history must be that of one
// register per key. Default reads are held to the same: nobody restarts, so
// the lease must hold. With reads answered from each node's own memory both
// fail. The lease alone can be taken out unseen: raft's own makes the leader
// step down as soon, unless its loop hangs with a disk.
func TestLinearizable(t *testing.T) {
	for name, how := range map[string]httpapi.Consistency{"consistent": httpapi.Consistent, "default": httpapi.Default} {
		t.Run(name, func(t *testing.T) {
			c := New(t, Options{Configure: func(c *node.Config) { c.RetryWindow = 2 * time.Second }})
			c.Leader("default")
			h := &history{begun: time.Now()}
			stop := make(chan struct{})
			var wg sync.WaitGroup
			for i := range 6 {
				n := c.Node(c.Names()[i%3])
				wg.Go(func() { h.client(n, i, how, stop) })
			}
			for range 3 {
				leader := c.Leader("default")
				c.Isolate(leader, true)
				c.LeaderOther("default", leader)
				c.Isolate(leader, false)
			}
			close(stop)
			wg.Wait()
			result, info := porcupine.CheckOperationsVerbose(registers, h.ops, 30*time.Second)
			if result != porcupine.Ok {
				t.Errorf("the history of %d operations: %v\n%v", len(h.ops), result, info)
			}
			t.Logf("%d operations", len(h.ops))
		})
	}
}

type history struct {
	begun time.Time

	mu  sync.Mutex
	ops []porcupine.Operation
}

func (h *history) now() int64 { return int64(time.Since(h.begun)) }

// client writes values that nobody else writes, and reads.
func (h *history) client(n *node.Node, id int, how httpapi.Consistency, stop <-chan struct{}) {
	rng := rand.New(rand.NewPCG(uint64(id), 1))
	for i := 1; ; i++ {
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(rng.IntN(4000)) * time.Microsecond): // keeps the history small enough to check
		}
		in := register{key: fmt.Sprint("k", rng.IntN(2)), value: -1}
		if rng.IntN(2) == 0 {
			in.value = id*1_000_000 + i
		}
		op := porcupine.Operation{ClientId: id, Input: in, Call: h.now()}
		out, err := h.do(n, in, how)
		op.Output, op.Return = out, h.now()
		if err != nil {
			if in.value < 0 {
				continue // a read that failed says nothing
			}
			// The write may be applied at any later time.
			op.Return = int64(time.Hour)
		}
		h.mu.Lock()
		h.ops = append(h.ops, op)
		h.mu.Unlock()
		if err != nil {
			id += 100 // a client has one operation at a time; this one never ends
		}
	}
}

func (h *history) do(n *node.Node, in register, how httpapi.Consistency) (int, error) {
	ctx := context.Background()
	if in.value >= 0 {
		_, err := n.Apply(ctx, "default", kv.Command{Op: kv.OpPut, Key: in.key, Value: []byte(strconv.Itoa(in.value))})
		return 0, err
	}
	a, _, err := n.Read(ctx, "default", kv.Query{Kind: kv.QueryGet, Key: in.key}, how)
	if err != nil || !a.Found {
		return 0, err
	}
	return strconv.Atoi(string(a.Entries[0].Value))
}
