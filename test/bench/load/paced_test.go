// Copyright (c) The Holdfast Authors
// SPDX-License-Identifier: MPL-2.0

package load

import (
	"context"
	"errors"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// nodes keep keys; a write takes a while, and one node may be behind.
type nodes struct {
	store
	behind time.Time // until then the last node has nothing
	lose   string    // a key that no node keeps
	mu     struct {
		sync.Mutex
		keys map[string][]byte
	}
}

func (n *nodes) Put(ctx context.Context, key string, value []byte) error {
	if err := n.store.Put(ctx, key, value); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.mu.keys == nil {
		n.mu.keys = map[string][]byte{}
	}
	if !strings.HasSuffix(key, n.lose) || n.lose == "" {
		n.mu.keys[key] = value
	}
	return nil
}

func (n *nodes) List(_ context.Context, endpoint int, prefix string) (map[string][]byte, error) {
	if endpoint == 2 && time.Now().Before(n.behind) {
		return nil, nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	out := maps.Clone(n.mu.keys)
	maps.DeleteFunc(out, func(k string, _ []byte) bool { return !strings.HasPrefix(k, prefix) })
	return out, nil
}

func pacedSpec() Spec {
	return Spec{Operation: Paced, Endpoints: []string{"a", "b", "c"}, Clients: 4, Rate: 100, Keys: 1, ValueSize: 100, Seed: 7, Duration: 10*time.Second - time.Millisecond, Timeout: time.Minute}
}

// A store that hangs from the second to the fifth second: as many writes as in
// any other second are due then, and all are late.
func TestPacedStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		n := &nodes{behind: began.Add(20 * time.Second)}
		n.latency = func(int64) time.Duration {
			if since := time.Since(began); since >= 2*time.Second && since < 5*time.Second {
				return 5*time.Second - since
			}
			return time.Millisecond
		}
		r, err := Run(t.Context(), pacedSpec(), func(int) Client { return n })
		if err != nil {
			t.Fatal(err)
		}
		late := 0
		for _, o := range r.Trace.Ops {
			if time.Duration(o.Ended-o.Due) > 500*time.Millisecond {
				late++
			}
		}
		if r.Operations != 1000 || r.Errors != 0 || late < 240 || r.Max < 2900*time.Millisecond {
			t.Errorf("%d operations, %d late, worst %v", r.Operations, late, r.Max)
		}
		for i, k := range r.Trace.Nodes {
			if k != (Kept{Keys: 1000}) {
				t.Errorf("node %d: %+v; want all keys, once it has caught up", i, k)
			}
		}
	})
}

func TestPacedFindsWhatIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refused := errors.New("refused")
		n := &nodes{lose: "2/00000009"}
		n.latency = func(int64) time.Duration { return time.Millisecond }
		n.err = func(i int64) error {
			if i == 5 {
				return refused
			}
			return nil
		}
		r, err := Run(t.Context(), pacedSpec(), func(int) Client { return n })
		if err != nil {
			t.Fatal(err)
		}
		if want := (Kept{Keys: 998, Missing: 1}); r.Trace.Nodes[0] != want || r.Errors != 1 || r.FirstError != "refused" {
			t.Errorf("%+v, %d errors, first %q; want %+v and one", r.Trace.Nodes[0], r.Errors, r.FirstError, want)
		}
	})
}

func TestPacedRefused(t *testing.T) {
	s := pacedSpec()
	if _, err := Run(t.Context(), s, func(int) Client { return &store{} }); !errors.Is(err, ErrSpec) {
		t.Errorf("a client that lists nothing: %v", err)
	}
	s.Rate = 0
	if _, err := Run(t.Context(), s, func(int) Client { return &nodes{} }); !errors.Is(err, ErrSpec) {
		t.Errorf("no rate: %v", err)
	}
}
